"""Where the time of a run goes: each step alone, and all of them together, on one device or on several."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from child import Job
from timing import in_turn

from clipcli import build_classifier
from clipcli.images.decode import DecodeOptions, ordinary_jpeg
from clipcli.inputs.item import FileItem, read_file
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.locate import ModelFiles
from clipcli.models.nvjpeg import NvjpegDecoder
from clipcli.output.consumers import RowWriter, consume
from clipcli.output.rows import Layout
from clipcli.output.sinks import open_sink
from clipcli.pipeline import EngineOptions, classify
from clipcli.prefetch import available_cores, prefetch_map
from clipcli.records import Outcome
from clipcli.scoring.classifier import Ranking
from clipcli.stages import load_pixels


def split(files: ModelFiles, job: Job, device: str, repeats: int) -> None:
    """Print the images/s of every step, and what share of the whole run it would take alone."""
    encoder = OpenClipEncoder(files, device)
    classifier = build_classifier(encoder, job.labels, job.template)
    size, workers = encoder.batch_size, available_cores()
    preprocess, device_type = encoder.preprocess, encoder.replicas[0].device.type
    pixels = np.stack(list(prefetch_map(lambda path: load_pixels(path, preprocess), job.paths, workers, 64)))
    batches = [pixels[start : start + size] for start in range(0, len(pixels), size)]
    features = encoder.encode_images(pixels)
    out, layout = Path(job.folder, "split.csv"), Layout("long", 5, classifier.classnames)

    def wait() -> None:
        if device_type != "cpu":
            torch.accelerator.synchronize(encoder.replicas[0].device)

    def decode() -> None:
        for _ in prefetch_map(
            lambda path: load_pixels(path, preprocess), job.paths, workers, 2 * size + workers
        ):
            pass

    def decode_on_gpu() -> None:
        decoder = NvjpegDecoder(encoder.devices, preprocess)
        for start in range(0, len(job.paths), size):
            files = prefetch_map(read_file, job.paths[start : start + size], workers, size)
            decoder.decode_jpegs([jpeg for data in files if (jpeg := ordinary_jpeg(data, preprocess))])

    def copy() -> None:
        for batch in batches:
            encoder.replicas[0].put(batch)
        wait()

    def encode() -> None:
        for batch in batches:
            encoder.encode_images(batch)

    def write(outcomes: Iterable[Outcome]) -> None:
        consume(outcomes, [RowWriter(layout, open_sink(layout.columns, out))])

    steps = {
        f"decode, {workers} threads": decode,
        "copy to the device": copy,
        "copy and encode, one device": encode,
        "score and write": lambda: write(classifier.predict(job.paths, features, Ranking())),
        "all together": lambda: write(
            classify(map(FileItem, job.paths), encoder, classifier, options=EngineOptions())
        ),
    }
    if device_type == "cpu":
        del steps["copy to the device"]
    elif importlib.util.find_spec("torchcodec"):
        on_gpu = EngineOptions(
            decoding=DecodeOptions(on_gpu=True), decoder=NvjpegDecoder(encoder.devices, preprocess)
        )
        steps["read and decode on the GPU"] = decode_on_gpu
        steps["all together, decoded on the GPU"] = lambda: write(
            classify(map(FileItem, job.paths), encoder, classifier, options=on_gpu)
        )
    taken = in_turn(steps, repeats)
    print(
        f"\nwhere the time goes, {', '.join(encoder.devices)}, {encoder.precision}, {len(job.labels)} labels"
    )
    print(f"  {len(job.paths)} images in batches of {size}")
    for name, times in taken.items():
        rate = len(job.paths) / statistics.median(times)
        shares = [one / whole for one, whole in zip(times, taken["all together"], strict=True)]
        spread = f"({min(shares):.0%} to {max(shares):.0%})"
        print(f"  {name:<34}{rate:>9.1f} images/s {statistics.median(shares):>6.0%} {spread} of the whole")
