"""Tables on stdout."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipcli.cli import console
from clipcli.output.consumers import Consumer

if TYPE_CHECKING:
    from rich.text import Text

    from clipcli.records import Outcome

_SHOWN_IMAGES = 60
_SHORT_NAME, _SHORTEST_NAME = 16, 8
"""Columns to which names may be shortened: so that one more rank fits, so that the best one does."""
_SHORTEST_BEST = 8
"""Columns that the best label and its score have on a terminal of any width."""
_SHORTEST_TEXT = 20
"""Columns in which a description can be read."""
_GAP = "  "


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout: aligned on a terminal, CSV when piped.

    Only the last column is wrapped; columns that a narrow terminal has no room for are left out, and named.
    """
    if not sys.stdout.isatty():
        csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *rows])
        return
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    terminal = Console(highlight=False)
    heads = [column.replace(" ", "\n") for column in columns]
    count = _fitting([heads, *rows], terminal.width)
    last = len(columns) - 1
    shown = [
        Column(Text(head), no_wrap=number < last, overflow="fold")
        for number, head in enumerate(heads[:count])
    ]
    table = Table(*shown, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(_printable(cell)) for cell in row[:count]))
    terminal.print(table)
    if count <= last:
        console.note(f"not shown, for want of room: {', '.join(columns[count:])}")


def _fitting(rows: list[list[str]], width: int) -> int:
    """How many columns fit; the last one may be wrapped."""
    widths = [
        max(len(line) for cell in column for line in cell.split("\n")) for column in zip(*rows, strict=True)
    ]
    widths[-1] = min(widths[-1], _SHORTEST_TEXT)
    count = next((n for n in range(1, len(widths)) if sum(widths[: n + 1]) + n * len(_GAP) > width), None)
    return count or len(widths)


class PredictionTable(Consumer["Outcome"]):
    """The first images of a run as a table on stdout."""

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k
        self.shown: list[Outcome] = []
        self.images = 0

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome while the table has room."""
        self.images += 1
        if len(self.shown) < _SHOWN_IMAGES:
            self.shown.append(outcome)

    def print(self) -> None:
        """Print the table, and what it leaves out."""
        from rich.console import Console

        terminal = Console(highlight=False)
        names = ["image", *(_printable(outcome.image) for outcome in self.shown)]
        header = [(f"{rank}.", "") for rank in range(1, self.top_k + 1)]
        lines, ranks = laid_out(names, [header, *map(_cells, self.shown)], terminal.width)
        for line in lines:
            terminal.print(line, soft_wrap=True)
        left_out = []
        if self.images > len(self.shown):
            left_out.append(f"{len(self.shown)} of {self.images} images")
        if ranks < self.top_k:
            left_out.append(f"the best {ranks} of {self.top_k} labels")
        if left_out:
            console.note(f"shown: {', '.join(left_out)}; -o predictions.csv keeps them all")


def _cells(outcome: Outcome) -> list[tuple[str, str]]:
    """Labels and scores, best first; a best label that is below a threshold is marked."""
    from clipcli.records import ImageFailure

    if isinstance(outcome, ImageFailure):
        return [("(failed)", "")]  # the reason is on stderr and in the file
    cells = [(_printable(one.label), f"{one.score:.3f}") for one in outcome.predictions]
    if outcome.status == "unknown":
        (label, score), *others = cells
        return [(f"(unknown) {label}", score), *others]
    return cells


def _printable(text: str) -> str:
    """A text as this terminal can show it, so that its width is known before it is printed."""
    encoding = sys.stdout.encoding or "utf-8"
    return console.visible(text).encode(encoding, "backslashreplace").decode(encoding)


# --- Layout --------------------------------------------------------------------------------------


def laid_out(
    names: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], width: int
) -> tuple[list[Text], int]:
    """Lines that fit: as many ranks as there is room for, names shortened from the left, scores whole.

    Args:
        names: of the images; the first one heads the column.
        rows: labels and scores of each, best first.
        width: of the terminal, in columns.

    Returns:
        the lines, and how many ranks they show; the best label is shortened where nothing else helps.
    """
    from rich.cells import cell_len

    ranks = [[row[rank] for row in rows if rank < len(row)] for rank in range(max(map(len, rows)))]
    widths = [max(cell_len(_joined(label, score)) for label, score in rank) for rank in ranks]
    longest = max(map(cell_len, names))
    widths[0] = min(widths[0], max(width - len(_GAP) - min(longest, _SHORTEST_NAME), _SHORTEST_BEST))
    short = min(longest, _SHORT_NAME)
    while len(widths) > 1 and short + sum(widths) + len(_GAP) * len(widths) > width:
        widths.pop()
    room = max(min(longest, width - sum(widths) - len(_GAP) * len(widths)), 1)
    return [_line(name, row, [room, *widths]) for name, row in zip(names, rows, strict=True)], len(widths)


def _line(name: str, row: Sequence[tuple[str, str]], widths: Sequence[int]) -> Text:
    """An image, its best label in bold, and the others."""
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    room, *others = widths
    line = Text(set_cell_size(_shortened(name, room, at_start=True), room))
    for rank, ((label, score), width) in enumerate(zip(row, others, strict=False)):
        text = _joined(_shortened(label, width - len(f" {score}") if score else width), score)
        line.append(_GAP)
        line.append(text, "" if rank else "bold")
        line.append(" " * (width - cell_len(text)))
    line.rstrip()
    return line


def _joined(label: str, score: str) -> str:
    return f"{label} {score}" if score else label


def _shortened(text: str, width: int, at_start: bool = False) -> str:
    """A text of which the beginning fits or, of a path, the end: the file's name is there."""
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    dots = "…" if (sys.stdout.encoding or "").lower().startswith("utf") else "..."
    text = text[-4 * width :] if at_start else text[: 4 * width]
    while text and cell_len(text) > width - len(dots):
        text = text[1:] if at_start else text[:-1]
    return dots + text if at_start else text + dots
