"""What a run asks of scores: how many labels, which score, and from where on a label stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from clipcli.choices import Activation, PerVideo, Score
from clipcli.errors import UsageError


@dataclass(frozen=True)
class Ranking:
    """How scores become predictions.

    Args:
        top_k: labels per image, best first.
        score: what `score` means; `auto` is the activation that the model was trained with.
        min_score: below it, the status of the image is `unknown`; from 0 to 1, a cosine from -1.
        min_margin: the same for the distance between the best and the second score; from 0 to 1, of cosines
            to 2.
        roll_up: an image whose best label is below it gets the deepest group with at least this score in
            front of its labels, and is `unknown` if there is none. What makes a label `unknown` makes it
            unsure too, and a group must also reach `min_score`.
        per_video: one outcome a video: by the mean of its frames' features, or by the largest score of each
            label; None gives each frame its own.

    Raises:
        UsageError: a value outside its range.
    """

    top_k: int = 5
    score: Score = "auto"
    min_score: float | None = None
    min_margin: float | None = None
    roll_up: float | None = None
    per_video: PerVideo | None = None

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError(f"`top_k` must be at least 1, not {self.top_k}")
        if self.score not in get_args(Score):
            raise UsageError(f"no such score: {self.score!r}", f"Use one of {', '.join(get_args(Score))}.")
        if self.per_video not in (None, *get_args(PerVideo)):
            raise UsageError(f"`per_video` must be mean or max, not {self.per_video}")
        is_cosine = self.score == "cosine"
        for name, value in (("min_score", self.min_score), ("roll_up", self.roll_up)):
            _check_range(name, value, -1 if is_cosine else 0, 1)
        _check_range("min_margin", self.min_margin, 0, 2 if is_cosine else 1)

    @property
    def has_limits(self) -> bool:
        """Whether an image can be `unknown` by its scores alone."""
        return self.min_score is not None or self.min_margin is not None

    def kind(self, activation: Activation) -> Score:
        """What the scores are with a model of this activation: softmax, sigmoid or cosine."""
        return activation if self.score == "auto" else self.score

    @property
    def least(self) -> float:
        """The score that an answer must have, where labels are rolled up."""
        return max(one for one in (self.roll_up, self.min_score, -1.0) if one is not None)


def _check_range(name: str, value: float | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:  # nor NaN
        hint = f"{value:g} percent is {value / 100:g}." if 1 < value <= 100 else ""
        raise UsageError(f"`{name}` must be a number from {low} to {high}, not {value:g}", hint)
