"""Consumers of outcomes, and the one loop that feeds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from clipcli.output.rows import Layout
    from clipcli.output.sink import Sink
    from clipcli.records import ImageFeatures, Outcome

Taken = TypeVar("Taken", bound="Outcome | ImageFeatures")
Taken_contra = TypeVar("Taken_contra", contravariant=True)


class Consumer(Protocol[Taken_contra]):
    """Takes the outcomes of a run, or its features, one by one, in a context that is left when the run ends.

    What must be opened, and completed or abandoned, does so in `__enter__` and `__exit__`.
    """

    def add(self, outcome: Taken_contra) -> None:
        """Take one outcome."""

    def __enter__(self) -> object:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        return None


class RowWriter(Consumer["Outcome"]):
    """Writes the rows that each outcome has in a layout.

    Args:
        layout: makes the rows.
        sink: writes them; its columns are the layout's.

    Raises:
        OutputError: the sink's format cannot hold the name of a class.
    """

    def __init__(self, layout: Layout, sink: Sink) -> None:
        self.layout = layout
        self.sink = sink
        for classname in layout.classnames:
            sink.check_text(classname)

    def add(self, outcome: Outcome) -> None:
        """Write the rows of one image; errors as in `Sink.write`."""
        self.sink.write_all(self.layout.rows(outcome))

    def __enter__(self) -> RowWriter:
        self.sink.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.sink.__exit__(kind, *rest)


def consume(outcomes: Iterable[Taken], consumers: Sequence[Consumer[Taken]]) -> None:
    """Feed each outcome to each consumer, in order; complete all of them, or abandon all after an error.

    Raises:
        OutputError: a consumer cannot write.
        BrokenPipeError: the reader of a consumer's pipe has gone away.
    """
    with ExitStack() as stack:
        for consumer in consumers:
            stack.enter_context(consumer)
        for outcome in outcomes:
            for consumer in consumers:
                consumer.add(outcome)
