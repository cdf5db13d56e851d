"""Random views of images for training: a pure function of the image and a generator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from clipcli.errors import UsageError
from clipcli.images.resize import resize, resize_part
from clipcli.records import Preprocess, Uint8Array

_LONGEST_RATIO = 4 / 3
_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclass(frozen=True)
class Augmentation:
    """How views differ from the image.

    Args:
        crop: the least part of the area that a view shows; 1 is the view of `classify`, always.
        flip: mirror half of the views; wrong where captions say left and right, or images show text.
        jitter: brightness, contrast and saturation are each multiplied by 1 - jitter to 1 + jitter.

    Raises:
        UsageError: a value that cannot be.
    """

    crop: float = 0.7
    flip: bool = False
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise UsageError(f"--crop must be above 0 and at most 1, not {self.crop}")
        if not 0 <= self.jitter < 1:
            raise UsageError(f"--jitter must be at least 0 and below 1, not {self.jitter}")


def augmented(
    image: Image.Image, preprocess: Preprocess, augmentation: Augmentation, generator: np.random.Generator
) -> Uint8Array:
    """A random view of an RGB image -> (H, W, 3) uint8 of `preprocess.size`."""
    if augmentation.crop < 1:
        shown = _shown_size(image.size, preprocess)
        view = resize_part(image, crop_box(image.size, shown, augmentation.crop, generator), preprocess)
    else:
        view = resize(image, preprocess)
    if augmentation.flip and generator.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhancer in _ENHANCERS if augmentation.jitter else ():
        view = enhancer(view).enhance(generator.uniform(1 - augmentation.jitter, 1 + augmentation.jitter))
    return np.asarray(view)


def _shown_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[float, float]:
    """(width, height) of what the model sees of an image without augmentation, in the image's pixels."""
    if preprocess.resize_mode != "shortest":
        return size
    height, width = preprocess.size
    ratio = min(size[0] / width, size[1] / height)
    return width * ratio, height * ratio


def crop_box(
    size: tuple[int, int], shown: tuple[float, float], least: float, generator: np.random.Generator
) -> tuple[float, float, float, float]:
    """A random part (left, top, right, bottom) of an image of `size`, all (width, height) in pixels.

    Its area is `least` to 1 of that of `shown`, its proportions 3:4 to 4:3 times those of `shown`, cut to
    what fits: torchvision's `RandomResizedCrop`, with the size that the model sees as its base.
    """
    area = generator.uniform(least, 1)
    ratio = math.exp(generator.uniform(-1, 1) * math.log(_LONGEST_RATIO))
    width = min(shown[0] * math.sqrt(area * ratio), size[0])
    height = min(shown[1] * math.sqrt(area / ratio), size[1])
    left = generator.uniform(0, size[0] - width)
    top = generator.uniform(0, size[1] - height)
    return left, top, min(left + width, size[0]), min(top + height, size[1])
