"""Pixels of any size to the size that a model sees: resize, crop or pad as open_clip's transform does."""

from __future__ import annotations

from PIL import Image

from clipcli.records import Preprocess

EXTREME_ASPECT = 16
"""Of images longer than so many times their width, resizing the whole first would cost gigabytes."""


def resize(image: Image.Image, preprocess: Preprocess, size: tuple[int, int] | None = None) -> Image.Image:
    """Resize and crop or pad an RGB image to `preprocess.size`, as `open_clip.transform` does.

    Where `image` is a reduced copy of the image, `size` is (width, height) of the image itself.
    """
    target = preprocess.size[1], preprocess.size[0]
    fitted = fitted_size(size or image.size, preprocess)
    resampling = resampling_of(preprocess)
    if preprocess.resize_mode == "shortest" and max(image.size) > EXTREME_ASPECT * min(image.size):
        return image.resize(target, resampling, box=_crop_box(image.size, fitted, target))
    resized = image.resize(fitted, resampling)
    if preprocess.resize_mode == "longest":
        return _pad(resized, target, preprocess.fill_color)
    left, top = crop_offset(fitted, target)
    return resized.crop((left, top, left + target[0], top + target[1]))


def resize_part(
    image: Image.Image, box: tuple[float, float, float, float], preprocess: Preprocess
) -> Image.Image:
    """Bring the part `box` (left, top, right, bottom) of an RGB image to `preprocess.size`, for training.

    As torchvision's `RandomResizedCrop` the part is stretched to the size; a model that sees whole
    images on a canvas (`longest`) gets the part on a canvas, in its proportions.
    """
    if preprocess.resize_mode == "longest":
        left, top, right, bottom = map(round, box)
        return resize(image.crop((left, top, max(right, left + 1), max(bottom, top + 1))), preprocess)
    target = preprocess.size[1], preprocess.size[0]
    return image.resize(target, resampling_of(preprocess), box=box)


def resampling_of(preprocess: Preprocess) -> Image.Resampling:
    """open_clip's choice: bicubic, or bilinear, which `shortest` ignores where the target is not square."""
    square = preprocess.size[0] == preprocess.size[1]
    if preprocess.interpolation == "bilinear" and (square or preprocess.resize_mode != "shortest"):
        return Image.Resampling.BILINEAR
    return Image.Resampling.BICUBIC


def fitted_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """(width, height) before cropping or padding; rounding as torchvision and open_clip do."""
    height, width = preprocess.size
    if preprocess.resize_mode == "squash":
        return width, height
    if preprocess.resize_mode == "longest":
        ratio = max(size[1] / height, size[0] / width)
        return max(1, round(size[0] / ratio)), max(1, round(size[1] / ratio))
    if height == width:
        short, long = sorted(size)
        fitted = (width, int(width * long / short))
        return fitted if size[0] <= size[1] else (fitted[1], fitted[0])
    ratio = min(size[1] / height, size[0] / width)
    return round(size[0] / ratio), round(size[1] / ratio)


def enlarges(size: tuple[int, int], preprocess: Preprocess) -> bool:
    """Whether an image of this (width, height) has fewer pixels in a row or column than the model sees."""
    width, height = fitted_size(size, preprocess)
    return width > size[0] or height > size[1]


def crop_offset(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """(left, top) of a centred crop; rounding as torchvision does."""
    return round((size[0] - crop[0]) / 2.0), round((size[1] - crop[1]) / 2.0)


def _crop_box(
    size: tuple[int, int], fitted: tuple[int, int], crop: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The part of the source that the centre crop shows: (left, top, right, bottom)."""
    left, top = crop_offset(fitted, crop)
    across, down = size[0] / fitted[0], size[1] / fitted[1]
    return left * across, top * down, (left + crop[0]) * across, (top + crop[1]) * down


def _pad(image: Image.Image, target: tuple[int, int], fill_color: int) -> Image.Image:
    """Centre the image on a canvas of one colour."""
    canvas = Image.new("RGB", target, (fill_color,) * 3)
    canvas.paste(image, ((target[0] - image.width) // 2, (target[1] - image.height) // 2))
    return canvas
