"""The engine for many machines: the stages of `clipcli.stages`, as a pipeline of Ray Data.

    list (a task a source) -> decode (tasks) -> encode and score (a pool of actors) -> write parts (tasks)

Rows travel in order, so that each part holds consecutive images, and the parts together are, byte for byte,
what the local engine writes. A task that is lost with its machine is done again by Ray; a run whose driver is
lost goes on from the parts that are finished, see `clipcli.output.parts`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from clipcli.errors import ClipcliError, UsageError
from clipcli.output.parts import Part, PartFolder
from clipcli.prefetch import available_cores
from clipcli.ray_stages import Encode, PartWriter, Work, datasink, decode, listing
from clipcli.records import ImageFeatures, Outcome

_GPU_BATCH, _CPU_BATCH = 256, 64
_CONNECT_SECONDS = 10
_A_LITTLE = 0.01  # of a core
_BLOCK_BYTES = 1 << 24
"""What a task hands on in one piece: some 80,000 items of a listing, or some 100 images."""
_BLOCKS_OF_A_LISTING = 64
"""The parts into which each of its pieces is cut, which may be decoded on as many cores."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its new way, of which it would warn
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what fails is told by exceptions
}


@dataclass(frozen=True)
class Cluster:
    """Where the stages run.

    Args:
        address: of a running Ray, `auto` being the one of this machine; None starts one here, for this run.
        gpus: how many GPUs are used, each by an encoder of its own; None is all of them.
        encoders: how many encoders there are; None is one for each GPU, or else for each `cpus_per_encoder`.
        cpus_per_encoder: cores that an encoder uses, where there are no GPUs; None is all of a machine.

    Raises:
        UsageError: a number below 1, or Ray is not installed.
    """

    address: str | None = None
    gpus: int | None = None
    encoders: int | None = None
    cpus_per_encoder: int | None = None

    def __post_init__(self) -> None:
        for option, least in (("gpus", 0), ("encoders", 1), ("cpus_per_encoder", 1)):
            value = getattr(self, option)
            if value is not None and value < least:
                raise UsageError(f"`{option}` must be at least {least}, not {value}")
        if find_spec("ray") is None:
            raise UsageError("Ray is not installed", "pip install 'clipcli[ray]'")


@contextlib.contextmanager
def running(cluster: Cluster) -> Iterator[None]:
    """A Ray to work with: the one that is named, or one that lives as long as the block.

    Raises:
        ClipcliError: it cannot be reached or started.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment())
        import ray

        options: dict[str, Any] = {"address": cluster.address}
        if cluster.address is not None:
            _check_address(cluster.address)
        else:
            made = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
            options = {"address": "local", "include_dashboard": False, "num_cpus": available_cores()}
            options["_temp_dir"] = stack.enter_context(made)
        try:
            with _silence():
                ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClipcliError(f"Ray at {cluster.address or 'this machine'}: {error}") from error
        stack.callback(ray.shutdown)
        yield


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """What Ray reads from the environment, where the user has not set it."""
    mine = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)


def _check_address(address: str) -> None:
    """See that something answers there: Ray itself tries for minutes.

    Raises:
        ClipcliError: nothing does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():  # `auto`, and what else Ray may know
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        raise ClipcliError(
            f"no Ray at {address}: {reason}", "Start one there with `ray start --head`."
        ) from None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing on stderr: Ray's own library writes there how it logs, and that it uses a token."""
    sys.stderr.flush()
    with Path(os.devnull).open("wb") as nothing:
        kept = os.dup(2)
        try:
            os.dup2(nothing.fileno(), 2)
            with contextlib.redirect_stderr(io.StringIO()):
                yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def outcomes(work: Work, cluster: Cluster) -> Iterator[Outcome | ImageFeatures]:
    """Every outcome in the order of the inputs, while Ray runs; for runs whose output is one file.

    Raises:
        ClipcliError: a stage failed.
    """
    with _told():
        for batch in _encoded(work, cluster, []).iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from map(pickle.loads, batch["outcome"].to_pylist())


def write_parts(work: Work, cluster: Cluster, folder: PartFolder, writer: PartWriter, run: Any) -> None:
    """Write every outcome to a table in parts, while Ray runs; parts that are finished are kept.

    Args:
        work: what is to be done.
        cluster: where.
        folder: where the parts go.
        writer: makes what writes a part.
        run: identifies the run, see `PartFolder.begin`.

    Raises:
        UsageError: the folder holds something else.
        ClipcliError: a stage failed.
    """
    finished = folder.begin(run)
    with _told():
        dataset = _encoded(work, cluster, finished, folder)
        sink = datasink(folder, writer)
        dataset.write_datasink(sink, ray_remote_args={"num_cpus": 0})
    folder.settle(sink.made, finished)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors of stages as the stages raised them."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, ClipcliError):
            raise cause from error
        raise ClipcliError(f"Ray: {str(error).strip().splitlines()[-1]}") from error


def _encoded(work: Work, cluster: Cluster, finished: Sequence[Part], folder: PartFolder | None = None) -> Any:
    """A dataset of rows in order: `place` of the image, and its `outcome`."""
    import ray

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.target_max_block_size = _BLOCK_BYTES
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    shares = _shares(cluster, ray.cluster_resources(), _cores_of_a_node(ray))
    size = work.batch_size or (_GPU_BATCH if shares.gpus else _CPU_BATCH)
    work_ref = ray.put(work)
    listed = ray.data.read_datasource(
        listing(work, finished, folder),
        override_num_blocks=_BLOCKS_OF_A_LISTING * work.inputs.sources,
        num_cpus=0,
    )
    decoded = listed.map_batches(
        decode,
        fn_args=(work_ref, str(Path.cwd())),
        batch_size=size,
        batch_format="pyarrow",
        num_cpus=shares.cpus_per_decoder,
        concurrency=shares.decoders,
    )
    return decoded.map_batches(
        Encode,
        fn_constructor_args=(work_ref,),
        batch_size=size,
        batch_format="pyarrow",
        concurrency=shares.encoders,
        num_cpus=shares.cpus_of_encoder,
        num_gpus=shares.gpus,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(shares.threads)}},
    )


class _Shares(NamedTuple):
    """What each stage gets of the machines."""

    encoders: int
    gpus: int
    threads: int
    cpus_of_encoder: float
    cpus_per_decoder: float
    decoders: int | None


def _shares(cluster: Cluster, resources: Mapping[str, float], cores: int) -> _Shares:
    """Encoders on all GPUs, or else on all cores, which decoders use in turns with the encoder's threads.

    Decoders must have room on every machine: if one is lost, its encoder is begun again on another, unless
    that is full, and would take the place of what it waits for. So their share is as small as can be, and
    their number is limited otherwise.
    """
    gpus = int(resources.get("GPU", 0)) if cluster.gpus is None else cluster.gpus
    if gpus:
        return _Shares(cluster.encoders or gpus, 1, 1, 1, 1, None)
    threads = min(cluster.cpus_per_encoder or cores, cores)
    encoders = cluster.encoders or max(1, int(resources.get("CPU", 1)) // threads)
    decoders = max(1, int(resources.get("CPU", 1)))
    return _Shares(encoders, 0, threads, threads - _A_LITTLE, _A_LITTLE, decoders)


def _cores_of_a_node(ray: Any) -> int:
    """The cores of the smallest machine that has any."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return min((count for count in cores if count), default=1)
