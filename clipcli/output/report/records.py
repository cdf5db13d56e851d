"""What a report is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clipcli.inputs.predictions import PredictedImage, RankedLabel
from clipcli.output.evaluators import cosines_of
from clipcli.output.rows import carried_names, rounded
from clipcli.records import Duplicate, Hit, ImageFailure, LabelGroup, Outcome, Value
from clipcli.scoring.classifier import Classifier, best_classes
from clipcli.scoring.targets import Targets

RANKED = 9
"""Labels that an image of an evaluation has in the report: as many as there are keys to choose one with."""


MOST_RANKED = 20
"""Labels that any image has at most in the report: of a matrix with all classes, more would fill it."""


class ReportImage(NamedTuple):
    """An image in the report.

    Args:
        predicted: its labels, best first, and what is known of it.
        truth: its true labels, in an evaluation.
        path: where it lies, if not at `predicted.image`.
    """

    predicted: PredictedImage
    truth: tuple[str, ...] = ()
    path: str | None = None


def predicted(outcome: Outcome) -> ReportImage:
    """An image as it was classified."""
    columns = dict(outcome.columns)
    if isinstance(outcome, ImageFailure):
        return ReportImage(PredictedImage(outcome.image, (), "error", None, outcome.reason, columns))
    labels = tuple(RankedLabel(one.label, one.score, one.cosine) for one in outcome.predictions)
    groups = _groups(outcome.groups)
    columns = groups | dict(zip(carried_names(list(columns), groups), columns.values(), strict=True))
    return ReportImage(PredictedImage(outcome.image, labels, outcome.status, outcome.margin, None, columns))


def _groups(groups: Sequence[LabelGroup | None]) -> dict[str, Value]:
    """The group of the best label, which the report shows like a column of the user's table."""
    best = groups[0] if groups else None
    return {} if best is None else {"group": best.name, "group_score": rounded(best.score)}


def found(hits: Iterable[Hit | Duplicate], failures: Iterable[ImageFailure]) -> Iterator[ReportImage]:
    """The images of a gallery: what a search found, then what it could not read."""
    for hit in hits:
        if isinstance(hit, Hit):
            label, own = hit.query, {"rank": hit.rank, "relative": rounded(hit.relative)}
        else:
            label, own = f"group {hit.group}", {}
        columns: dict[str, Value] = {**own, **hit.columns}
        labels = (RankedLabel(label, hit.score),)
        yield ReportImage(PredictedImage(hit.image, labels, "ok", None, None, columns))
    yield from map(predicted, failures)


@dataclass(frozen=True)
class Judged:
    """Turns an outcome of an evaluation into an image with its true labels.

    Args:
        classifier: turns the outcome's scores, which are cosines or logits of a probe, into probabilities.
        targets: the classes that true labels mean.
    """

    classifier: Classifier
    targets: Targets

    def __call__(self, outcome: Outcome) -> ReportImage:
        """The image, with its best labels."""
        truth = tuple(
            self.targets.classnames[index] for index in self.targets.indices.get(outcome.truth or "", ())
        )
        if isinstance(outcome, ImageFailure):
            return predicted(outcome)._replace(truth=truth)
        similarities = outcome.scores[None, :]  # (1, C)
        (order,) = best_classes(self.classifier.ranked_by(similarities), RANKED).tolist()
        scores = self.classifier.scores(similarities)[0, order].tolist()
        ranked = zip(order, scores, cosines_of(outcome, self.classifier)[order].tolist(), strict=True)
        labels = tuple(RankedLabel(self.classifier.classnames[index], *both) for index, *both in ranked)
        margin = scores[0] - scores[1] if len(scores) > 1 else None
        columns = dict(outcome.columns)
        return ReportImage(PredictedImage(outcome.image, labels, "ok", margin, None, columns), truth)
