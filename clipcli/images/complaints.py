"""What libtiff says of a file while it decodes it.

libtiff prints its errors on stderr, often goes on, and Pillow calls the result decoded. Its handler of errors
belongs to the process. Ours takes what is said in a thread that listens, and hands everything else to the
handler that was there before. So nothing of another thread is lost or delayed, which redirecting the file
descriptor could not promise: a program started meanwhile would inherit it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import threading
from collections.abc import Iterator
from typing import Any

from PIL import _imaging

_HANDLER: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_LONGEST = 500  # bytes of a message
_MOST = 3  # messages of one image
_listening = threading.local()
_installing = threading.Lock()
_installed: list[object] = []  # the handler, once there is one; libtiff calls it until the process ends


@contextlib.contextmanager
def libtiff_complaints() -> Iterator[list[str]]:
    """A list that gets the errors, a few at most, that libtiff reports in this thread within the context.

    It stays empty where Pillow's libtiff cannot be reached, because it is part of another library.
    """
    with _installing:
        if not _installed:
            _install()
    before = getattr(_listening, "messages", None)
    messages: list[str] = []
    _listening.messages = messages
    try:
        yield messages
    finally:
        _listening.messages = before


def _install() -> None:
    try:
        set_handler: Any = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):
        _installed.append(None)
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    previous: list[Any] = []

    def handle(module: int | None, template: int | None, values: int | None) -> None:
        messages = getattr(_listening, "messages", None)
        if messages is None:
            for handler in previous:
                handler(module, template, values)
        elif len(messages) < _MOST:
            messages.append(_message(module, template, values))

    handler = _HANDLER(handle)
    address = set_handler(ctypes.cast(handler, ctypes.c_void_p))
    if address:
        previous.append(_HANDLER(address))
    _installed.append(handler)
    atexit.register(set_handler, address)


def _message(module: int | None, template: int | None, values: int | None) -> str:
    """`values` is a `va_list`, which is a pointer, or handed over by one, wherever Pillow is built."""
    text = ctypes.create_string_buffer(_LONGEST)
    try:
        ctypes.CDLL(None).vsnprintf(
            text, ctypes.c_size_t(_LONGEST), *map(ctypes.c_void_p, (template, values))
        )
        said = text.value
    except (AttributeError, OSError, TypeError):
        said = ctypes.string_at(template) if template else b""
    name = ctypes.string_at(module) + b": " if module else b""
    message = (name + said).decode("utf-8", "replace").strip()
    return message.removeprefix("tempfile.tif: ").removesuffix(".")  # Pillow's name for every file
