"""Random views of images for training, as a pure function of the image and a random generator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from clipcli.errors import UsageError
from clipcli.images.resize import resize, resize_part
from clipcli.records import Preprocess, Uint8Array

_LARGEST_RATIO = 4 / 3
_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclass(frozen=True)
class Augmentation:
    """How views differ from the image.

    Args:
        crop: a view shows a random part of the image, with at least this share of its area. With 1, all views
            show what `classify` sees.
        flip: mirror half of the views. Wrong where captions mention left and right, or images show text.
        jitter: brightness, contrast and saturation are each multiplied by a random factor from 1 - jitter to
            1 + jitter.

    Raises:
        UsageError: a value outside its range.
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
    """A random part (left, top, right, bottom) of an image, in pixels.

    Its area is between `least` and 1 times that of `shown`, its aspect ratio between 3/4 and 4/3 times that
    of `shown`; then it is cut to fit into the image. It is torchvision's `RandomResizedCrop` relative to the
    part of the image that the model sees.

    Args:
        size: (width, height) of the image.
        shown: (width, height) of the part that the model sees without augmentation.
        least: the smallest area, as a share of that of `shown`.
        generator: the source of randomness.
    """
    area = generator.uniform(least, 1)
    ratio = math.exp(generator.uniform(-1, 1) * math.log(_LARGEST_RATIO))
    width = min(shown[0] * math.sqrt(area * ratio), size[0])
    height = min(shown[1] * math.sqrt(area / ratio), size[1])
    left = generator.uniform(0, size[0] - width)
    top = generator.uniform(0, size[1] - height)
    return left, top, min(left + width, size[0]), min(top + height, size[1])
