"""What the machine allows: matrix products alone, the forward pass alone, decoding alone."""

from __future__ import annotations

import numpy as np
import torch
from timing import seconds
from torch.utils.flop_counter import FlopCounterMode

from clipcli.errors import ClipcliError
from clipcli.images.decode import DecodeOptions
from clipcli.models.devices import DTYPES
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.locate import ModelFiles
from clipcli.prefetch import available_cores, prefetch_map
from clipcli.stages import load_pixels

BATCH = 32
SIDE = 2048  # of the square matrices


def matmul_gflops(dtype: torch.dtype, repeats: int) -> float:
    """Of two large square matrices."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / seconds(lambda: a @ b, repeats) / 1e9


def gflop_of_one(encoder: OpenClipEncoder) -> float:
    """Of the image tower, for one image."""
    height, width = encoder.preprocess.size
    pixels = np.zeros((1, height, width, 3), dtype=np.uint8)
    with (
        torch.inference_mode(),
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see into it
        encoder.replicas[0].image_features(pixels)
    torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops() / 1e9


def limits(files: ModelFiles, paths: list[str], repeats: int) -> None:
    """Print them, for the precisions that run here."""
    print("\nlimits")
    workers = available_cores()
    for exact in (False, True):

        def decode(exact: bool = exact) -> None:
            for _ in prefetch_map(
                lambda path: load_pixels(path, files.preprocess, DecodeOptions(exact=exact)),
                paths,
                workers,
                64,
            ):
                pass

        rate = len(paths) / seconds(decode, repeats)
        print(f"  decode alone{', exact' if exact else '':<22}{rate:>9.1f} images/s")
    pixels = np.stack([load_pixels(path, files.preprocess) for path in paths[:BATCH]])
    gflop = 0.0
    for precision in dict.fromkeys(("fp32", OpenClipEncoder(files, "cpu").precision, "int8")):
        try:
            encoder = OpenClipEncoder(files, "cpu", precision)
        except ClipcliError as error:
            print(f"  {precision}: left out, {error.message}")
            continue
        gflop = gflop or gflop_of_one(encoder)
        rate = len(pixels) / seconds(lambda encoder=encoder: encoder.encode_images(pixels), repeats)
        line = f"  forward alone, {precision:<19}{rate:>9.1f} images/s, {rate * gflop:.0f} GFLOP/s"
        if precision != "int8":
            peak = matmul_gflops(DTYPES[encoder.precision], repeats)
            line += f", {rate * gflop / peak:.0%} of what a product of {SIDE} x {SIDE} reaches ({peak:.0f})"
        print(line)
