"""One outcome a video: what its frames have in common, once they are encoded.

Frames follow each other, so that of a video no more is kept than a sum, or the largest scores until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from clipcli.inputs.frames.parts import VideoFrame, part_named
from clipcli.records import ImageFailure, Item, Outcome
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.maximum import Measured, check_maximum, measure, ranked
from clipcli.scoring.ranking import Ranking
from clipcli.stages import EncodedBatch, score_batch

Float64Array: TypeAlias = npt.NDArray[np.float64]

_ROUNDING = 1e-6

Row = TypeVar("Row")


@dataclass(frozen=True)  # Python 3.10 has no generic named tuples
class _Entry(Generic[Row]):
    """An image or a video, with what was computed of it, unless it failed."""

    outcome: Item | ImageFailure
    row: Row | None = None
    known: bool = False
    is_video: bool = False


def mean_of_videos(batches: Iterable[EncodedBatch]) -> Iterator[EncodedBatch]:
    """Batches in which a video has the mean of its frames' features (D,), of unit norm, and one place.

    Frames that fail do not count; a video of which all fail is a failure, with the reason of the first.
    """
    videos = _Videos[Float64Array](np.add)
    for batch in batches:
        yield _as_batch(videos.after(_entries(batch, batch.features.astype(np.float64))))
    yield _as_batch(videos.rest())


def max_of_videos(
    batches: Iterable[EncodedBatch], classifier: Classifier, ranking: Ranking
) -> Iterator[Outcome]:
    """Outcomes in which a video has the largest score that each class has in a frame; failures as above.

    Raises:
        UsageError: as in `check_maximum`.
    """
    check_maximum(classifier)

    def outcomes() -> Iterator[Outcome]:
        videos = _Videos[_Scored](lambda one, other: _Scored(one.largest.or_more(other.largest), one.alone))
        for batch in batches:
            yield from map(finished, videos.after(_scored_entries(batch, classifier, ranking)))
        yield from map(finished, videos.rest())

    def finished(entry: _Entry[_Scored]) -> Outcome:
        if entry.row is None:
            return cast(ImageFailure, entry.outcome)
        if not entry.is_video:
            return entry.row.alone
        item = cast(Item, entry.outcome)
        found = ranked(classifier, item.name, entry.row.largest, ranking)
        return found._replace(columns=item.columns, truth=item.truth, known=entry.known)

    return outcomes()


def count(items: Iterable[Item | ImageFailure]) -> int:
    """How many outcomes there will be."""
    videos = _Videos[bool](lambda one, other: True)
    return sum(len(videos.after([_Entry(item)])) for item in items) + len(videos.rest())


class _Scored(NamedTuple):
    """What decides the ranking of an image, and the outcome that it has by itself."""

    largest: Measured
    alone: Outcome


def _scored_entries(
    batch: EncodedBatch, classifier: Classifier, ranking: Ranking
) -> Iterator[_Entry[_Scored]]:
    outcomes = score_batch(batch, classifier, ranking)
    scored = [one for one in outcomes if not isinstance(one, ImageFailure)]
    rows = measure(classifier, batch.features, ranking).rows() if scored else []
    return _entries(batch, list(map(_Scored, rows, scored)))


def _entries(batch: EncodedBatch, rows: Iterable[Row]) -> Iterator[_Entry[Row]]:
    remaining, known = iter(rows), iter(batch.known)
    for one in batch.outcomes:
        failed = isinstance(one, ImageFailure)
        yield _Entry(one) if failed else _Entry(one, next(remaining), next(known))


def _as_batch(entries: list[_Entry[Float64Array]]) -> EncodedBatch:
    """Entries as the engine hands them on; the sums of videos at unit norm."""
    vectors = [_unit(one.row) if one.is_video else one.row for one in entries if one.row is not None]
    features = np.stack(vectors).astype(np.float32) if vectors else np.empty((0, 0), dtype=np.float32)
    return EncodedBatch(
        [one.outcome for one in entries], features, [one.known for one in entries if one.row is not None]
    )


def _unit(total: Float64Array) -> Float64Array:
    norm = np.linalg.norm(total)
    is_unit = abs(norm - 1) < _ROUNDING  # as of a single frame, whose features stay as they are
    return total if is_unit or not norm else total / norm


# --- Grouping ------------------------------------------------------------------------------------


class _Videos(Generic[Row]):
    """Puts the frames of each video together, one after the other.

    Args:
        together: makes one row of two.
    """

    def __init__(self, together: Callable[[Row, Row], Row]) -> None:
        self._together = together
        self._video: _Entry[Row] | None = None
        self._last: tuple[str, int] = ("", 0)

    def after(self, entries: Iterable[_Entry[Row]]) -> list[_Entry[Row]]:
        """What is complete once these entries have come."""
        done: list[_Entry[Row]] = []
        for entry in entries:
            place = _place(entry.outcome)
            if place is None or not (place[0] == self._last[0] and place[1] > self._last[1]):
                done += self.rest()
            if place is None:
                done.append(entry)
            else:
                self._add(entry, place)
        return done

    def rest(self) -> list[_Entry[Row]]:
        """The video under way, which is complete."""
        video, self._video, self._last = self._video, None, ("", 0)
        return [] if video is None else [video]

    def _add(self, entry: _Entry[Row], place: tuple[str, int]) -> None:
        one, self._last = _of_video(entry, place[0]), place
        before = self._video
        if before is None or before.row is None:
            self._video = before if before is not None and one.row is None else one
        elif one.row is not None:
            row = self._together(before.row, one.row)
            self._video = replace(before, row=row, known=before.known and one.known)


def _place(outcome: Item | ImageFailure) -> tuple[str, int] | None:
    """The video and the time of a frame; None of any other image."""
    if isinstance(outcome, VideoFrame):
        return outcome.whole.name, outcome.position
    part = part_named(outcome.image) if isinstance(outcome, ImageFailure) else None
    return (part.whole, part.position) if part and part.kind == "t" else None


def _of_video(entry: _Entry[Row], video: str) -> _Entry[Row]:
    """A frame's entry as the video's."""
    one = entry.outcome
    if isinstance(one, ImageFailure):
        return replace(entry, outcome=one._replace(image=video), is_video=True)
    item: Any = one
    whole = cast(Item, replace(item.whole, columns=item.columns, truth=item.truth))
    return replace(entry, outcome=whole, is_video=True)
