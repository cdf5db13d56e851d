"""Files that stay open while parts of them are read, by several threads, some files at a time."""

from __future__ import annotations

import atexit
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

from clipcli.files import identity
from clipcli.inputs.frames.parts import PartItem
from clipcli.inputs.item import FileItem, reading_errors
from clipcli.records import Item

_OPEN_AT_ONCE = 4

Handle = TypeVar("Handle")


class _Slot(Generic[Handle]):
    """A file, for one thread at a time; of those that wait, the one whose part comes first is next.

    That way a video, or an animation, is read forward, though several threads want frames of it.
    """

    def __init__(self) -> None:
        self.handle: Handle | None = None
        self.users = 0
        self._changed = threading.Condition()
        self._waiting: list[int] = []
        self._is_busy = False

    @contextmanager
    def turn(self, position: int) -> Iterator[None]:
        with self._changed:
            self._waiting.append(position)
            self._changed.wait_for(lambda: not self._is_busy and position == min(self._waiting))
            self._waiting.remove(position)
            self._is_busy = True
        try:
            yield
        finally:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()


class OpenFiles(Generic[Handle]):
    """Some files that are open in this process. The child of a fork has none: it opens its own.

    Args:
        open_item: opens a file, or raises an `ImageError`.
        close: closes it.
    """

    def __init__(self, open_item: Callable[[Item], Handle], close: Callable[[Handle], None]) -> None:
        self._open, self._close = open_item, close
        self._inherited: list[Any] = []  # never closed: their threads and their places are the parent's
        self._begin()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_to_parent)

    @contextmanager
    def reading(self, part: PartItem) -> Iterator[Handle]:
        """The open file of a part, for this thread only; after an error, it is opened anew the next time.

        Raises:
            ImageError: it cannot be opened.
        """
        key = _key(part.whole)
        slot = self._taken(key)
        try:
            with slot.turn(part.position):
                yield from self._handed_out(slot, part.whole)
        finally:
            self._returned(key, slot, part.is_last)

    def close(self) -> None:
        """Close what nobody reads."""
        with self._lock:
            idle = [key for key, slot in self._slots.items() if not slot.users]
            slots = [self._slots.pop(key) for key in idle]
        for slot in slots:
            self._close_slot(slot)

    def _handed_out(self, slot: _Slot[Handle], item: Item) -> Iterator[Handle]:
        if slot.handle is None:
            slot.handle = self._open(item)
        try:
            yield slot.handle
        except BaseException:
            self._close_slot(slot)
            raise

    def _taken(self, key: Hashable) -> _Slot[Handle]:
        with self._lock:
            slot = self._slots.setdefault(key, _Slot()) if key is not None else _Slot[Handle]()
            slot.users += 1
            return slot

    def _returned(self, key: Hashable, slot: _Slot[Handle], is_last: bool) -> None:
        """Close what is not wanted any more: files read to the end, and those not read for longest."""
        with self._lock:
            slot.users -= 1
            if is_last and not slot.users and self._slots.get(key) is slot:
                del self._slots[key]
            if self._slots.get(key) is slot:
                self._slots.move_to_end(key)
            idle = [one for one, other in self._slots.items() if not other.users]
            closing = [self._slots.pop(one) for one in idle[: max(len(self._slots) - _OPEN_AT_ONCE, 0)]]
            if not slot.users and self._slots.get(key) is not slot:
                closing.append(slot)
        for one in closing:
            self._close_slot(one)

    def _close_slot(self, slot: _Slot[Handle]) -> None:
        handle, slot.handle = slot.handle, None
        if handle is not None:
            with suppress(Exception):
                self._close(handle)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._slots: OrderedDict[Hashable, _Slot[Handle]] = OrderedDict()

    def _leave_to_parent(self) -> None:
        self._inherited.append(self._slots)
        self._begin()


def _key(item: Item) -> Hashable:
    """What tells a file and its content; None where nothing does, so that it is opened each time."""
    if not isinstance(item, FileItem):
        return item.version()
    with reading_errors():
        return os.path.abspath(item.location), identity(os.stat(item.location))
