"""Every depth, photometric interpretation and kind of alpha of TIFF, BMP, TGA and PNG is shown rightly."""

from __future__ import annotations

import io
import os
import time

import numpy as np
import pytest
from image_kinds import MAKERS, SIZE, tiff
from picture_files import needs_packed_bits
from PIL import Image

from clipcli.images.decode import decode
from clipcli.records import Preprocess

SECONDS = int(os.environ.get("FUZZ_SECONDS", "0"))
ROUNDING = 2.5  # samples and alpha are rounded to 8 bits, by Pillow downwards, before they are mixed


MARKED = [
    pytest.param(make, marks=needs_packed_bits if make is tiff else ()) for make in dict.fromkeys(MAKERS)
]


@pytest.mark.parametrize("make", MARKED, ids=lambda make: make.__name__)
def test_an_image_of_any_kind_is_what_was_drawn(make) -> None:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(None if SECONDS else 0)
    end = time.monotonic() + SECONDS / 8
    for number in range(10**9 if SECONDS else 250):
        if SECONDS and time.monotonic() > end:
            return
        kind = make(generator)
        shown = decode(kind.data, Preprocess(SIZE, "squash"))
        assert np.abs(shown - kind.expected).max() < ROUNDING, (number, kind.name)


@needs_packed_bits
def test_the_kinds_are_many_and_pillow_alone_gets_most_of_them_wrong() -> None:
    """So that the test before is no test of nothing."""
    generator = np.random.default_rng(0)
    kinds = [tiff(generator) for _ in range(100)]
    assert len({kind.name for kind in kinds}) > 90
    assert sum(wrong(kind.data, kind.expected) for kind in kinds) > 50


def wrong(data: bytes, expected: np.ndarray) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return bool(np.abs(np.asarray(image.convert("RGB")) - expected).max() > ROUNDING)
    except (OSError, ValueError, UserWarning):
        return True
