"""Runs on several machines: what is sent there, where the results go, and what is told meanwhile."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clipcli.choices import FeatureType, LayoutName, PerVideo
from clipcli.cli import console, progress
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.cli.ray_options import OnRay
    from clipcli.inputs.inputs import Inputs
    from clipcli.models.request import ModelRequest
    from clipcli.output.consumers import RowWriter
    from clipcli.output.feature_writer import FeatureWriter
    from clipcli.output.parts import PartFolder
    from clipcli.output.rows import Layout
    from clipcli.pipeline import EngineOptions
    from clipcli.ray_engine import Cluster
    from clipcli.ray_stages import PartWriter, Work
    from clipcli.records import Encoder
    from clipcli.scoring.classifier import Classifier
    from clipcli.scoring.ranking import Ranking

_SECONDS = 5  # between two looks at what is finished
_FORMATS = ("csv", "jsonl", "parquet")


def folder(
    on_ray: OnRay, output: Sequence[Path] | None, format_name: str | None, per_video: PerVideo | None
) -> PartFolder | None:
    """The folder of parts that the options name, after refusing what does not go together.

    Raises:
        UsageError: options that exclude or need each other, or Ray is not installed.
    """
    on_ray.check()
    if on_ray.is_chosen and per_video is not None:
        raise UsageError("one row a video needs --engine local", "Leave `per_video` or --engine out.")
    if on_ray.is_chosen:
        cluster_of(on_ray)
    if on_ray.parts is None:
        return None
    if output:
        raise UsageError("--parts is in place of --output", "Use one of them.")
    if format_name not in (None, *_FORMATS):
        raise UsageError(f"parts cannot be {format_name}", f"Use {', '.join(_FORMATS)}.")
    from clipcli.output.parts import PartFolder

    return PartFolder(on_ray.parts, f".{format_name or _FORMATS[0]}")


def cluster_of(on_ray: OnRay) -> Cluster:
    """Where the work runs; errors as in `Cluster`."""
    from clipcli.ray_engine import Cluster

    return Cluster(on_ray.ray_address, on_ray.num_gpus, on_ray.concurrency, on_ray.cpus_per_encoder)


def scoring(
    found: Inputs,
    request: ModelRequest,
    encoder: Encoder,
    engine: EngineOptions,
    classifier: Classifier,
    ranking: Ranking,
    layout: LayoutName | None,
) -> Work:
    """The work of classifying, as it is sent to other machines; errors as in `Work`."""
    from clipcli.ray_stages import Scorer, Work

    scorer = Scorer(classifier, ranking, keeps_scores=layout == "matrix")
    return Work(found, request, encoder.preprocess, scorer, engine.decoding, engine.batch_size)


@dataclass(frozen=True)
class _Rows:
    """Makes what writes the rows of a part."""

    layout: Layout
    excel: bool

    def __call__(self, path: Path) -> RowWriter:
        from clipcli.output.consumers import RowWriter
        from clipcli.output.sinks import open_sink

        return RowWriter(self.layout, open_sink(self.layout.columns, path, None, self.excel))


def row_writer(
    layout_of: Callable[[LayoutName], Layout], layout: LayoutName | None, folder: PartFolder, excel: bool
) -> PartWriter:
    """What writes predictions to a part."""
    from clipcli.output.rows import default_layout

    return _Rows(layout_of(layout or default_layout(folder.suffix[1:])), excel)


@dataclass(frozen=True)
class FeaturesOfParts:
    """Makes what writes the features of a part.

    Args:
        about: what the file tells of the model.
        carried: columns of the user's table, and the types of their cells.
        dtype: of the features.
    """

    about: Mapping[str, Any]
    carried: Mapping[str, type]
    dtype: FeatureType

    def __call__(self, path: Path) -> FeatureWriter:
        """A writer of Parquet."""
        from clipcli.output.feature_files import open_feature_file

        return open_feature_file(path, self.about, self.carried, self.dtype, "image")


def outcomes(on_ray: OnRay, work: Work, stop: Callable[[], bool]) -> Iterator[Any]:
    """Every outcome, in order, from a Ray that runs meanwhile."""
    from clipcli import ray_engine

    with _started(cluster_of(on_ray)) as cluster:
        for outcome in ray_engine.outcomes(work, cluster):
            if stop():
                return
            yield outcome


def write(
    on_ray: OnRay,
    work: Work,
    folder: PartFolder,
    writer: PartWriter,
    run: Mapping[str, Any],
    summary: progress.Summary,
) -> None:
    """Write all results in parts, and take what was counted into the summary.

    Args:
        on_ray: the options.
        work: what is to be done.
        folder: where the parts go.
        writer: makes what writes a part.
        run: what else must be the same for a run that goes on.
        summary: of the run.

    Raises:
        typer.Exit: the run was interrupted.
        UsageError: the folder holds something else.
    """
    from clipcli import ray_engine

    whole = {**identity(work, folder), **run}
    try:
        with _started(cluster_of(on_ray)) as cluster, progress.polled(lambda: _told(folder), _SECONDS):
            ray_engine.write_parts(work, cluster, folder, writer, whole)
    except KeyboardInterrupt:
        console.note(f"interrupted: {_told(folder)} to {folder.path}; run it again to go on")
        raise typer.Exit(console.INTERRUPTED) from None
    summary.take(folder.counts())


def identity(work: Work, folder: PartFolder) -> dict[str, Any]:
    """What must be the same for a run that goes on: what decides the bits of a feature, and the columns."""
    return {
        "request": {**asdict(work.request), "offline": None},  # which decides nothing
        "decoding": asdict(work.decoding),
        "columns": list(work.inputs.columns),
        "suffix": folder.suffix,
    }


def classification(classifier: Classifier, ranking: Ranking, layout: LayoutName | None) -> dict[str, Any]:
    """What identifies a run of `clipcli classify`, besides its images."""
    from clipcli.files import sha256_of
    from clipcli.scoring.classifier_file import save_classifier

    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "classifier.safetensors"
        save_classifier(classifier, path)
        return {"classifier": sha256_of(path), "scores": asdict(ranking), "layout": layout}


@contextmanager
def _started(cluster: Cluster) -> Iterator[Cluster]:
    """A Ray that runs as long as the block; how long its start took is told with --verbose."""
    from clipcli.ray_engine import running

    start = time.perf_counter()
    with progress.working("starting Ray"):
        ray = running(cluster)
        ray.__enter__()
    console.detail(f"Ray after {time.perf_counter() - start:.1f} s")
    try:
        yield cluster
    finally:
        ray.__exit__(*sys.exc_info())


def _told(folder: PartFolder) -> str:
    return f"{folder.counts().images} images are written"
