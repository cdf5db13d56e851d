"""What a number of images costs and takes, from rates that are measured here.

    .venv/bin/python bench/scale.py --images FOLDER [--model MODEL] [--nodes 10] [--cores 16] [--gpus 1]
        [--gpu-rate 2500] [--read-mb 200] [--price 1.60]

Measured on this machine, all by the second: names listed, files read and decoded by one core, images
encoded, rows written. One process lists; all machines read, decode, encode and write, at the same time. The
slowest stage decides: its rate is that of the run. `--gpu-rate` is what one GPU encodes, as
`bench/run.py split` prints it on such a machine; without GPUs, the rate of this machine stands for each.

The last lines check the rule: the local engine runs over the same images, and its rate is compared with the
one that the stages predict.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipcli import api
from clipcli.inputs.inputs import Inputs
from clipcli.output.consumers import RowWriter, consume
from clipcli.output.rows import Layout
from clipcli.output.sinks import open_sink
from clipcli.prefetch import available_cores
from clipcli.records import Encoder, ImageFailure, Item
from clipcli.scoring.classifier import Classifier
from clipcli.stages import Decoded, decode_item, encode_batch

LABELS = ("cat", "dog", "receipt")
AMOUNTS = (10**6, 10**7, 10**8, 10**9)
REPEATS = 3


@dataclass(frozen=True)
class Rates:
    """Images a second of each stage, for all machines together."""

    listed: float
    read: float
    decoded: float
    encoded: float
    written: float

    @property
    def slowest(self) -> tuple[str, float]:
        """The stage that decides, and its rate."""
        return min(vars(self).items(), key=lambda stage: stage[1])


@dataclass(frozen=True)
class Machines:
    """How many there are, and what each has and costs an hour."""

    nodes: int
    cores: int
    gpus: int
    gpu_rate: float
    read_mb: float
    price: float

    def rates(self, one: Measured) -> Rates:
        """The rates of all, from those of this machine."""
        encoding = self.gpus * self.gpu_rate if self.gpus else one.encoded * self.cores / one.cores
        decoding = self.cores if self.gpus else 0  # without GPUs, encoding takes the same cores
        alone = one.decoded_by_a_core * self.cores
        both = 1 / (1 / encoding + 1 / alone)
        return Rates(
            one.listed,
            self.nodes * self.read_mb * 1e6 / one.bytes_an_image,
            self.nodes * (one.decoded_by_a_core * decoding or both),
            self.nodes * (encoding if self.gpus else both),
            self.nodes * one.written,
        )


@dataclass(frozen=True)
class Measured:
    """What this machine does: images a second, of decoding by one core."""

    cores: int
    bytes_an_image: float
    listed: float
    decoded_by_a_core: float
    encoded: float
    written: float


def rate(work: Callable[[], int]) -> float:
    """Images a second, the median of some runs."""
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        rates.append(work() / (time.perf_counter() - start))
    return statistics.median(rates)


def measured(found: Inputs, items: Sequence[Item], encoder: Encoder, classifier: Classifier) -> Measured:
    """The rates of this machine."""
    decoded = [
        one for one in (decode_item(item, encoder.preprocess) for item in items) if isinstance(one, Decoded)
    ]
    if not decoded:
        raise SystemExit("none of the images can be read")
    batch = decoded[: 2 * encoder.batch_size]
    outcomes = list(api.classify(list(items), encoder, classifier))

    def listed() -> int:
        return sum(1 for _ in found)

    def decode() -> int:
        return len([decode_item(item, encoder.preprocess) for item in items])

    def encode() -> int:
        encode_batch(batch, encoder)
        return len(batch)

    def write() -> int:
        with tempfile.TemporaryDirectory() as folder:
            layout = Layout("long", 5, LABELS)
            rows = RowWriter(layout, open_sink(layout.columns, Path(folder) / "rows.parquet"))
            consume(outcomes * 20, [rows])
        return len(outcomes) * 20

    encode()  # the first batch is slower
    size = statistics.mean(Path(item.name).stat().st_size for item in items)
    return Measured(available_cores(), size, rate(listed), rate(decode), rate(encode), rate(write))


def check(items: Sequence[Item], encoder: Encoder, classifier: Classifier, one: Measured) -> None:
    """Compare the rule with a run of the local engine on all cores of this machine."""
    here = Machines(1, one.cores, 0, 0, 1e9, 0).rates(one)
    real = rate(lambda: sum(1 for _ in api.classify(list(items), encoder, classifier)))
    stage, predicted = here.slowest
    print(f"\ncheck, here: {predicted:.1f} images/s predicted ({stage}), {real:.1f} measured,", end=" ")
    print(f"{real / predicted:.2f} of it")


def main() -> None:
    """Measure, and print what runs take and cost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--limit", type=int, default=300, help="images that are measured with")
    for name, default in (("nodes", 10), ("cores", 16), ("gpus", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("gpu-rate", 2500.0), ("read-mb", 200.0), ("price", 1.6)):
        parser.add_argument(f"--{name}", type=float, default=default)
    asked = parser.parse_args()
    encoder = api.load_model(asked.model)
    classifier = api.build_classifier(encoder, LABELS)
    found = Inputs((asked.images,))
    items = [one for one in found if not isinstance(one, ImageFailure)][: asked.limit]
    one = measured(found, items, encoder, classifier)
    print(f"this machine: {one.cores} cores, {encoder.name}, {one.bytes_an_image / 1e3:.0f} kB an image")
    print(f"  a second: {one.listed:.0f} listed, {one.decoded_by_a_core:.1f} decoded by a core,", end=" ")
    print(f"{one.encoded:.1f} encoded, the rows of {one.written:.0f} written")
    machines = Machines(asked.nodes, asked.cores, asked.gpus, asked.gpu_rate, asked.read_mb, asked.price)
    rates = machines.rates(one)
    print(f"\n{asked.nodes} machines of {asked.cores} cores and {asked.gpus} GPUs; images a second:")
    print("  " + ", ".join(f"{stage} {value:.0f}" for stage, value in vars(rates).items()))
    stage, slowest = rates.slowest
    print(f"  the run is as fast as this: {stage}, {slowest:.0f}")
    for amount in AMOUNTS:
        hours = amount / slowest / 3600
        print(
            f"  {amount:>13,} images {hours:>10.1f} h {hours * asked.nodes * asked.price:>12,.0f} by --price"
        )
    check(items, encoder, classifier, one)


if __name__ == "__main__":
    main()
