"""Pages, screens and charts, drawn by a program: what people sort and ImageNet has no class for.

A further class of nano's classifier needs some 50 images. Of these kinds a program draws as many as are
wanted, each of them different, so nobody's documents are needed. Paper is also shown as a camera sees it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.pages.camera import Photo, photographed, saved, scanned
from training.pages.canvas import Rng
from training.pages.charts import chart
from training.pages.maps import map_
from training.pages.papers import code, document, receipt
from training.pages.screens import screenshot

_Drawer = Callable[[Rng, Sequence[Photo]], Image.Image]


class _Kind(NamedTuple):
    draw: _Drawer
    camera: float  # the share of images that a camera takes
    scanner: float = 0  # and a scanner


_KINDS = {
    "screenshot": _Kind(screenshot, 0),
    "document": _Kind(document, 0.42, 0.2),
    "receipt": _Kind(receipt, 0.6, 0.2),
    "chart": _Kind(chart, 0.1, 0.1),
    "map": _Kind(map_, 0.2, 0.1),
    "QR code": _Kind(code, 0.45, 0.1),
}
KINDS = tuple(_KINDS)


def drawn(kind: str, count: int, seed: int, photos: Sequence[Photo] = ()) -> Iterator[npt.NDArray[np.uint8]]:
    """Images of a kind -> each (H, W, 3), of many sizes and proportions.

    Args:
        kind: one of `KINDS`.
        count: how many.
        seed: the same images come from the same seed and photographs, whatever `count` is.
        photos: (H, W, 3) photographs: what paper lies on, and pictures on screens. Patterns take their place
            where there are none.
    """
    how = _KINDS[kind]
    for number in range(count):
        rng = np.random.default_rng([zlib.crc32(kind.encode()), seed, number])
        image, way = how.draw(rng, photos), rng.random()
        if way < how.camera:
            image = photographed(image, rng, photos)
        elif way < how.camera + how.scanner:
            image = scanned(image, rng)
        yield np.asarray(saved(image, rng))
