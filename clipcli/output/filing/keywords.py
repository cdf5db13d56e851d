"""Keywords of an image: those that it has, those of its labels, and what becomes of both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from clipcli.inputs.predictions import PredictedImage
from clipcli.output.filing.journal import Record

UNRATED = ("", "0")
_NO_XML = re.compile("[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Keywords(NamedTuple):
    """Keywords as photo programs know them.

    Args:
        subjects: flat ones (`dc:subject`).
        paths: hierarchical ones (`lr:hierarchicalSubject`): `animal|cat`.
        rating: stars (`xmp:Rating`), as it is written; empty if there is none.
    """

    subjects: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    rating: str = ""

    def as_record(self) -> Record:
        """As it is written to a journal."""
        return self._asdict()

    @classmethod
    def of(cls, record: Record) -> Keywords:
        """As it is read from a journal."""
        return cls(tuple(record["subjects"]), tuple(record["paths"]), record["rating"])


def of_labels(image: PredictedImage, top_k: int, min_score: float | None, rates: bool) -> Keywords:
    """The keywords of an image: its best labels, none if it is unknown.

    Args:
        image: with its labels, best first.
        top_k: the most labels to use.
        min_score: the score that a label must have, if it has one.
        rates: whether the score of the best label becomes a rating: a star for each begun fifth of 1.
    """
    if image.status != "ok":
        return Keywords()
    best = [
        one
        for one in image.labels[:top_k]
        if min_score is None or one.score is None or one.score >= min_score
    ]
    labels = [label for one in best if (label := clean(one.label))]
    paths = [
        f"{group}|{label.replace('|', '/')}"
        for one in best
        if (label := clean(one.label)) and (group := clean(one.group))
    ]
    score = best[0].score if labels and rates else None
    return Keywords(_once(labels), _once(paths), "" if score is None else stars(score))


def stars(score: float) -> str:
    """1 star below a score of 0.2, 5 stars from 0.8."""
    return str(min(max(int(score * 5), 0), 4) + 1)


def clean(text: str) -> str:
    """A label in one line, without characters that XML does not have."""
    return " ".join(_NO_XML.sub(" ", text).split())


def merged(present: Keywords, ours: Keywords, new: Keywords) -> Keywords:
    """What an image is to have: what it has, without what an earlier run added, and with what is new.

    A rating that the user gave stays.
    """
    given = present.rating not in UNRATED and present.rating != ours.rating
    kept = "" if present.rating == ours.rating else present.rating
    return Keywords(
        _joined(present.subjects, ours.subjects, new.subjects),
        _joined(present.paths, ours.paths, new.paths),
        present.rating if given else new.rating or kept,
    )


def added(present: Keywords, ours: Keywords, result: Keywords) -> Keywords:
    """What of a result comes from clipcli: what was not there before this run, or before an earlier one."""
    rating = result.rating if result.rating not in (present.rating, "") else ""
    if result.rating and result.rating == ours.rating:
        rating = ours.rating
    return Keywords(
        _new(present.subjects, ours.subjects, result.subjects),
        _new(present.paths, ours.paths, result.paths),
        rating,
    )


def _once(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _joined(present: Sequence[str], ours: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    gone = set(ours) - set(new)
    return (*(one for one in present if one not in gone), *(one for one in new if one not in present))


def _new(present: Sequence[str], ours: Sequence[str], result: Sequence[str]) -> tuple[str, ...]:
    return tuple(one for one in result if one not in present or one in ours)
