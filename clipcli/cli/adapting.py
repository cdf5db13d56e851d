"""`clipcli prompts --weight-on` and `--reject-on`: a classifier that learns from a folder without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import typer

from clipcli.choices import RejectMethod, WeightMethod
from clipcli.cli import console, rejecting
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.cli.image_options import Picked
    from clipcli.cli.passes import Passes
    from clipcli.cli.session import Session
    from clipcli.output.feature_blocks import FeatureBlocks
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import Encoder
    from clipcli.scoring.classifier import Classifier

_Blocks = TypeVar("_Blocks", bound="FeatureBlocks")


@dataclass(frozen=True)
class Asked:
    """What a classifier is to learn, and from which folders.

    Args:
        weight_on: the folder by which templates are weighed, or None.
        weight_by: how.
        prior: the shares of the classes; none if they are not known.
        reject: the score by which images are rejected, or None.
        reject_on: the folder to which its threshold is fitted, or None.
        reject_rate: which share of its images may be rejected.
        picked: what to take from folders.
    """

    weight_on: str | None
    weight_by: WeightMethod
    prior: Sequence[float]
    reject: RejectMethod | None
    reject_on: str | None
    reject_rate: float | None
    picked: Picked

    def check(self, template_sets: Sequence[PromptSet]) -> None:
        """Refuse what cannot be, before the work is done.

        Args:
            template_sets: the prompts of each template by itself.

        Raises:
            UsageError: options that need each other, a share outside its range, or a single template.
        """
        rejecting.check_rate(self.reject_rate)
        if self.reject_on is not None and self.reject is None:
            hint = "Say which score is meant, such as `reject` mcm."
            raise UsageError("`reject_on` needs `reject`", hint)
        if self.reject_rate is not None and self.reject_on is None:
            raise UsageError("`reject_rate` needs `reject_on`", "Name a folder whose images show the labels.")
        if self.weight_on is not None and len(template_sets) < 2:
            raise UsageError(
                "a single template has no other to be weighed against", "Name several `templates`."
            )


def learned(
    asked: Asked,
    prompts: PromptSet,
    template_sets: Sequence[PromptSet],
    run: Session,
    passes: Passes,
) -> Classifier:
    """The classifier of some prompts, with what it learns from folders.

    Args:
        asked: what that is.
        prompts: of all templates.
        template_sets: of each template by itself.
        run: the open session.
        passes: how images are encoded.

    Raises:
        ClipcliError: no image could be read, or too few for a threshold.
        typer.Exit: the run was interrupted, or images could not be read.
    """
    from clipcli import learning

    encoder = run.encoder()
    classifier = run.classifier(encoder, prompts)
    learner = _Learner(asked, run, encoder, passes)
    if asked.weight_on is not None:
        classifier = learner.weighted(classifier, template_sets, asked.weight_on)
    if asked.prior:
        classifier = learning.with_prior(classifier, asked.prior)
    if asked.reject is not None:
        classifier = rejecting.added(classifier, asked.reject, run, encoder, prompts)
        classifier = learner.rejecting(classifier)
    return classifier


@dataclass(frozen=True)
class _Learner:
    asked: Asked
    run: Session
    encoder: Encoder
    passes: Passes

    def weighted(self, classifier: Classifier, template_sets: Sequence[PromptSet], folder: str) -> Classifier:
        """The classifier with weighted templates; tells how many images get another label by that."""
        from clipcli.output.feature_blocks import Agreement, WeighingPass
        from clipcli.scoring.class_embeddings import encode_templates
        from clipcli.scoring.weighting import WEIGHERS, weighted_classifier

        text_features = encode_templates(self.encoder, template_sets, self.run.cache)
        weigher = WEIGHERS[self.asked.weight_by](text_features, self.encoder.logit_scale)
        for _ in range(weigher.passes):
            self._pass(folder, WeighingPass(weigher))
            weigher.end_pass()
        made = weighted_classifier(classifier, text_features, weigher.weights())
        agreement = self._pass(folder, Agreement(classifier, made))
        share = agreement.agreeing / agreement.images
        console.tell(
            f"{self.asked.weight_by} weighed {len(template_sets)} templates by {agreement.images} images:"
            f" {share:.1%} keep the label that they have without weights"
        )
        told = {"method": self.asked.weight_by, "images": agreement.images, "agreeing": agreement.agreeing}
        return replace(made, provenance={**made.provenance, "weighted": told})

    def rejecting(self, classifier: Classifier) -> Classifier:
        """The classifier with a threshold for its reject score, if there is a folder to fit it to."""
        from clipcli.output.feature_blocks import RejectedScores
        from clipcli.scoring.rejection import threshold_for_rate

        rejector, folder = classifier.rejector, self.asked.reject_on
        if rejector is None or folder is None:
            console.note("the file has no threshold for its reject scores: see --reject-on")
            return classifier
        rate = 0.05 if self.asked.reject_rate is None else self.asked.reject_rate
        scores = self._pass(folder, RejectedScores(classifier, rejector)).scores
        threshold = threshold_for_rate(scores, rate)
        fitted = replace(rejector, threshold=threshold)
        below = int(fitted.rejects(scores).sum())
        console.tell(f"{rejector.method} below {threshold:.6g} rejects {below} of {len(scores)} images")
        told = {"images": len(scores), "reject_rate": rate}
        provenance = {**classifier.provenance, "rejector_fitted": told}
        return replace(classifier, rejector=fitted, provenance=provenance)

    def _pass(self, folder: str, consumer: _Blocks) -> _Blocks:
        """Feed the features of all images of a folder to a consumer."""
        found = rejecting.images_of(folder, self.asked.picked)()
        summary = self.passes.over(found, self.run, self.encoder, consumer, lambda: sum(1 for _ in found))
        if summary.failed and not self.passes.allow_failures:
            summary.print("")
            raise typer.Exit(console.FINISHED_WITH_FAILURES)
        consumer.end()
        return consumer
