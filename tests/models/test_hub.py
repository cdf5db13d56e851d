"""Downloading models: the real client against a hub of our own on 127.0.0.1.

`huggingface_hub` reads its settings when it is imported, so most commands run as processes. Where
only its cache matters, they run in this process, which is faster.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pickle
import shutil
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import TORCH, clipcli
from conftest import Result, build_random, save_tokenizer
from hub_server import COMMIT, OLDER_COMMIT, Hub, sha256
from PIL import Image, ImageDraw
from roberta_model import save_roberta

from clipcli.errors import WeightsUnavailableError
from clipcli.models.hub import cached, find_file
from clipcli.models.registry import ASSETS

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TINY, SIGLIP, TOKENIZER = "test/tiny-clip", "test/tiny-siglip", "test/tokenizer"
TOWER, TWO_PARTS = "test/tower", "test/two-parts"
LARGE = "test/large"  # of several pieces for the client, which writes 10 MiB at a time
NON_COMMERCIAL = "apple/MobileCLIP-S1-OpenCLIP"
MEBIBYTE = 1 << 20
BAR = "%|"


class Machine:
    """A user's machine with an empty cache, on which commands are run as processes of their own."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.cache = folder / "huggingface" / "hub"
        foreign = ("HF_", "HUGGING", "TRANSFORMERS_", "CLIPCLI_", "XDG_")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(foreign) and not name.lower().endswith("_proxy")
        }
        home = {"HOME": str(folder), "HF_HOME": str(self.cache.parent), "HF_ENDPOINT": endpoint}
        self.environment = kept | home | {"TERM": "xterm", "COLUMNS": "120"}

    def start(self, *arguments: object, **streams: Any) -> subprocess.Popen[str]:
        """Start `clipcli ARGUMENTS...`; upper-case keywords are environment variables."""
        environment = {name: streams.pop(name) for name in list(streams) if name.isupper()}
        return subprocess.Popen(
            [*clipcli(TORCH), *map(str, arguments)],
            env=self.environment | environment,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )

    def run(self, *arguments: object, **environment: str) -> Result:
        """Run `clipcli ARGUMENTS...` and wait for it."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return Result(process.returncode, out, err)

    def weights(self, repository: str) -> Path:
        """Where the hub's client puts the weights of a repository."""
        return self.repository(repository) / "snapshots" / COMMIT / WEIGHTS

    def repository(self, repository: str) -> Path:
        """The cache's folder of a repository."""
        return self.cache / f"models--{repository.replace('/', '--')}"


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as SigLIP has them, in open_clip's local format, its tokenizer beside it."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("siglip")
    model_cfg: dict[str, Any] = {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 16},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": save_tokenizer(folder),
            "hf_tokenizer_name": TOKENIZER,
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 64,
            "heads": 4,
            "layers": 2,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    }
    preprocess_cfg = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / CONFIG).write_text(json.dumps(config))
    torch.manual_seed(0)
    state = build_random(model_cfg).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
    return folder


def _large() -> dict[str, bytes]:
    """A model of 25 MB, nearly all of it token embeddings."""
    from safetensors.torch import save

    model_cfg = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 124, "heads": 2, "layers": 1},
    }
    state = build_random(model_cfg).state_dict()
    config = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    return {CONFIG: json.dumps(config).encode(), WEIGHTS: save({k: v.contiguous() for k, v in state.items()})}


def _two_parts(folder: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """A model whose text tower is described in another repository, and its tokenizer in a third."""
    files = _files(save_roberta(folder))
    config = json.loads(files[CONFIG])
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": TOWER, "hf_tokenizer_name": TOKENIZER}
    model = {CONFIG: json.dumps(config).encode(), WEIGHTS: files[WEIGHTS]}
    return model, {"config.json": files["config.json"]}


@pytest.fixture(scope="module")
def running_hub(siglip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub, for all tests of this file."""
    two_parts, tower = _two_parts(tmp_path_factory.mktemp("roberta"))
    nano = _files(ASSETS / "nano")
    model = _files(siglip)
    tokenizer = {name: model.pop(name) for name in list(model) if name not in (CONFIG, WEIGHTS)}
    repositories = {
        TINY: nano,
        SIGLIP: model,
        TOKENIZER: tokenizer,
        LARGE: _large(),
        TWO_PARTS: two_parts,
        TOWER: tower,
        NON_COMMERCIAL: {WEIGHTS: os.urandom(200_000)},
        "test/gated": nano,
        "test/text-only": {"README.md": b"nothing to see", "model.safetensors": os.urandom(200_000)},
    }
    with Hub(repositories, gated={"test/gated"}) as hub:
        yield hub


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def hub(running_hub: Hub) -> Hub:
    """The hub in good health."""
    running_hub.reset()
    return running_hub


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Machine:
    """A machine that has nothing yet."""
    return Machine(tmp_path, hub.url)


@pytest.fixture(scope="module")
def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three drawings."""
    folder = tmp_path_factory.mktemp("images")
    for name, box in {"wide": (4, 30, 92, 60), "tall": (30, 4, 60, 92), "dot": (40, 40, 56, 56)}.items():
        drawing = Image.new("RGB", (96, 80), "white")
        ImageDraw.Draw(drawing).ellipse(box, fill="black")
        drawing.save(folder / f"{name}.png")
    return folder


@pytest.fixture
def use_here(monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], None]:
    """Give this process the cache and the hub of a machine."""

    def use(machine: Machine) -> None:
        endpoint = machine.environment["HF_ENDPOINT"]
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(machine.cache))
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)

    return use


@pytest.fixture
def run_here(run_cli: Callable[..., Result], use_here: Callable[[Machine], None]) -> Callable[..., Result]:
    """Run the command line in this process, with the cache and the hub of a machine."""

    def run(machine: Machine, *arguments: object) -> Result:
        use_here(machine)
        return run_cli(*arguments)

    return run


class Pulled(NamedTuple):
    """A machine after `models pull`, and a `classify` to run there."""

    machine: Machine
    result: Result
    classify: tuple[object, ...]


@pytest.fixture(scope="module")
def pulled(running_hub: Hub, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    """The small CLIP, pulled once; tests that change the cache work on a copy."""
    running_hub.reset()
    machine = Machine(tmp_path_factory.mktemp("pulled"), running_hub.url)
    result = machine.run("models", "pull", f"hf-hub:{TINY}")
    classify = ("classify", images, "--labels", "ball,sausage,tower", "--model", f"hf-hub:{TINY}")
    return Pulled(machine, result, classify)


# --- A hub in good health ------------------------------------------------------------------------


def test_pull_says_where_the_weights_lie(pulled: Pulled) -> None:
    code, out, err = pulled.result
    weights = pulled.machine.weights(TINY)
    assert (code, out) == (0, "")
    content = (ASSETS / "nano" / WEIGHTS).read_bytes()
    assert err == f"hf-hub:{TINY} is ready, {len(content) / 1e6:.0f} MB in {weights}\n"
    assert weights.read_bytes() == content


def test_a_pulled_model_works_as_the_same_one_from_a_folder(
    pulled: Pulled, hub: Hub, images: Path, run_cli: Callable[..., Result], run_here: Callable[..., Result]
) -> None:
    code, out, err = run_here(pulled.machine, *pulled.classify)
    assert code == 0, err
    assert len(list(csv.DictReader(io.StringIO(out)))) == 3 * len(list(images.iterdir()))
    assert out == run_cli(*pulled.classify[:-1], "nano").out
    assert hub.requests == []  # what is cached is not asked for


def test_info_shows_a_pulled_model(pulled: Pulled, run_here: Callable[..., Result]) -> None:
    code, out, _ = run_here(pulled.machine, "models", "info", f"hf-hub:{TINY}")
    assert code == 0
    facts = dict(line.split(":", 1) for line in out.splitlines())
    assert facts["architecture"].strip() == TINY
    assert facts["weights"].strip() == str(pulled.machine.weights(TINY))
    recipe = json.loads((ASSETS / "nano" / "open_clip_config.json").read_text())["preprocess_cfg"]
    expected = f"{recipe['size']} x {recipe['size']}, {recipe['resize_mode']}, {recipe['interpolation']}"
    assert facts["image size"].strip().startswith(expected)


def test_a_terminal_shows_progress_and_a_pipe_none(machine: Machine, pulled: Pulled) -> None:
    terminal, its_end = os.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    process = machine.start("models", "pull", f"hf-hub:{TINY}", stdout=its_end, stderr=its_end)
    os.close(its_end)
    shown = _read_all(terminal)
    assert process.wait(timeout=60) == 0, shown
    assert f"{WEIGHTS}: 100{BAR}" in shown
    assert BAR not in pulled.result.err


def _read_all(terminal: int) -> str:
    chunks = []
    with open(terminal, "rb", buffering=0) as file:
        while True:
            try:
                chunk = file.read(4096)
            except OSError:  # how Linux says that the other end is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
    return b"".join(chunks).decode()


def test_a_pulled_model_works_offline(
    pulled: Pulled, closed_port: str, run_here: Callable[..., Result]
) -> None:
    before = run_here(pulled.machine, *pulled.classify)
    code, out, err = pulled.machine.run(*pulled.classify, "--offline", HF_ENDPOINT=closed_port)
    assert code == 0, err
    assert out == before.out


def test_a_tokenizer_is_pulled_with_its_model(
    machine: Machine, hub: Hub, siglip: Path, images: Path, run_cli: Callable[..., Result]
) -> None:
    assert machine.run("models", "pull", f"hf-hub:{SIGLIP}").code == 0
    assert any(request.path.startswith(f"/{TOKENIZER}/resolve") for request in hub.requests)
    hub.reset()
    classify = ("classify", images, "--labels", "photo,painting,drawing", "--model")
    code, out, err = machine.run(*classify, f"hf-hub:{SIGLIP}", HF_HUB_OFFLINE="1")
    assert code == 0, err
    assert hub.requests == []
    assert out == run_cli(*classify, f"local-dir:{siglip}").out


@pytest.mark.long
def test_a_text_tower_and_its_tokenizer_are_pulled_from_their_own_repositories(
    machine: Machine, hub: Hub, images: Path
) -> None:
    code, _, err = machine.run("models", "pull", f"hf-hub:{TWO_PARTS}")
    assert code == 0, err
    asked = [request.path for request in hub.requests]
    assert any(path.startswith(f"/{TOWER}/resolve/") and path.endswith("/config.json") for path in asked)
    hub.reset()
    classify = ("classify", images, "--labels", "photo,painting,drawing", "--model", f"hf-hub:{TWO_PARTS}")
    code, out, err = machine.run(*classify, "--offline", "--format", "csv", "--no-cache")
    assert code == 0, err
    assert len(out.splitlines()) == 10
    assert hub.requests == []


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_pull_fails_where_another_repository_lacks_a_file(missing: str, machine: Machine, hub: Hub) -> None:
    hub.faults.missing = {missing}
    code, _, err = machine.run("models", "pull", f"hf-hub:{TWO_PARTS}")
    assert code == 1
    what = "text tower configuration" if missing == "config.json" else "tokenizer"
    assert err.startswith(f"error: no {what}"), err
    assert "damaged" not in err


def test_another_revision_in_use_is_another_model(
    pulled: Pulled, tmp_path: Path, run_here: Callable[..., Result]
) -> None:
    """What the cache of features knows of a model holds for the files that are in use now."""
    machine = Machine(tmp_path, pulled.machine.environment["HF_ENDPOINT"])
    shutil.copytree(pulled.machine.cache, machine.cache, symlinks=True)
    before = run_here(machine, *pulled.classify)
    snapshot = machine.weights(TINY).parent
    other = shutil.copytree(snapshot, snapshot.with_name("f" * 40), symlinks=True)
    config = other / CONFIG
    changed = config.read_text().replace('"squash"', '"longest"')
    config.unlink()
    config.write_text(changed)
    (machine.repository(TINY) / "refs" / "main").write_text("f" * 40)
    after = run_here(machine, *pulled.classify)
    assert after.code == 0, after.err
    assert after.out != before.out
    assert after.out == run_here(machine, *pulled.classify, "--no-cache").out


def test_the_token_goes_to_the_hub_and_not_to_its_cdn(machine: Machine, hub: Hub) -> None:
    assert machine.run("models", "pull", f"hf-hub:{SIGLIP}", HF_TOKEN="hf_secret").code == 0
    for request in hub.requests:
        if "agent-harnesses" not in request.path:  # the client asks that without a token
            assert request.token == ("Bearer hf_secret" if request.server == "hub" else "")
    assert hub.ranges() == [""]


def test_pulling_non_commercial_weights_prints_their_licence_once(
    machine: Machine, hub: Hub, run_here: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipcli.models.lazy.load_encoder", lambda request: None)  # the weights are none
    first, second = (run_here(machine, "models", "pull", "MobileCLIP-S1:datacompdr") for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    assert first.err.count("not for commercial use") == 1
    assert second.err.count("not for commercial use") == 0
    assert machine.weights(NON_COMMERCIAL).read_bytes() == hub.repositories[NON_COMMERCIAL][WEIGHTS]


def test_classifying_with_non_commercial_weights_prints_their_licence_once(
    images: Path, run_cli: Callable[..., Result]
) -> None:
    result = run_cli("classify", images, "--labels", "a,b", "--model", "MobileCLIP-S1:datacompdr")
    assert result.err.count("not for commercial use") == 1


# --- Downloads that break off --------------------------------------------------------------------


@pytest.mark.long
def test_a_broken_download_is_told_and_leaves_nothing_behind(machine: Machine, hub: Hub) -> None:
    hub.faults.cut = 15 * MEBIBYTE
    code, out, err = machine.run("models", "pull", f"hf-hub:{LARGE}")
    assert (code, out) == (1, "")
    message, hint = err.splitlines()
    assert message == f"error: no weights for hf-hub:{LARGE}: the download broke off"
    assert f"clipcli models pull hf-hub:{LARGE}" in hint
    assert not machine.weights(LARGE).exists()
    digest = sha256(hub.repositories[LARGE][WEIGHTS])
    assert not (machine.repository(LARGE) / "blobs" / digest).exists()
    assert not list(machine.cache.rglob("*.incomplete"))

    hub.reset()
    code, _, err = machine.run("models", "pull", f"hf-hub:{LARGE}")
    assert code == 0, err
    assert hub.ranges() == [""]
    assert machine.weights(LARGE).resolve().name == digest
    assert machine.weights(LARGE).read_bytes() == hub.repositories[LARGE][WEIGHTS]


def test_a_download_that_breaks_off_once_goes_on_by_itself(machine: Machine, hub: Hub) -> None:
    hub.faults.cut, hub.faults.cuts = 15 * MEBIBYTE, 1
    code, _, err = machine.run("models", "pull", f"hf-hub:{LARGE}")
    assert code == 0, err
    assert hub.ranges() == ["", f"bytes={10 * MEBIBYTE}-"]  # the client writes 10 MiB at a time
    assert err.splitlines() == [f"hf-hub:{LARGE} is ready, 25 MB in {machine.weights(LARGE)}"]
    assert machine.weights(LARGE).read_bytes() == hub.repositories[LARGE][WEIGHTS]


def test_two_pulls_at_once_download_once(machine: Machine, hub: Hub) -> None:
    pulls = [machine.start("models", "pull", f"hf-hub:{LARGE}") for _ in range(2)]
    for process in pulls:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert hub.ranges() == [""]
    assert machine.weights(LARGE).read_bytes() == hub.repositories[LARGE][WEIGHTS]


def test_weights_that_arrive_altered_are_refused(machine: Machine, hub: Hub) -> None:
    hub.faults.altered = True
    code, _, err = machine.run("models", "pull", f"hf-hub:{SIGLIP}")
    assert code == 1
    assert "did not arrive as the hub has it" in err
    assert not machine.weights(SIGLIP).exists()
    assert not list(machine.cache.rglob("*.incomplete"))


def test_a_tokenizer_that_came_in_part_is_completed(machine: Machine, hub: Hub) -> None:
    hub.faults.missing = {"tokenizer.json"}
    code, _, err = machine.run("models", "pull", f"hf-hub:{SIGLIP}")
    assert code == 1
    assert err.startswith(
        f"error: no tokenizer {TOKENIZER} for hf-hub:{SIGLIP}: the hub answered with status 404"
    )
    snapshot = machine.repository(TOKENIZER) / "snapshots" / COMMIT
    assert (snapshot / "tokenizer_config.json").exists()  # so the cache is not empty

    hub.reset()
    assert machine.run("models", "pull", f"hf-hub:{SIGLIP}").code == 0
    assert (snapshot / "tokenizer.json").exists()


# --- Revisions -----------------------------------------------------------------------------------


def test_a_file_comes_from_the_revision_that_is_named(
    machine: Machine, use_here: Callable[[Machine], None]
) -> None:
    use_here(machine)
    path = find_file("a model", f"{TINY}@v1", (WEIGHTS,), offline=False)
    assert path.parent.name == OLDER_COMMIT
    assert cached(f"{TINY}@v1", WEIGHTS) == cached(f"{TINY}@{OLDER_COMMIT}", WEIGHTS) == path
    assert cached(TINY, WEIGHTS) is None
    assert find_file("a model", TINY, (WEIGHTS,), offline=False).parent.name == COMMIT


def test_an_unknown_revision_is_told(machine: Machine, use_here: Callable[[Machine], None]) -> None:
    use_here(machine)
    with pytest.raises(WeightsUnavailableError) as caught:
        find_file("a model", f"{TINY}@v2", (WEIGHTS,), offline=False)
    assert caught.value.message == "no weights for a model: the repository has no such revision"
    assert "after the @" in caught.value.hint


# --- A hub that cannot help ----------------------------------------------------------------------


def test_an_unreachable_hub_is_told_in_two_lines(tmp_path: Path, closed_port: str) -> None:
    model, start = f"hf-hub:{TINY}", time.monotonic()
    result = Machine(tmp_path, closed_port).run("models", "pull", model)
    assert time.monotonic() - start < 15
    assert result == (
        1,
        "",
        f"error: no weights for {model}: it is not in the cache, and the hub cannot be reached\n"
        f"Run `clipcli models pull {model}` where there is a network, or try the bundled --model nano.\n",
    )


def test_classify_without_weights_and_network_writes_nothing(
    tmp_path: Path, closed_port: str, images: Path, run_here: Callable[..., Result]
) -> None:
    output, start = tmp_path / "predictions.csv", time.monotonic()
    machine = Machine(tmp_path, closed_port)
    code, out, err = run_here(machine, "classify", images, "--labels", "a,b", "-o", output)
    assert time.monotonic() - start < 15
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "error: no weights for balanced: it is not in the cache, and the hub cannot be reached",
        "Run `clipcli models pull balanced` where there is a network, or try the bundled --model nano.",
    ]
    assert not list(tmp_path.glob("predictions*"))


@pytest.mark.parametrize("missing", ["weights", "tokenizer"])
def test_a_hub_that_never_answers_is_not_waited_for(missing: str, machine: Machine) -> None:
    model = f"hf-hub:{SIGLIP}"
    if missing == "tokenizer":
        assert machine.run("models", "pull", model).code == 0
        shutil.rmtree(machine.repository(TOKENIZER))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = {
            "HF_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "HF_HUB_ETAG_TIMEOUT": "1",  # 10 s without
            "HF_HUB_DISABLE_TELEMETRY": "1",  # its request would take 3 s
        }
        code, _, err = machine.run("models", "pull", model, **settings)
    assert code == 1
    assert len(err.splitlines()) == 2
    assert err.startswith(f"error: no {missing}")
    assert "the hub cannot be reached" in err


def test_offline_without_weights_asks_nobody(machine: Machine, hub: Hub, images: Path) -> None:
    classify = ("classify", images, "--labels", "a,b", "--model", f"hf-hub:{TINY}", "--offline")
    code, _, err = machine.run(*classify)
    assert code == 1
    assert err.splitlines()[0] == (
        f"error: no weights for hf-hub:{TINY}: it is not in the cache, and offline mode forbids the network"
    )
    assert hub.requests == []


@pytest.mark.parametrize(
    ("repository", "reason", "hint"),
    [
        ("test/none", "the hub has no such repository, or it is private", "Check the name"),
        ("test/gated", "the repository is gated", "Accept its licence on the hub and set HF_TOKEN."),
        ("test/text-only", f"test/text-only holds none of {CONFIG}", "that open_clip can load"),
    ],
)
def test_a_repository_that_cannot_serve_is_told(
    machine: Machine, repository: str, reason: str, hint: str
) -> None:
    code, out, err = machine.run("models", "pull", f"hf-hub:{repository}")
    assert (code, out) == (1, "")
    first, second = err.splitlines()
    assert first == f"error: no weights for hf-hub:{repository}: {reason}"
    assert hint in second


def test_a_hub_out_of_order_is_told_at_once(machine: Machine, hub: Hub) -> None:
    hub.faults.status = 503
    code, _, err = machine.run("models", "pull", f"hf-hub:{TINY}")
    assert code == 1
    assert err.startswith(f"error: no weights for hf-hub:{TINY}: the hub answered with status 503\n")
    assert [request.method for request in hub.requests if TINY in request.path] == ["HEAD"]


# --- Weights that must not be used ---------------------------------------------------------------


@pytest.fixture(params=["cut short", "one bit flipped"])
def damaged(pulled: Pulled, tmp_path: Path, hub: Hub, request: pytest.FixtureRequest) -> Machine:
    """The machine of `pulled`, its cached weights damaged."""
    machine = Machine(tmp_path, hub.url)
    shutil.copytree(pulled.machine.cache, machine.cache, symlinks=True)
    if request.param == "cut short":
        os.truncate(machine.weights(TINY), MEBIBYTE)
    else:
        with machine.weights(TINY).open("r+b") as file:
            file.seek(MEBIBYTE)
            (byte,) = file.read(1)
            file.seek(MEBIBYTE)
            file.write(bytes([byte ^ 1]))
    return machine


def test_damaged_weights_are_told_and_pulled_again(
    damaged: Machine, pulled: Pulled, hub: Hub, run_here: Callable[..., Result]
) -> None:
    weights = damaged.weights(TINY)
    code, out, err = run_here(damaged, *pulled.classify)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 2
    expected = sha256(hub.repositories[TINY][WEIGHTS])
    found = sha256(weights.read_bytes())
    assert f"{weights} is damaged: its SHA-256 is {found}, and should be {expected}" in err
    assert f"`clipcli models pull hf-hub:{TINY}`" in err

    result = damaged.run("models", "pull", f"hf-hub:{TINY}")
    assert result.code == 0, result.err
    assert f"{weights} was damaged" in result.err
    assert weights.read_bytes() == hub.repositories[TINY][WEIGHTS]


def test_damaged_weights_that_the_user_deletes_are_downloaded_again(
    damaged: Machine, pulled: Pulled, hub: Hub, run_here: Callable[..., Result]
) -> None:
    damaged.weights(TINY).unlink()  # a link: what it names is still there, and damaged
    code, _, err = run_here(damaged, *pulled.classify)
    assert code == 0, err
    assert damaged.weights(TINY).read_bytes() == hub.repositories[TINY][WEIGHTS]


class RunsCode:
    """An object whose unpickling makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("written_by", ["torch", "pickle"])
def test_a_checkpoint_that_runs_code_is_refused(
    written_by: str, tmp_path: Path, images: Path, run_cli: Callable[..., Result]
) -> None:
    import torch

    folder, victim = tmp_path / "model", tmp_path / "victim"
    folder.mkdir()
    shutil.copy(ASSETS / "nano" / CONFIG, folder)
    weights = folder / "open_clip_pytorch_model.bin"
    if written_by == "torch":
        torch.save({"logit_scale": torch.ones(()), "visual": RunsCode(victim)}, weights)
        torch.load(weights, weights_only=False)
    else:
        weights.write_bytes(pickle.dumps({"state_dict": RunsCode(victim)}))
        pickle.loads(weights.read_bytes())
    victim.unlink()  # so it does run code, where it may

    code, out, err = run_cli("classify", images, "--labels", "a,b", "--model", f"local-dir:{folder}")
    assert (code, out) == (1, "")
    assert f"{weights} was not loaded: it is damaged, or a pickle that would run code" in err
    assert not victim.exists()
