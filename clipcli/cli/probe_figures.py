"""The figures of a probe on stdout, and what to think of them on stderr."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipcli.cli import console, figures, tables

if TYPE_CHECKING:
    from clipcli.scoring.evaluation import Estimate
    from clipcli.scoring.few_shot import FewShot
    from clipcli.scoring.probe import ProbeReport, Tried

_BAR = 50  # columns


def show(report: ProbeReport) -> None:
    """Print words alone, each method with its best blend, and which is used."""
    rows = [_row(one, report.chosen) for one in (report.zero_shot, *report.tried) if one is not None]
    if report.reason == "cautious":
        rows.append(_row(report.chosen, report.chosen))
    columns = ["classifier", "blend", "used", "top-1 held out", "95% interval", "top-1 of the examples"]
    tables.print_table(columns, rows)
    _tell(report)


def _row(one: Tried, chosen: Tried) -> list[str]:
    held_out = ["", ""] if one.validated is None else figures.estimate(one.validated)
    blend = "examples alone" if math.isinf(one.blend) else f"{one.blend:.3g}"
    used = "yes" if one == chosen else ""
    return [one.method or "zero-shot", blend, used, *held_out, f"{one.fitted:.1%}"]


def _tell(report: ProbeReport) -> None:
    held_out = report.validated_on
    if not held_out:
        console.warn("with one example a class, none can be held out, and nothing shows how good they are")
    elif held_out < report.examples:
        alone = report.examples - held_out
        console.note(f"held out in turns: {held_out} of {report.examples} examples; {alone} are alone")
    if report.reason == "cautious" and report.zero_shot is not None:
        console.note(
            "the examples do not show that a method is certainly better than words: they count as much as"
            " words certainly fail"
        )
    if report.reason == "words":
        console.note("words alone are used: the examples do not show that anything else is better")
    for what, labels in (("words", report.without_words), ("examples", report.without_examples)):
        if labels:
            console.note(f"labels without {what}: {figures.some(labels)}")


# --- The curve -----------------------------------------------------------------------------------


def show_curve(curve: Sequence[FewShot], seeds: int) -> None:
    """Print the accuracies for each number of examples, and on a terminal a chart."""
    columns = [
        "shots",
        "zero-shot",
        "95% interval",
        "probe",
        "95% interval",
        "gain",
        "95% interval",
        "methods",
    ]
    tables.print_table(columns, [_curve_row(one) for one in curve])
    console.note(f"means over {seeds} draws; {curve[0].images} images are measured in each")
    if sys.stdout.isatty():
        sys.stdout.write("\n" + "".join(f"{line}\n" for line in chart(curve)))


def _curve_row(one: FewShot) -> list[str]:
    zero_shot = figures.estimate(one.zero_shot) if one.zero_shot else ["", ""]
    gain = _points(one.gain) if one.gain else ["", ""]
    methods = ", ".join(f"{name or 'words'} {count}" for name, count in one.chosen.most_common())
    return [str(one.shots), *zero_shot, *figures.estimate(one.probe), *gain, methods]


def _points(gain: Estimate) -> list[str]:
    """The cells of a difference, in percentage points."""
    low, high = (f"{100 * end:+.1f}" for end in gain[1:])
    return [f"{100 * gain.value:+.1f}", f"{low} to {high}"]


def chart(curve: Sequence[FewShot]) -> list[str]:
    """A bar for the probe of each number of examples, with a mark where words alone are."""
    width = len(str(curve[-1].shots))
    lines = []
    for one in curve:
        bar = list(("█" * round(_BAR * one.probe.value)).ljust(_BAR, "·"))
        if one.zero_shot:
            bar[min(round(_BAR * one.zero_shot.value), _BAR - 1)] = "│"
        lines.append(f"{one.shots:>{width}} {''.join(bar)} {one.probe.value:.1%}")
    return lines
