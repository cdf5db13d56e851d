"""Image files that tests make, and what is in them."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from clipcli.images.decode import decode
from clipcli.records import Preprocess

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def as_stored(data: bytes) -> np.ndarray:
    """Decode at the image's own size, so that no pixel is interpolated."""
    with Image.open(io.BytesIO(data)) as image:
        size = image.height, image.width
    return decode(data, Preprocess(size=size, resize_mode="squash"))


def _packs_bits() -> bool:
    try:
        imagecodecs.packints_encode(np.arange(8, dtype=np.uint8), 6)
    except NotImplementedError:
        return False
    return True


needs_packed_bits = pytest.mark.skipif(not _packs_bits(), reason="this imagecodecs writes whole bytes only")
