"""The few-shot curve in files: a table, and a chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from clipcli.files import replacing
from clipcli.output.sinks import open_sink
from clipcli.scoring.evaluation import Estimate
from clipcli.scoring.few_shot import FewShot

_FIGURES = ("zero_shot", "probe", "gain")
_COLUMNS: dict[str, type] = {
    "shots": int,
    "images": int,
    **{f"{name}{end}": float for name in _FIGURES for end in ("", "_low", "_high")},
}
_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 600, 40, 340
_LINES = (("zero-shot", "#777777"), ("probe", "#1f6fb2"))


def write_curve(path: Path, curve: Sequence[FewShot]) -> None:
    """Write a curve; the file appears complete or not at all.

    Args:
        path: a .csv file with a row for each number of examples, or an .svg chart.
        curve: in ascending order.

    Raises:
        OutputError: it cannot be written.
    """
    if path.suffix.lower() == ".svg":
        with replacing(path) as partial:
            partial.write_text(_svg(curve), encoding="utf-8")
        return
    with open_sink(_COLUMNS, path) as sink:
        for one in curve:
            sink.write([one.shots, one.images, *_cells(one)])


def _cells(one: FewShot) -> list[float | None]:
    estimates: list[Estimate | None] = [getattr(one, name) for name in _FIGURES]
    return [number for each in estimates for number in (each or (None, None, None))]


# --- The chart -----------------------------------------------------------------------------------


def _svg(curve: Sequence[FewShot]) -> str:
    """The accuracies over the number of examples, whose steps double, with their intervals."""
    parts = [*_axes(curve)]
    zero_shot = [one.zero_shot for one in curve if one.zero_shot]
    for number, ((name, colour), values) in enumerate(
        zip(_LINES, (zero_shot, [one.probe for one in curve]), strict=True)
    ):
        if values:
            parts += _line(curve, values, colour)
            parts.append(_text(_LEFT + 20 + 110 * number, 24, name, colour))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        f' font-family="sans-serif" font-size="13">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _place(curve: Sequence[FewShot]) -> Callable[[int, float], tuple[float, float]]:
    """From shots and accuracy to the chart."""
    first, last = (math.log2(one.shots) for one in (curve[0], curve[-1]))

    def place(shots: int, value: float) -> tuple[float, float]:
        share = (math.log2(shots) - first) / ((last - first) or 1)
        x = _LEFT + 20 + (_RIGHT - _LEFT - 40) * share
        return round(x, 1), round(_BOTTOM - (_BOTTOM - _TOP) * value, 1)

    return place


def _axes(curve: Sequence[FewShot]) -> list[str]:
    place = _place(curve)
    parts = []
    for percent in range(0, 101, 20):
        _, y = place(curve[0].shots, percent / 100)
        parts.append(f'<path d="M{_LEFT} {y}H{_RIGHT}" stroke="#dddddd"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{percent} %", anchor="end"))
    for one in curve:
        x, _ = place(one.shots, 0)
        parts.append(_text(x, _BOTTOM + 20, str(one.shots), anchor="middle"))
    return [*parts, _text((_LEFT + _RIGHT) / 2, _BOTTOM + 44, "examples of each class", anchor="middle")]


def _line(curve: Sequence[FewShot], values: Sequence[Estimate], colour: str) -> list[str]:
    place = _place(curve)
    points = [place(one.shots, value.value) for one, value in zip(curve, values, strict=True)]
    joined = " ".join(f"{x},{y}" for x, y in points)
    parts = [f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for one, value, (x, y) in zip(curve, values, points, strict=True):
        (_, low), (_, high) = place(one.shots, value.low), place(one.shots, value.high)
        parts.append(f'<path d="M{x} {low}V{high}" stroke="{colour}"/>')
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>')
    return parts


def _text(x: float, y: float, text: str, colour: str = "#333333", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{text}</text>'
