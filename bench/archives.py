"""Images a second out of archives, beside the same images in a folder."""

from __future__ import annotations

import statistics
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from timing import in_turn

from clipcli import pipeline
from clipcli.inputs.archives.zstd import ZstdFile
from clipcli.inputs.inputs import Inputs
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.locate import ModelFiles
from clipcli.pipeline import EngineOptions


def archives(files: ModelFiles, paths: list[str], amount: int, repeats: int) -> None:
    """Print the rates of `amount` images from a folder, and from archives with the same, in turn."""
    encoder = OpenClipEncoder(files, "auto")
    with tempfile.TemporaryDirectory() as name:
        sources = made(Path(name), paths, amount)
        seconds = in_turn({path.name: reading(path, encoder, amount) for path in sources}, repeats)
    print(f"\n{amount} images in a folder and in archives")
    folder = next(iter(seconds.values()))
    for source, times in seconds.items():
        ratios = [a / b for a, b in zip(folder, times, strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        rate = amount / statistics.median(times)
        print(f"  {source:<34}{rate:>9.1f} images/s  {statistics.median(ratios):>6.2f}x {spread}")


def made(folder: Path, paths: list[str], amount: int) -> list[Path]:
    """A folder of images, in turn those of the paths, and archives of it."""
    sources = [folder / name for name in ("folder", "a.zip", "a.tar", "a.tar.gz", "a.tar.zst")]
    sources[0].mkdir()
    for number in range(amount):
        original = Path(paths[number % len(paths)])
        (sources[0] / f"{number:06}{original.suffix}").write_bytes(original.read_bytes())
    images = sorted(sources[0].iterdir())
    with (
        zipfile.ZipFile(sources[1], "w", zipfile.ZIP_DEFLATED) as zipped,
        tarfile.open(sources[2], "w") as tar,
        tarfile.open(sources[3], "w:gz") as gzipped,
        ZstdFile(sources[4], "w") as stream,
        tarfile.open(fileobj=stream, mode="w|") as packed,
    ):
        for path in images:
            zipped.write(path, path.name)
            for archive in (tar, gzipped, packed):
                archive.add(path, path.name)
    return sources


def reading(path: Path, encoder: OpenClipEncoder, amount: int) -> Callable[[], None]:
    """A run over all images of one source, without a cache."""

    def run() -> None:
        batches = pipeline.encode(Inputs((str(path),)), encoder, EngineOptions())
        assert sum(len(batch.items) for batch in batches) == amount

    return run
