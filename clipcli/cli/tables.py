"""Tables on stdout."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

from clipcli.cli import console
from clipcli.output.consumers import Consumer

if TYPE_CHECKING:
    from clipcli.records import Outcome

_SHOWN_IMAGES = 60


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout: aligned on a terminal, CSV when piped."""
    if not sys.stdout.isatty():
        csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *rows])
        return
    from rich.console import Console
    from rich.table import Column, Table

    names, *others = columns
    table = Table(Column(names, no_wrap=True, overflow="fold"), *others, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(console.escaped, row))
    Console(highlight=False).print(table)


class PredictionTable(Consumer):
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
        """Print the table, and how many images it leaves out."""
        from rich.console import Console
        from rich.table import Column, Table

        image = Column("image", no_wrap=True, overflow="fold")
        table = Table(image, *(f"{rank}." for rank in range(1, self.top_k + 1)), box=None, pad_edge=False)
        for outcome in self.shown:
            table.add_row(*map(console.escaped, _cells(outcome)))
        Console(highlight=False).print(table)
        if self.images > len(self.shown):
            console.note(
                f"shown: {len(self.shown)} of {self.images} images; -o predictions.csv keeps them all"
            )


def _cells(outcome: Outcome) -> list[str]:
    from clipcli.records import ImageFailure

    if isinstance(outcome, ImageFailure):
        return [outcome.image, "(failed)"]  # the reason is on stderr and in the file
    return [
        outcome.image,
        *(f"{prediction.label} {prediction.score:.3f}" for prediction in outcome.predictions),
    ]
