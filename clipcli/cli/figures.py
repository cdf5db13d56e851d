"""The figures of an evaluation on stdout, and what to think of them on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from clipcli.cli import console, tables

if TYPE_CHECKING:
    from clipcli.scoring.evaluation import Classification, Estimate, Evaluation, MultiLabel
    from clipcli.scoring.fitting import ClassThreshold, FitReport

_SHOWN_CLASSES = 40
_SHOWN_PAIRS = 10
_SHOWN_DOUBTS = 10
_SHOWN_NAMES = 10
_FEW_IMAGES = 5


def show(evaluation: Evaluation) -> None:
    """Print the figures: tables on a terminal, CSV with a title above each when piped."""
    from clipcli.scoring.evaluation import MultiLabel

    if isinstance(evaluation, MultiLabel):
        _show_multilabel(evaluation)
    else:
        _show_classification(evaluation)


def warn_of_doubtful(evaluation: Evaluation) -> None:
    """Warn of an accuracy that guessing has as well, and of classes with too few images to be measured."""
    from clipcli.scoring.evaluation import MultiLabel

    if not isinstance(evaluation, MultiLabel) and evaluation.acc1.value <= evaluation.chance:
        console.warn(
            f"top-1 is {evaluation.acc1.value:.1%}, no better than guessing ({evaluation.chance:.1%}):"
            " the labels, the true labels or the model do not fit these images"
        )
    few = [one for one in evaluation.per_class if 0 < one.support < _FEW_IMAGES]
    if few:
        names = some(f"{one.label} ({one.support})" for one in few)
        console.warn(f"classes with fewer than {_FEW_IMAGES} images, whose figures say little: {names}")
    absent = sum(not one.support for one in evaluation.per_class)
    if absent:
        console.note(f"{absent} of {len(evaluation.per_class)} labels have no image")


def some(names: Iterable[str]) -> str:
    """The first few of some names, and how many more there are."""
    listed = list(names)
    more = len(listed) - _SHOWN_NAMES
    return ", ".join(listed[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


# --- Tables --------------------------------------------------------------------------------------


def _show_classification(found: Classification) -> None:
    rows = [
        ["images", str(found.images), ""],
        ["top-1", *_estimate(found.acc1)],
        *([["top-5", *_estimate(found.acc5)]] if found.acc5 else []),
        ["mean per-class recall", _percent(found.mean_per_class_recall), ""],
        ["macro-F1", _percent(found.macro_f1), ""],
        ["calibration error (equal mass)", _percent(found.ece_equal_mass), ""],
        ["calibration error (equal width)", _percent(found.ece_equal_width), ""],
        ["chance", _percent(found.chance), ""],
    ]
    _section("", ["metric", "value", "95% interval"], rows)
    classes = sorted((one for one in found.per_class if one.support or one.precision), key=lambda one: one.f1)
    _section(
        _title("Classes, the worst first", classes, _SHOWN_CLASSES),
        ["label", "precision", "recall", "F1", "images"],
        [
            [one.label, _percent(one.precision), _percent(one.recall), _percent(one.f1), str(one.support)]
            for one in classes[:_SHOWN_CLASSES]
        ],
    )
    _section(
        _title("Most confused", found.confused, _SHOWN_PAIRS),
        ["true label", "predicted", "images"],
        [[one.truth, one.predicted, str(one.images)] for one in found.confused[:_SHOWN_PAIRS]],
    )
    _section(
        _title("Labels to check", found.doubts, _SHOWN_DOUBTS),
        ["image", "true label", "score", "predicted", "score"],
        [
            [one.image, one.truth, f"{one.truth_score:.3f}", one.predicted, f"{one.score:.3f}"]
            for one in found.doubts[:_SHOWN_DOUBTS]
        ],
    )


def _show_multilabel(found: MultiLabel) -> None:
    rows = [
        ["images", str(found.images)],
        ["mean average precision", _percent(found.mean_average_precision)],
    ]
    _section("", ["metric", "value"], rows)
    classes = sorted(
        ((one.average_precision, one) for one in found.per_class if one.average_precision is not None),
        key=lambda pair: pair[0],
    )
    _section(
        _title("Classes, the worst first", classes, _SHOWN_CLASSES),
        ["label", "average precision", "images"],
        [[one.label, _percent(value), str(one.support)] for value, one in classes[:_SHOWN_CLASSES]],
    )


def _section(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table with a line above it; nothing if it has no rows."""
    if not rows:
        return
    if title:
        sys.stdout.write(f"\n{title}\n")
        sys.stdout.flush()
    tables.print_table(columns, rows)


def _title(text: str, rows: Sequence[object], shown: int) -> str:
    return f"{text} ({shown} of {len(rows)})" if len(rows) > shown else text


def _estimate(estimate: Estimate) -> list[str]:
    return [_percent(estimate.value), f"{_percent(estimate.low)} to {_percent(estimate.high)}"]


def _percent(share: float) -> str:
    return f"{share:.1%}"


# --- A fitted classifier -------------------------------------------------------------------------


def show_fit(report: FitReport) -> None:
    """Print how a fitted classifier does on images that it was not fitted to, as `show` does."""
    found, options = report.measures, report.options
    unfitted = "1 (not fitted)"
    rows = [
        ["temperature", unfitted if report.temperature is None else f"{report.temperature:.3f}", ""],
        ["calibration error before", *_estimate(found.ece_before)],
        ["calibration error after", *_estimate(found.ece_after)],
        ["top-1", *_estimate(found.acc1)],
        ["unknown", *_estimate(found.unknown)],
        *([["top-1 of the others", *_estimate(found.acc1_kept)]] if found.acc1_kept else []),
        [f"sets with the true label ({options.coverage:.4g} asked for)", *_estimate(found.coverage)],
        ["labels in a set", *(f"{found.set_size.value:.2f}", _range(found.set_size))],
    ]
    title = f"Fitted to {report.fitted_on} images, measured on the other {report.images}"
    _section(f"{title} (seed {options.seed})", ["metric", "value", "95% interval"], rows)
    classes = sorted(report.per_class, key=lambda one: one.precision.value if one.precision else 2.0)
    _section(
        _title("Thresholds, the lowest precision first", classes, _SHOWN_CLASSES),
        ["label", "threshold", "images", "kept", "precision", "95% interval"],
        [_threshold_row(one) for one in classes[:_SHOWN_CLASSES]],
    )


def _threshold_row(one: ClassThreshold) -> list[str]:
    least = "none" if one.threshold is None else f"{one.threshold:.3f}"
    if one.threshold == float("inf"):
        least = "all unknown"
    precision = _estimate(one.precision) if one.precision else ["", ""]
    return [one.label, least, str(one.measured_on), str(one.kept), *precision]


def _range(estimate: Estimate) -> str:
    return f"{estimate.low:.2f} to {estimate.high:.2f}"
