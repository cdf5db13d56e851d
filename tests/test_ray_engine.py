"""The same rows from a real Ray of two machines as from the local engine, byte for byte."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import EXAMPLES
from PIL import Image

pytest.importorskip("ray", reason="Ray is not installed")

from ray.cluster_utils import Cluster as Machines

from clipcli.cli import ray_runs
from clipcli.errors import UsageError
from clipcli.inputs.inputs import Inputs
from clipcli.models.request import ModelRequest
from clipcli.output.parts import PartFolder
from clipcli.ray_engine import Cluster, _shares
from clipcli.ray_stages import Work
from clipcli.records import Preprocess

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray warns of itself

CLASSES = "label,parent\ncat,animal\ndog,animal\nkey,tool\numbrella,tool\n"
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two machines, as far as Ray can tell, each with a core."""
    machines = Machines(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False},
        shutdown_at_exit=False,
    )
    machines.add_node(num_cpus=1)
    machines.wait_for_nodes()
    yield machines.address
    machines.shutdown()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of 120 images with two further columns; some images are broken, gone or not named."""
    photos = tmp_path / "photos"
    photos.mkdir()
    examples = sorted(EXAMPLES.glob("*.png"))
    with (tmp_path / "products.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "sku", "error"])
        for number in range(120):
            image = photos / f"{number:03}.png"
            if number % 40 == 7:
                image.write_bytes(b"not an image")
            elif number % 40 != 9:
                shutil.copyfile(examples[number % len(examples)], image)
            writer.writerow(["" if number % 40 == 11 else f"photos/{image.name}", f"A-{number}", "none"])
    return tmp_path / "products.csv"


def joined(folder: Path) -> bytes:
    """The rows of all parts, below one header."""
    parts = [path.read_bytes() for path in sorted(folder.glob("part-*.csv"))]
    header = parts[0].partition(b"\n")[0] + b"\n"
    assert all(part.startswith(header) for part in parts)
    return header + b"".join(part.removeprefix(header) for part in parts)


def test_parts_are_what_the_local_engine_writes(
    run_cli: Run, address: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sources, broken images, carried columns, groups, thresholds of the ranking, several parts."""
    monkeypatch.setattr("clipcli.ray_stages.ROWS_IN_PART", 50)
    monkeypatch.setattr("clipcli.ray_stages._LISTED", 10)
    classes = tmp_path / "classes.csv"
    classes.write_text(CLASSES)
    asked = ["classify", EXAMPLES, "-f", table, "-c", classes, "-m", "nano", "-k", "3", "--roll-up", "0.7"]
    local, parts = tmp_path / "local.csv", tmp_path / "out"
    assert run_cli(*asked, "-o", local).code == 3
    done = run_cli(*asked, "--engine", "ray", "--ray-address", address, "--parts", parts)
    assert done.code == 3, done.err
    assert joined(parts) == local.read_bytes()
    assert len(list(parts.glob("part-*"))) > 2
    assert "9 failed" in done.err
    assert run_cli("report", parts, "-o", tmp_path / "r.html").code == 0


@pytest.mark.long
def test_one_file_in_order(run_cli: Run, address: str, table: Path, tmp_path: Path) -> None:
    asked = ["classify", "-f", table, "-l", "cat,key", "-m", "nano", "--layout", "matrix"]
    local, ray = tmp_path / "local.csv", tmp_path / "ray.csv"
    run_cli(*asked, "-o", local)
    done = run_cli(*asked, "--engine", "ray", "--ray-address", address, "-o", ray)
    assert done.code == 3, done.err
    assert ray.read_bytes() == local.read_bytes()


@pytest.mark.long
def test_a_probe_is_a_classifier_as_any(run_cli: Run, address: str, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled"
    for path in sorted(EXAMPLES.glob("*.png")):
        (labelled / path.name.rpartition("-")[0]).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, labelled / path.name.rpartition("-")[0] / path.name)
    probe = tmp_path / "probe.safetensors"
    assert run_cli("probe", labelled, "-m", "nano", "--method", "gda", "-o", probe).code == 0
    local, parts = tmp_path / "local.csv", tmp_path / "out"
    assert run_cli("classify", EXAMPLES, "--classifier", probe, "-o", local).code == 0
    asked = ["classify", EXAMPLES, "--classifier", probe, "--engine", "ray", "--ray-address", address]
    done = run_cli(*asked, "--parts", parts)
    assert done.code == 0, done.err
    assert joined(parts) == local.read_bytes()


@pytest.mark.long
def test_features_in_parts(run_cli: Run, address: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    local, parts = tmp_path / "local.parquet", tmp_path / "out"
    assert run_cli("embed", EXAMPLES, "-m", "nano", "-o", local).code == 0
    done = run_cli(
        "embed", EXAMPLES, "-m", "nano", "--engine", "ray", "--ray-address", address, "--parts", parts
    )
    assert done.code == 0, done.err
    assert pq.read_table(next(parts.glob("part-*"))).equals(pq.read_table(local))


@pytest.mark.long
def test_a_run_goes_on_where_it_stopped(run_cli: Run, address: str, tmp_path: Path, monkeypatch: Any) -> None:
    """A part is missing, and another's images have changed: both are made again, and no other."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(90):
        Image.new("RGB", (8, 8), (number, 2 * number, 0)).save(photos / f"{number:02}.png")
    monkeypatch.setattr("clipcli.ray_stages.ROWS_IN_PART", 30)
    monkeypatch.setattr("clipcli.ray_stages._LISTED", 10)
    asked = ["classify", photos, "-l", "cat,key", "-m", "nano", "--batch-size", "10"]
    on_ray = [*asked, "--engine", "ray", "--ray-address", address, "--parts", tmp_path / "out"]
    assert run_cli(*on_ray).code == 0
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert len(parts) == 3
    before = {path: path.stat().st_mtime_ns for path in parts}
    (tmp_path / "out" / "_SUCCESS").unlink()
    parts[1].unlink()
    (tmp_path / "out" / "_parts" / f"{parts[1].stem}.json").unlink()
    (photos / "89.png").rename(photos / "90.png")
    assert run_cli(*on_ray).code == 0
    after = {path: path.stat().st_mtime_ns for path in parts}
    assert [after[path] == before[path] for path in parts] == [True, False, False]
    assert run_cli(*asked, "-o", tmp_path / "local.csv").code == 0
    assert joined(tmp_path / "out") == (tmp_path / "local.csv").read_bytes()


def test_a_finished_run_is_not_begun_again(run_cli: Run, address: str, tmp_path: Path) -> None:
    (tmp_path / "_SUCCESS").write_text("{}")
    (tmp_path / "run.json").write_text("{}")
    on_ray = ["--engine", "ray", "--ray-address", address, "--parts", tmp_path]
    done = run_cli("classify", EXAMPLES, "-l", "cat,key", "-m", "nano", *on_ray)
    assert done.code == 2
    assert "holds a finished run" in done.err


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--parts", "out", "--parts is for --engine ray"),
        ("--num-gpus", "1", "--num-gpus is for --engine ray"),
        ("--concurrency", "1", "--concurrency is for --engine ray"),
    ],
)
def test_options_of_ray_need_ray(run_cli: Run, option: str, value: str, told: str) -> None:
    done = run_cli("classify", EXAMPLES, "-l", "cat,key", "-m", "nano", option, value)
    assert done.code == 2
    assert told in done.err


def test_parts_are_in_place_of_files(run_cli: Run, tmp_path: Path) -> None:
    asked = [
        "classify",
        EXAMPLES,
        "-l",
        "cat,key",
        "-m",
        "nano",
        "--engine",
        "ray",
        "--parts",
        tmp_path / "out",
    ]
    assert "--parts is in place of --output" in run_cli(*asked, "-o", tmp_path / "a.csv").err
    assert "parts cannot be xlsx" in run_cli(*asked, "--format", "xlsx").err


def test_without_ray_it_is_said_what_to_install(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.ray_engine.find_spec", lambda name: None)
    done = run_cli("classify", EXAMPLES, "-l", "cat,key", "-m", "nano", "--engine", "ray")
    assert done.code == 2
    assert "pip install 'clipcli[ray]'" in done.err


def test_an_address_where_no_ray_is_fails_soon(run_cli: Run) -> None:
    asked = ["classify", EXAMPLES, "-l", "cat,key", "-m", "nano", "--engine", "ray"]
    done = run_cli(*asked, "--ray-address", "127.0.0.1:1")
    assert done.code == 1
    assert "no Ray at 127.0.0.1:1: " in done.err
    assert "This is a bug" not in done.err


def test_a_pipe_cannot_be_read_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read a pipe"):
        Work(Inputs(("-",)), ModelRequest("nano"), Preprocess())


@pytest.mark.parametrize(
    ("cluster", "resources", "cores", "shares"),
    [
        (Cluster(), {"CPU": 2}, 2, (1, 0, 2, 1.99, 0.01, 2)),
        (Cluster(), {"CPU": 1}, 1, (1, 0, 1, 0.99, 0.01, 1)),
        (Cluster(), {"CPU": 64}, 16, (4, 0, 16, 15.99, 0.01, 64)),
        (Cluster(cpus_per_encoder=8), {"CPU": 64}, 16, (8, 0, 8, 7.99, 0.01, 64)),
        (Cluster(), {"CPU": 64, "GPU": 8}, 64, (8, 1, 1, 1, 1, None)),
        (Cluster(gpus=2), {"CPU": 64, "GPU": 8}, 64, (2, 1, 1, 1, 1, None)),
        (Cluster(gpus=0), {"CPU": 64, "GPU": 8}, 64, (1, 0, 64, 63.99, 0.01, 64)),
        (Cluster(encoders=3), {"CPU": 64, "GPU": 8}, 64, (3, 1, 1, 1, 1, None)),
    ],
)
def test_machines_are_shared_between_encoders_and_decoders(
    cluster: Cluster, resources: dict[str, float], cores: int, shares: tuple[float | None, ...]
) -> None:
    assert _shares(cluster, resources, cores) == shares


@pytest.mark.parametrize("option", ["encoders", "cpus_per_encoder"])
def test_a_cluster_of_nothing_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        Cluster(**{option: 0})


@pytest.mark.parametrize(
    ("request_", "is_other"),
    [
        (ModelRequest("nano", precision="bf16"), True),
        (ModelRequest("fast"), True),
        (ModelRequest("nano", device="cuda"), True),
        (ModelRequest("nano", offline=True), False),
    ],
)
def test_a_run_goes_on_with_the_same_numbers_only(
    request_: ModelRequest, is_other: bool, tmp_path: Path
) -> None:
    found, folder = Inputs((str(EXAMPLES),)), PartFolder(str(tmp_path), ".csv")
    before = ray_runs.identity(Work(found, ModelRequest("nano"), Preprocess()), folder)
    now = ray_runs.identity(Work(found, request_, Preprocess()), folder)
    assert (now != before) == is_other


def test_what_was_counted_elsewhere_is_in_the_summary() -> None:
    from clipcli.cli.progress import Summary
    from clipcli.output.counts import Counts
    from clipcli.records import ImageFailure

    counts, summary = Counts(), Summary()
    counts.add(ImageFailure("a.png", "no such file"))
    summary.take(counts)
    assert (summary.images, summary.failed) == (1, 1)
