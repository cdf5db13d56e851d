"""Shared fixtures: isolated caches, models with random weights, and a way to run the command line."""

from __future__ import annotations

import atexit
import copy
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

_HOME = tempfile.mkdtemp(prefix="clipcli-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)  # with int8 towers, 1.7 GB
os.environ |= {
    "HOME": _HOME,
    "HF_HOME": f"{_HOME}/huggingface",
    "HF_ENDPOINT": "http://127.0.0.1:9",  # no test reaches a real hub
    "CUDA_VISIBLE_DEVICES": os.environ.get("TEST_CUDA_DEVICES", ""),  # none: what runs on a CPU is tested
    "COLUMNS": "120",
}
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers share the cores
for _name in ("CLIPCLI_DEBUG", "CLIPCLI_MODEL", "HF_HUB_OFFLINE", "HF_TOKEN"):
    os.environ.pop(_name, None)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # so that hundreds of commands are compiled once only
os.environ.pop("PYTHONUNBUFFERED", None)  # users have buffers, which may be full when a reader leaves

import huggingface_hub.constants  # noqa: E402, F401 (reads the environment now, not in a test that changes it)

settings.register_profile("ci", derandomize=True, database=None, deadline=5000, max_examples=60)
settings.register_profile(
    "fuzz",
    deadline=5000,
    max_examples=2 * int(os.environ.get("FUZZ_SECONDS", "60")),
    print_blob=True,
)
settings.load_profile("ci")  # `make fuzz` takes the other

ROOT = Path(__file__).parent.parent
pytest_plugins = ["s3_server", "other_bucket_servers"]
"""Modules with fixtures of their own."""

EXAMPLES = ROOT / "examples" / "drawings"
PHOTOGRAPHS = ROOT / "examples" / "photographs"


PEAK_MEGABYTES = """
from pathlib import Path

def peak_megabytes():  # of this process; `ru_maxrss` begins with that of the process it comes from
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
"""


class Result(NamedTuple):
    """What a command printed and returned."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A feature cache for each test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CLIPCLI_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def cache_of_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `shared_cache`."""
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture
def shared_cache(cache_of_module: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One feature cache for all tests of a module that are not about models: only the first one loads it."""
    monkeypatch.setenv("CLIPCLI_CACHE", str(cache_of_module))
    return cache_of_module


@pytest.fixture
def unprivileged() -> Callable[[], AbstractContextManager[None]]:
    """A context in which permissions count: root, for whom they do not, is another user in it."""

    @contextmanager
    def become_nobody() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.setresuid(65534, 65534, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)

    return become_nobody


@pytest.fixture
def run_cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process, as `clipcli ARGS...` would."""

    def run(*arguments: object) -> Result:
        from clipcli.cli.app import main

        monkeypatch.setattr(sys, "argv", ["clipcli", *map(str, arguments)])
        capfd.readouterr()
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfd.readouterr()
        return Result(int(exit_.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def nano() -> Any:
    """The bundled model in fp32."""
    import clipcli

    return clipcli.load_model("nano", device="cpu", precision="fp32")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of twelve small pictures, none of them square."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        height, width = 40 + 7 * number, 90 - 3 * number
        coarse = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:02}.{'png' if number % 2 else 'jpg'}")
    return folder


MODELS = ("clip", "siglip", "mobileclip", "pe")


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders in open_clip's local format: published architectures, made smaller, with random weights."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = _save_random(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return make


_KINDS = {
    "clip": ("ViT-B-32", "laion2b_s34b_b79k"),
    "siglip": ("ViT-B-16-SigLIP2-256", "webli"),
    "mobileclip": ("MobileCLIP2-S0", "dfndr2b"),
    "pe": ("PE-Core-T-16-384", "meta"),
}
_SMALL_TEXT = {"width": 64, "heads": 4, "layers": 2}


def _save_random(kind: str, folder: Path) -> Path:
    import open_clip
    from safetensors.torch import save_file

    model_name, tag = _KINDS[kind]
    model_cfg = copy.deepcopy(open_clip.get_model_config(model_name))
    model_cfg["text_cfg"] |= _SMALL_TEXT
    if kind == "clip":
        model_cfg["vision_cfg"] |= {"width": 128, "layers": 3}
    if kind == "siglip":
        model_cfg["vision_cfg"]["timm_model_name"] = "vit_base_patch32_siglip_256"
        model_cfg["text_cfg"] |= {"hf_tokenizer_name": "local", "vocab_size": save_tokenizer(folder)}
    preprocess_cfg = open_clip.get_pretrained_cfg(model_name, tag)
    config = {
        "model_cfg": model_cfg,
        "preprocess_cfg": {k: v for k, v in preprocess_cfg.items() if k != "hf_hub"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = _seeded(model_cfg)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with random weights that encodes in no time, for tests in which any model will do."""
    from safetensors.torch import save_file
    from small_models import TEXT, VISION

    folder = tmp_path_factory.mktemp("tiny")
    model_cfg = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
    config = {"model_cfg": model_cfg, "preprocess_cfg": {"size": VISION["image_size"]}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = _seeded(model_cfg)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def _seeded(model_cfg: dict[str, Any]) -> Any:
    import torch

    torch.manual_seed(0)
    return build_random(model_cfg)


def build_random(model_cfg: dict[str, Any]) -> Any:
    """An open_clip model with random weights, and a scale and spread as if it were trained."""
    import open_clip
    import torch

    fields = {key: value for key, value in model_cfg.items() if key != "custom_text"}
    kind = open_clip.CustomTextCLIP if model_cfg.get("custom_text") else open_clip.CLIP
    model = kind(**copy.deepcopy(fields))
    with torch.no_grad():
        model.logit_scale.fill_(np.log(50.0))
        norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:  # the running statistics of a trained network fit its weights
            norm.momentum = None
            norm.reset_running_stats()
        size = model_cfg["vision_cfg"]["image_size"]
        for _ in range(2 if norms else 0):
            model.train().encode_image(torch.randn(8, 3, size, size))
    return model.eval()


def save_tokenizer(folder: Path) -> int:
    """Save a small word-level Hugging Face tokenizer with padding and an end token; returns its size."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from clipcli.prompts.class_lists import load_classes
    from clipcli.prompts.templates import load_templates

    texts = [*load_templates(["imagenet80"]), *(spec.name for spec in load_classes("imagenet")[:40])]
    words = sorted({word.strip(".,").lower() for text in texts for word in text.split()})
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<eos>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="right",
    )
    fast.save_pretrained(folder)
    return len(vocabulary)
