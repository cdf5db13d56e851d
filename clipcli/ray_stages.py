"""What each worker of `ray_engine` does: list, decode, encode and score, write a part.

Between them travel tables of pickled objects, each with its place: source and number of the image.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from clipcli.errors import UsageError
from clipcli.images.decode import DEFAULT, DecodeOptions
from clipcli.inputs.inputs import Inputs
from clipcli.models.request import ModelRequest
from clipcli.output.consumers import Consumer, consume
from clipcli.output.counts import Counts
from clipcli.output.parts import Digest, Part, PartFolder
from clipcli.pipeline import features
from clipcli.prefetch import in_chunks, prefetch_map
from clipcli.records import Float32Array, ImageFailure, ImageFeatures, Item, Outcome, Preprocess
from clipcli.stages import Decoded, decode_item, encode_batch, score_batch

if TYPE_CHECKING:
    import pyarrow as pa

    from clipcli.scoring.classifier import Classifier
    from clipcli.scoring.ranking import Ranking

ROWS_IN_PART = 10_000
"""Images in a part, about; the last ones of a source have fewer."""

_SOURCE_BITS = 44  # of a row's place, below its source: 10^13 images
_LISTED = 128  # items in a block of the listing
_READERS = 4  # threads that read and decode in a task: reading waits
_NO_SCORES: Float32Array = np.empty(0, dtype=np.float32)


class PartWriter(Protocol):
    """Makes what writes the outcomes of a part to a file."""

    def __call__(self, path: Path) -> Consumer[Any]:
        """A consumer that is entered, fed and left."""


@dataclass(frozen=True)
class Scorer:
    """What turns features into predictions.

    `keeps_scores` tells whether the scores of all classes are needed, as the layout `matrix` does.
    """

    classifier: Classifier
    ranking: Ranking
    keeps_scores: bool = False

    def needed(self, outcome: Outcome) -> Outcome:
        """An outcome without what nobody reads, which would travel between machines."""
        if self.keeps_scores or isinstance(outcome, ImageFailure):
            return outcome
        return outcome._replace(scores=_NO_SCORES)


@dataclass(frozen=True)
class Work:
    """What is to be done, as it is sent to the workers.

    Args:
        inputs: the images.
        request: the model, built anew by each encoder.
        preprocess: its recipe.
        scorer: what scores them; None leaves features.
        decoding: how images are read.
        batch_size: images encoded together.
    """

    inputs: Inputs
    request: ModelRequest
    preprocess: Preprocess
    scorer: Scorer | None = None
    decoding: DecodeOptions = DEFAULT
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.inputs.is_read_once:
            raise UsageError("other machines cannot read a pipe", "Write the list to a file.")
        if self.decoding.on_gpu:
            raise UsageError("decoding on a GPU is not possible with Ray", "Leave it out.")


def listing(work: Work, finished: Sequence[Part], folder: PartFolder | None) -> Any:
    """The source of the dataset: a task for each source of images."""
    from ray.data import Datasource
    from ray.data.block import BlockMetadata
    from ray.data.datasource import ReadTask

    home = str(Path.cwd())

    unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
    lists = [
        partial(_list, work.inputs, number, _of(finished, number), folder, home, _LISTED)
        for number in range(work.inputs.sources)
    ]

    class Listing(Datasource):  # type: ignore[misc]
        """Lists items in blocks, as they are found."""

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            return [ReadTask(one, unknown) for one in lists]

        def estimate_inmemory_data_size(self) -> None:
            return None

    return Listing()


def _of(finished: Sequence[Part], source: int) -> dict[int, Part]:
    return {part.first: part for part in finished if part.source == source}


def _list(
    inputs: Inputs,
    source: int,
    finished: Mapping[int, Part],
    folder: PartFolder | None,
    home: str,
    size: int,
) -> Iterator[pa.Table]:
    """Blocks of `size` items: their places, and the items. Those of finished parts are passed over."""
    _go_to(home)
    left = _unfinished(enumerate(inputs.of_source(source)), finished, folder)
    for block in in_chunks(left, size):
        places = [(source << _SOURCE_BITS) + number for number, _ in block]
        yield _table(places, "item", [item for _, item in block])


def _unfinished(
    items: Iterator[tuple[int, Item | ImageFailure]], finished: Mapping[int, Part], folder: PartFolder | None
) -> Iterator[tuple[int, Item | ImageFailure]]:
    """Numbered items without those of finished parts; a part with other images is dropped first."""
    left = dict(finished)
    for number, item in items:
        part = left.pop(number, None)
        if part is None or folder is None:
            yield number, item
            continue
        held = [(number, item), *islice(items, part.count - 1)]
        if (len(held), _digest(one for _, one in held)) != (part.count, part.digest):
            folder.drop(part)
            yield from held
    if folder is not None:
        for part in left.values():  # of images that are no more
            folder.drop(part)


def _digest(items: Iterable[Item | ImageFailure]) -> str:
    digest = Digest()
    for item in items:
        digest.add(item)
    return digest.hexdigest()


def decode(table: pa.Table, reference: Any, home: str) -> pa.Table:
    """Rows of items with their pixels (H, W, 3), as bytes; nothing for what failed, whose item is why."""
    import ray

    _go_to(home)
    work = ray.get(reference)
    items = list(map(pickle.loads, table["item"].to_pylist()))
    read = partial(_read, preprocess=work.preprocess, options=work.decoding)
    done = list(prefetch_map(read, items, _READERS, prefetch=len(items)))
    pixels = [one.pixels.tobytes() if isinstance(one, Decoded) else None for one in done]
    items = [one.item if isinstance(one, Decoded) else one for one in done]
    return _table(table["place"], "item", items, pixels)


def _read(one: Item | ImageFailure, preprocess: Preprocess, options: DecodeOptions) -> Decoded | ImageFailure:
    return one if isinstance(one, ImageFailure) else decode_item(one, preprocess, options)


class Encode:
    """An encoder in a process of its own."""

    def __init__(self, reference: Any) -> None:
        import ray

        from clipcli.models.lazy import load_encoder

        work = self._work = ray.get(reference)
        self._encoder = load_encoder(work.request)
        if work.scorer is not None:
            work.scorer.classifier.check_encoder(self._encoder)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Rows of outcomes."""
        items = map(pickle.loads, table["item"].to_pylist())
        shape = (*self._work.preprocess.size, 3)
        batch = [
            one if pixels is None else Decoded(one, np.frombuffer(pixels, np.uint8).reshape(shape))
            for one, pixels in zip(items, table["pixels"].to_pylist(), strict=True)
        ]
        encoded = encode_batch(batch, self._encoder)
        scorer = self._work.scorer
        if scorer is None:
            return _table(table["place"], "outcome", list(features([encoded])))
        scored = score_batch(encoded, scorer.classifier, scorer.ranking)
        return _table(table["place"], "outcome", [scorer.needed(one) for one in scored])


def datasink(folder: PartFolder, writer: PartWriter) -> Any:
    """What writes rows of outcomes as parts."""
    from ray.data import Datasink

    home = str(Path.cwd())

    class Parts(Datasink):  # type: ignore[misc]
        """Writes each run of consecutive images as a part."""

        min_rows_per_write = ROWS_IN_PART

        made: Sequence[Part] = ()

        def write(self, blocks: Iterable[pa.Table], ctx: Any) -> list[Part]:
            _go_to(home)
            rows = (row for block in blocks for row in _rows(block))
            return [_write_part(run, folder, writer) for run in _runs(rows)]

        def on_write_complete(self, write_result: Any) -> None:
            self.made = [part for parts in write_result.write_returns for part in parts]

    return Parts()


def _rows(block: pa.Table) -> Iterator[tuple[int, Outcome | ImageFeatures]]:
    outcomes = map(pickle.loads, block["outcome"].to_pylist())
    return zip(block["place"].to_pylist(), outcomes, strict=True)


def _runs(
    rows: Iterable[tuple[int, Outcome | ImageFeatures]],
) -> Iterator[list[tuple[int, Outcome | ImageFeatures]]]:
    """Rows of consecutive images of one source: where finished parts lie between, there is a gap."""
    run: list[tuple[int, Outcome | ImageFeatures]] = []
    for row in rows:
        if run and row[0] != run[-1][0] + 1:
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def _write_part(
    run: Sequence[tuple[int, Outcome | ImageFeatures]], folder: PartFolder, writer: PartWriter
) -> Part:
    digest, counts = Digest(), Counts()
    for _, outcome in run:
        digest.add_outcome(outcome)
    source, first = divmod(run[0][0], 1 << _SOURCE_BITS)
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / f"part{folder.suffix}"
        consume([outcome for _, outcome in run], [writer(path), counts])
        part = Part(source, first, len(run), digest.hexdigest())
        folder.add(part, path, counts)
    return part


def _table(
    places: Sequence[int] | pa.Array,
    name: str,
    objects: Sequence[Any],
    pixels: Sequence[bytes | None] | None = None,
) -> pa.Table:
    """Rows of objects, each pickled, beside their places."""
    import pyarrow as pa

    columns = {"place": places, name: pa.array(map(pickle.dumps, objects), pa.large_binary())}
    if pixels is not None:
        columns["pixels"] = pa.array(pixels, pa.large_binary())
    return pa.table(columns)


def _go_to(folder: str) -> None:
    """Work in the folder of the driver, where this machine has it: relative names start there."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
