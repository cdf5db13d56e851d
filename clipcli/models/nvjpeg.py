"""JPEGs to model pixels on a GPU: decoded many at a time by nvJPEG, with TorchCodec (`clipcli[gpu-decode]`).

A GPU repeats colours that are stored at half the size where Pillow interpolates them: a few pixels at edges
of colours differ by up to tens of 255 levels. It also notices less damage than Pillow does. What is not an
ordinary JPEG, and whatever fails here, is for `clipcli.images.decode.decode`, which knows how to say what is
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clipcli.errors import UsageError
from clipcli.images.color import to_srgb
from clipcli.images.resize import crop_offset, fitted_size, resampling_of
from clipcli.models.pool import Pool
from clipcli.records import Jpeg, Preprocess, Uint8Array

if TYPE_CHECKING:  # imported when there is something to decode: everything may be cached
    import torch

_PIXELS_PER_CALL = 2**27  # 0.4 GB as RGB


class NvjpegDecoder:
    """A `BatchDecoder` on the GPUs that a model runs on; a batch goes to the one that has least to do.

    Args:
        devices: of the encoder.
        preprocess: the model's recipe.

    Raises:
        UsageError: they are not CUDA GPUs.
    """

    def __init__(self, devices: Sequence[str], preprocess: Preprocess) -> None:
        if not all(device.startswith("cuda") for device in devices):
            where = ", ".join(devices)
            raise UsageError(f"decoding on a GPU needs a CUDA GPU; the model runs on {where}")
        self._preprocess = preprocess
        self._devices = Pool(devices)

    def decode_jpegs(self, jpegs: Sequence[Jpeg]) -> list[Uint8Array | None]:
        """Each to (H, W, 3) uint8 sRGB, in order; None for a file that could not be decoded.

        Raises:
            UsageError: TorchCodec is not installed, or does not fit torch.
        """
        with self._devices.least_used() as device:
            return decode_jpegs(jpegs, self._preprocess, device)


def decode_jpegs(jpegs: Sequence[Jpeg], preprocess: Preprocess, device: str) -> list[Uint8Array | None]:
    """Decode, orient, resize and crop, each to (H, W, 3) uint8 sRGB of `preprocess.size`.

    Args:
        jpegs: from `clipcli.images.decode.ordinary_jpeg`.
        preprocess: the model's recipe.
        device: a CUDA GPU; a CPU does the same, without nvJPEG.

    Returns:
        one per input, in order; None for a file that could not be decoded.

    Raises:
        UsageError: TorchCodec is not installed, or does not fit torch.
    """
    return [pixels for group in _groups(jpegs) for pixels in _decoded(group, preprocess, device)]


def _groups(jpegs: Sequence[Jpeg]) -> Iterator[list[Jpeg]]:
    """Runs of files that fit into memory together."""
    group: list[Jpeg] = []
    for jpeg in jpegs:
        if group and sum(one.pixels for one in group) + jpeg.pixels > _PIXELS_PER_CALL:
            yield group
            group = []
        group.append(jpeg)
    if group:
        yield group


def _decoded(group: Sequence[Jpeg], preprocess: Preprocess, device: str) -> list[Uint8Array | None]:
    """A group decoded in one call; if that fails, each file by itself."""
    import torch

    try:
        from torchcodec.decoders import decode_jpeg  # type: ignore[attr-defined]
    except (ImportError, OSError, RuntimeError) as error:
        message = f"decoding on a GPU: TorchCodec cannot be loaded: {error}"
        raise UsageError(message, "pip install 'clipcli[gpu-decode]'") from error
    try:
        images = decode_jpeg([jpeg.data for jpeg in group], mode="RGB", device=device)
        fitted = torch.stack([_fitted(image, preprocess) for image in images]).cpu().numpy()
    except RuntimeError:  # damaged, not for nvJPEG, or more than the memory holds
        if len(group) == 1:
            return [None]
        return [pixels for jpeg in group for pixels in _decoded([jpeg], preprocess, device)]
    return [_in_srgb(pixels, jpeg) for pixels, jpeg in zip(fitted, group, strict=True)]


def _in_srgb(pixels: Uint8Array, jpeg: Jpeg) -> Uint8Array:
    if jpeg.profile is None:
        return pixels
    return np.asarray(to_srgb(Image.fromarray(pixels), jpeg.profile, jpeg.mode))


def _fitted(image: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """(3, H, W) uint8 -> resized and cropped or padded to (h, w, 3) uint8, as `decode.resize` does."""
    import torch

    height, width = preprocess.size
    fitted = fitted_size((image.shape[2], image.shape[1]), preprocess)
    mode = resampling_of(preprocess).name.lower()
    resized = torch.nn.functional.interpolate(image[None].float(), fitted[::-1], mode=mode, antialias=True)[0]
    resized = resized.round().clamp(0, 255).to(torch.uint8)
    if preprocess.resize_mode == "longest":
        canvas = resized.new_full((3, height, width), preprocess.fill_color)
        left, top = (width - fitted[0]) // 2, (height - fitted[1]) // 2
        canvas[:, top : top + fitted[1], left : left + fitted[0]] = resized
    else:
        left, top = crop_offset(fitted, (width, height))
        canvas = resized[:, top : top + height, left : left + width]
    return canvas.permute(1, 2, 0)
