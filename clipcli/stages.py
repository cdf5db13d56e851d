"""The stages from an item to an outcome, as pure functions that any engine can call."""

from __future__ import annotations

from clipcli.images.decode import DEFAULT, DecodeOptions, decode
from clipcli.inputs.item import read_file
from clipcli.records import Preprocess, Uint8Array


def load_pixels(path: str, preprocess: Preprocess, options: DecodeOptions = DEFAULT) -> Uint8Array:
    """Read one image file as the model wants it.

    Args:
        path: the file; its content decides the format, not its suffix.
        preprocess: the model's recipe.
        options: limits, and how exact.

    Returns:
        (H, W, 3) uint8 RGB of `preprocess.size`.

    Raises:
        ImageError: the file is missing, unreadable, truncated, too large or not an image.
    """
    return decode(read_file(path), preprocess, options)
