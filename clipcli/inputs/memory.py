"""Images that a Python program has at hand, as items: paths, arrays, Pillow images, bytes, file objects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from clipcli.errors import UsageError
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.item import BytesItem, FileItem, PixelsItem
from clipcli.records import ImageFailure, Item

if TYPE_CHECKING:
    from PIL import Image


class Readable(Protocol):
    """A file object opened for reading bytes."""

    def read(self) -> bytes:
        """All that is left of it."""


ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any] | Readable"
"""A path, an encoded image as bytes or in a file object, a Pillow image, or an array of pixels.

Arrays are (H, W, 3) RGB uint8, or (H, W) grey: uint8, uint16, bool, or float from 0 to 1.
"""

ImageSources: TypeAlias = (
    "ImageSource | Item | Mapping[str, ImageSource] | Iterable[ImageSource | Item | ImageFailure]"
)
"""One image or several, mixed: by their names, or else numbered from 0. Folders and globs stand for the
images that they hold."""


def items_of(images: ImageSources) -> Iterable[Item | ImageFailure]:
    """Anything that holds images, as items in its order; numbered where nothing names them.

    Args:
        images: one or several, mixed.

    Returns:
        The items; again each time for paths and sequences, once for an iterator.

    Raises:
        UsageError: a path that does not exist, or something that is no image; for an iterator that is not a
            sequence, when it comes to it.
    """
    if isinstance(images, Mapping):
        return [_item(source, name) for name, source in images.items()]
    if isinstance(images, Inputs):
        return images
    sources: Iterable[Any] = cast("Iterable[Any]", images) if _are_several(images) else [images]
    if not isinstance(sources, Sequence):
        return _items(sources)
    if sources and all(isinstance(source, str | os.PathLike) for source in sources):
        return Inputs(tuple(os.fspath(source) for source in sources))
    for source in sources:
        if isinstance(source, str | os.PathLike):
            Inputs((os.fspath(source),))  # tells now that it does not exist
    return _items(sources)


def _are_several(images: Any) -> bool:
    if isinstance(images, np.ndarray):
        return images.ndim > 3
    one = isinstance(images, str | bytes | bytearray | os.PathLike) or hasattr(images, "read")
    return not one and not _is_pillow(images) and isinstance(images, Iterable)


def _items(sources: Iterable[Any]) -> Iterator[Item | ImageFailure]:
    numbers = count()
    for source in sources:
        if isinstance(source, str | os.PathLike):
            yield from Inputs((os.fspath(source),))
            next(numbers)
        elif _is_item(source):
            yield source
            next(numbers)
        else:
            yield _item(source, _name(source, next(numbers)))


def _is_item(source: Any) -> bool:
    return isinstance(source, ImageFailure) or hasattr(source, "version")


def _item(source: Any, name: str) -> Item | ImageFailure:
    if _is_item(source):
        return cast("Item | ImageFailure", source)
    if isinstance(source, str | os.PathLike):
        return FileItem(name, path=os.fspath(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesItem(name, bytes(source))
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    if _is_pillow(source):
        return _from_pillow(source, name)
    if hasattr(source, "read"):
        return BytesItem(name, bytes(source.read()))
    raise UsageError(
        f"{name} is no image, but a {type(source).__name__}",
        "Give paths, Pillow images, arrays, bytes or file objects.",
    )


def _name(source: Any, number: int) -> str:
    named = getattr(source, "filename", None) or getattr(source, "name", None)
    if isinstance(named, str):
        return named
    kinds = {np.ndarray: "array", bytes: "bytes"}
    return f"{kinds.get(type(source), 'image')} {number}"


def _is_pillow(source: Any) -> bool:
    from PIL import Image

    return isinstance(source, Image.Image)


def _from_pillow(image: Image.Image, name: str) -> PixelsItem | ImageFailure:
    """Decode it now, in this thread: the same object may be in the list twice."""
    try:
        image.load()
    except Exception as error:  # as in `images.decode`
        return ImageFailure(name, f"damaged image: {error or type(error).__name__}")
    return PixelsItem(name, image)


def _from_array(array: npt.NDArray[Any], name: str) -> PixelsItem | ImageFailure:
    """A copy of the pixels: the program may fill the same array anew while this image waits for its turn."""
    from PIL import Image

    colour = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    grey = array.ndim == 2 and (array.dtype in (np.uint8, np.uint16, np.bool_) or array.dtype.kind == "f")
    if not (colour or grey) or not array.size:
        shape = "x".join(map(str, array.shape)) or "no dimensions"
        return ImageFailure(
            name, f"not an image: {array.dtype} array of {shape}; wanted are (H, W, 3) uint8 or (H, W) grey"
        )
    pixels = array.astype(np.float32) if array.dtype.kind == "f" else array.copy()
    return PixelsItem(name, Image.fromarray(pixels))
