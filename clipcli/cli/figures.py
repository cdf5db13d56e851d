"""The figures of an evaluation on stdout, and what to think of them on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from clipcli.cli import console, tables

if TYPE_CHECKING:
    from clipcli.scoring.comparison import Comparison, Difference
    from clipcli.scoring.evaluation import Classification, Estimate, Evaluation, GroupFigures, MultiLabel
    from clipcli.scoring.fitting import ClassThreshold, FitReport
    from clipcli.scoring.outliers import OutlierReport, RejectFit
    from clipcli.scoring.retrieval import Retrieval

_SHOWN_CLASSES = 40
_SHOWN_PAIRS = 10
_SHOWN_DOUBTS = 10
_SHOWN_NAMES = 10
_FEW_IMAGES = 5
_USEFUL_AUROC = 0.75


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

    if not isinstance(evaluation, MultiLabel):
        _warn_of_guessing(evaluation)
    few = [one for one in evaluation.per_class if 0 < one.support < _FEW_IMAGES]
    if few:
        names = some(f"{one.label} ({one.support})" for one in few)
        console.warn(f"classes with fewer than {_FEW_IMAGES} images, whose figures say little: {names}")
    absent = sum(not one.support for one in evaluation.per_class)
    if absent:
        console.note(f"{absent} of {len(evaluation.per_class)} labels have no image")


def _warn_of_guessing(found: Classification, of: str = "") -> None:
    if found.acc1.value <= found.chance:
        console.warn(
            f"top-1{of} is {found.acc1.value:.1%}, no better than guessing ({found.chance:.1%}):"
            " the labels, the true labels or the model do not fit these images"
        )


def show_comparison(found: Comparison) -> None:
    """Print a table of what is compared, one of the other pairs, and what to think of them."""
    for name, one in zip(found.names, found.figures, strict=True):
        _warn_of_guessing(one, f" of {name}")
    rows = []
    for number, (name, one) in enumerate(zip(found.names, found.figures, strict=True)):
        to_first = found.to_first(number)
        difference = _difference(to_first) if to_first else ["", "", "", ""]
        rows.append([name, str(one.images), *estimate(one.acc1), *difference])
    columns = [found.what, "images", "top-1", "95% interval", "difference to the first", *_DIFFERENCE[1:]]
    _section("", columns, rows)
    others = [one for one in found.pairs if one.first != found.names[0]]
    _section(
        "Differences of the others",
        ["better or worse", "than", *_DIFFERENCE],
        [[one.second, one.first, *_difference(one)] for one in others],
    )


_DIFFERENCE = ("difference", "95% interval", "verdict", "McNemar's p")


def _difference(one: Difference) -> list[str]:
    """The cells of a difference, in percentage points."""
    low, high = (f"{100 * end:+.1f}" for end in one.acc1[1:])
    verdict = "tie" if one.is_tie else "better" if one.acc1.value > 0 else "worse"
    return [f"{100 * one.acc1.value:+.1f}", f"{low} to {high}", verdict, f"{one.p:.2g}"]


def show_retrieval(found: Retrieval) -> None:
    """Print recalls, and warn of those that guessing has as well."""
    ways = [
        ("text to image", found.image_recall, found.image_chance),
        ("image to text", found.text_recall, found.text_chance),
    ]
    rows = [["images", str(found.images), ""], ["captions", str(found.captions), ""]]
    for way, recalls, chance in ways:
        rows += [[f"{way}, recall@{k}", *estimate(recall)] for k, recall in recalls.items()]
        rows += [[f"{way}, chance@1", _percent(chance), ""]]
        if recalls[1].value <= chance:
            console.warn(f"{way}: recall@1 is {recalls[1].value:.1%}, no better than guessing ({chance:.1%})")
    _section("", ["metric", "value", "95% interval"], rows)


def some(names: Iterable[str]) -> str:
    """The first few of some names, and how many more there are."""
    listed = list(names)
    more = len(listed) - _SHOWN_NAMES
    return ", ".join(listed[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


# --- Tables --------------------------------------------------------------------------------------


def _show_classification(found: Classification) -> None:
    rows = [
        ["images", str(found.images), ""],
        ["top-1", *estimate(found.acc1)],
        *([["top-5", *estimate(found.acc5)]] if found.acc5 else []),
        ["mean per-class recall", _percent(found.mean_per_class_recall), ""],
        ["macro-F1", _percent(found.macro_f1), ""],
        ["calibration error (equal mass)", _percent(found.ece_equal_mass), ""],
        ["calibration error (equal width)", _percent(found.ece_equal_width), ""],
        ["chance", _percent(found.chance), ""],
    ]
    _section("", ["metric", "value", "95% interval"], rows)
    if found.groups:
        _show_groups(found.groups)
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


def _show_groups(found: GroupFigures) -> None:
    _section(
        "Groups of labels",
        ["metric", "value", "95% interval"],
        [[f"top-1 of groups, level {level}", *estimate(one)] for level, one in enumerate(found.levels, 1)],
    )
    if found.rolled_up is None:
        return
    rolled = found.rolled_up
    rows = [
        ["a label" if one.level is None else f"a group of level {one.level}", *_answers(one.share, one.right)]
        for one in rolled.by_depth
    ]
    _section(
        f"Rolled up to {rolled.least:g}",
        ["answer", "images", "right", "95% interval"],
        [*rows, ["any of these", *_answers(rolled.answered, rolled.right)]],
    )


def _answers(share: Estimate, right: Estimate | None) -> list[str]:
    return [_percent(share.value), *(estimate(right) if right else ["", ""])]


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


def estimate(estimate: Estimate) -> list[str]:
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
        ["calibration error before", *estimate(found.ece_before)],
        ["calibration error after", *estimate(found.ece_after)],
        ["top-1", *estimate(found.acc1)],
        ["unknown", *estimate(found.unknown)],
        *([["top-1 of the others", *estimate(found.acc1_kept)]] if found.acc1_kept else []),
        [f"sets with the true label ({options.coverage:.4g} asked for)", *estimate(found.coverage)],
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
    precision = estimate(one.precision) if one.precision else ["", ""]
    return [one.label, least, str(one.measured_on), str(one.kept), *precision]


def _range(estimate: Estimate, digits: int = 2) -> str:
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"


# --- Images that show none of the labels ---------------------------------------------------------


def show_outliers(report: OutlierReport) -> None:
    """Print how well each method tells images of the labels from outliers."""
    title = f"{report.images} images that show a label, {report.outliers} outliers"
    rows = [
        [one.method, f"{one.auroc.value:.3f}", _range(one.auroc, 3), *estimate(one.fpr95)]
        for one in report.methods
    ]
    _section(title, ["reject", "AUROC", "95% interval", "FPR95", "95% interval"], rows)
    if all(one.auroc.value < _USEFUL_AUROC for one in report.methods):
        console.warn(
            f"no way to reject has an AUROC of {_USEFUL_AUROC}: on these images, many that show a label would"
            " be rejected with the others"
        )


def show_reject_fit(found: RejectFit) -> None:
    """Print a fitted threshold, and what it does to images that it was not fitted to."""
    rows = [
        ["threshold", f"{found.threshold:.6g}", ""],
        ["images that show a label, rejected", *estimate(found.rejected)],
        *([["outliers, rejected", *estimate(found.outliers_rejected)]] if found.outliers_rejected else []),
    ]
    _section(f"Rejected by {found.method}, on the other half", ["metric", "value", "95% interval"], rows)
