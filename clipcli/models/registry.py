"""Which models there are, and where their files lie: presets, names, download, identity.

Weights live in the Hugging Face cache (`HF_HOME`), where other tools find them too. Nothing here
imports torch, except through open_clip's registry when a model is named by its architecture.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from clipcli.errors import ModelError, UnknownModelError, UsageError, WeightsUnavailableError
from clipcli.models import hub
from clipcli.records import Preprocess

ASSETS = Path(__file__).parents[1] / "assets"
DEFAULT_MODEL = "balanced"

CONFIG_NAME = "open_clip_config.json"
_WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_HUB, _LOCAL = "hf-hub:", "local-dir:"

Source: TypeAlias = Literal["local-dir", "hf-hub", "pretrained", "file", "config"]


class Preset(NamedTuple):
    """A model under a short name."""

    model_name: str
    pretrained: str
    summary: str


PRESETS = {
    "nano": Preset(f"{_LOCAL}{ASSETS / 'nano'}", "", "bundled: pictograms, clip art and trying things out"),
    "fast": Preset("ViT-B-32", "datacomp_xl_s13b_b90k", "photographs, the smallest of the good ones"),
    "balanced": Preset("ViT-B-32-256", "datacomp_s34b_b86k", "photographs, the default"),
    "accurate": Preset("ViT-B-16-SigLIP2-256", "webli", "photographs, many languages, independent scores"),
    "best": Preset("PE-Core-L-14-336", "meta", "photographs, the most accurate; wants a GPU"),
}


@dataclass(frozen=True)
class ModelSpec:
    """A model, named but not yet found.

    Args:
        name: as the user would name it: `nano`, `ViT-B-32:openai`, `hf-hub:org/repo`, `local-dir:/path`.
        source: where it comes from.
        model_name: open_clip architecture, hub repository or folder.
        pretrained: open_clip tag or weights file.
    """

    name: str
    source: Source
    model_name: str
    pretrained: str = ""


@dataclass(frozen=True)
class ModelFiles:
    """Everything needed to build a model, on this machine.

    Args:
        spec: what was asked for.
        model_cfg: open_clip's `model_cfg`, QuickGELU settled.
        preprocess: the model's own recipe.
        weights: the checkpoint.
        tokenizer: folder of a Hugging Face tokenizer, or None for the CLIP tokenizer.
        sha256: of the weights.
    """

    spec: ModelSpec
    model_cfg: dict[str, Any]
    preprocess: Preprocess
    weights: Path
    tokenizer: Path | None
    sha256: str

    @property
    def fingerprint(self) -> str:
        """Identity of weights, configuration and preprocessing, 16 hexadecimal digits."""
        identity = [self.sha256, self.model_cfg, self.preprocess.__dict__]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class ModelRow(NamedTuple):
    """One line of `clipcli models list`."""

    name: str
    model_name: str
    pretrained: str
    params_m: float | None
    imagenet_top1: float | None
    licence: str
    cached: bool
    summary: str


# --- Names ---------------------------------------------------------------------------------------


def parse_model(name: str, pretrained: str | None = None) -> ModelSpec:
    """Understand `--model` and `--pretrained`.

    Args:
        name: a preset, `ARCHITECTURE` or `ARCHITECTURE:TAG` of open_clip, `hf-hub:org/repo`,
            `local-dir:/path`, or a folder in open_clip's local format.
        pretrained: a tag or a weights file for an architecture.

    Raises:
        UnknownModelError: no such model; near names are suggested.
        UsageError: weights are named for a model that brings its own, or a file is missing.
    """
    if name in PRESETS and pretrained is None:
        model_name, pretrained, _ = PRESETS[name]
        source: Source = "pretrained" if pretrained else "local-dir"
        return ModelSpec(name, source, model_name.removeprefix(_LOCAL), pretrained)
    if name.startswith((_HUB, _LOCAL)) or name in PRESETS:
        if pretrained is not None:
            raise UsageError(f"{name} brings its own weights", "Leave --pretrained out.")
        return _own_weights(name)
    if Path(name, CONFIG_NAME).is_file():
        return _own_weights(f"{_LOCAL}{name}")
    architecture, colon, tag = name.partition(":")
    return _architecture(architecture, pretrained if pretrained is not None else tag if colon else None)


def _own_weights(name: str) -> ModelSpec:
    if name.startswith(_HUB):
        repository = name.removeprefix(_HUB)
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
            raise UsageError(f"not a hub repository: {name}", "Write hf-hub:organisation/repository.")
        return ModelSpec(name, "hf-hub", repository)
    folder = Path(name.removeprefix(_LOCAL)).absolute()
    if not (folder / CONFIG_NAME).is_file():
        raise UnknownModelError(
            f"no {CONFIG_NAME} in {folder}", "local-dir: wants a folder that open_clip can load."
        )
    return ModelSpec(name, "local-dir", str(folder))


def _architecture(architecture: str, pretrained: str | None) -> ModelSpec:
    if (architecture, pretrained) in _published():  # known without asking open_clip, which takes seconds
        return ModelSpec(f"{architecture}:{pretrained}", "pretrained", architecture, str(pretrained))
    tags = _registry().get(architecture)
    if tags is None:
        raise UnknownModelError(*_unknown_model(architecture))
    if not pretrained:
        raise UsageError(
            f"{architecture} needs weights: one of {', '.join(tags) or 'none is published'}",
            f"For example --model {architecture}:{tags[-1]}."
            if tags
            else "Name a file with --pretrained FILE.",
        )
    if pretrained in tags:
        return ModelSpec(f"{architecture}:{pretrained}", "pretrained", architecture, pretrained)
    if Path(pretrained).is_file():
        return ModelSpec(f"{architecture}:{pretrained}", "file", architecture, pretrained)
    near = difflib.get_close_matches(pretrained, tags, 1)
    raise UnknownModelError(
        f"{architecture} has no weights named {pretrained!r}, and no such file exists",
        f"Did you mean {near[0]}?" if near else f"Known: {', '.join(tags) or 'none'}.",
    )


def _unknown_model(name: str) -> tuple[str, str]:
    folded = {known.lower(): known for known in (*PRESETS, *_registry())}
    near = difflib.get_close_matches(name.lower(), folded, 3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(folded[match] for match in near)}? " if near else ""
    return f"unknown model {name!r}", f"{hint}`clipcli models list` shows all."


@lru_cache
def _registry() -> dict[str, list[str]]:
    """open_clip's architectures and their tags."""
    import open_clip

    return {name: list(open_clip.list_pretrained_tags_by_model(name)) for name in open_clip.list_models()}


# --- Files ---------------------------------------------------------------------------------------


def locate(spec: ModelSpec, offline: bool = False) -> ModelFiles:
    """Find a model's files, downloading what the cache lacks.

    Args:
        spec: from `parse_model`.
        offline: never use the network.

    Raises:
        WeightsUnavailableError: neither cached nor reachable.
        WeightsDamagedError: the file in the cache is truncated.
        ModelError: the model's configuration cannot be used.
    """
    if spec.source == "local-dir":
        folder = Path(spec.model_name)
        config, weights = _read_config(folder / CONFIG_NAME), _weights_in(folder)
    elif spec.source == "hf-hub":
        config = _read_config(hub.find_file(spec.name, spec.model_name, (CONFIG_NAME,), offline))
        weights = hub.find_file(spec.name, spec.model_name, _WEIGHTS_NAMES, offline)
    else:
        config, weights = _builtin_config(spec), Path(spec.pretrained)
        if spec.source == "pretrained":
            weights = hub.find_file(spec.name, *_hub_location(spec), offline)
    return _files(spec, config, weights, offline)


def locate_config(path: Path, offline: bool = False) -> ModelFiles:
    """An architecture without weights, for training from scratch.

    Args:
        path: an open_clip configuration: `embed_dim`, `vision_cfg` and `text_cfg`, alone or as `model_cfg`
            beside `preprocess_cfg`. It stands in the place of weights, which no loader takes for any.
        offline: never use the network, where a Hugging Face tokenizer is named.

    Raises:
        ModelError: it is no such file.
        WeightsUnavailableError: the tokenizer is neither cached nor reachable.
    """
    return _files(ModelSpec(str(path), "config", str(path)), _read_config(path, bare=True), path, offline)


def _files(spec: ModelSpec, config: dict[str, Any], weights: Path, offline: bool) -> ModelFiles:
    model_cfg = config["model_cfg"]
    return ModelFiles(
        spec=spec,
        model_cfg=model_cfg,
        preprocess=_preprocess(model_cfg, config.get("preprocess_cfg", {})),
        weights=weights,
        tokenizer=_tokenizer(spec, model_cfg["text_cfg"].get("hf_tokenizer_name"), offline),
        sha256=_sha256(weights),
    )


def is_cached(spec: ModelSpec) -> bool:
    """Whether the weights are on this machine."""
    if spec.source in ("local-dir", "file"):
        return True
    repository, names = (spec.model_name, _WEIGHTS_NAMES) if spec.source == "hf-hub" else _hub_location(spec)
    return any(hub.cached(repository, name) is not None for name in names)


def _read_config(path: Path, bare: bool = False) -> dict[str, Any]:
    """Read `model_cfg` and `preprocess_cfg`; if `bare`, the file may also be a `model_cfg` itself."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config = {"model_cfg": config} if bare and "model_cfg" not in config else config
        if not {"vision_cfg", "text_cfg", "embed_dim"} <= set(config["model_cfg"]):
            raise ValueError("model_cfg is incomplete")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not an open_clip configuration: {error}") from None
    return dict(config)


def _weights_in(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS_SUFFIXES)
    preferred = [folder / name for name in _WEIGHTS_NAMES if folder / name in found]
    safe = [path for path in found if path.suffix == ".safetensors"]
    if not found:
        raise WeightsUnavailableError(
            f"no weights in {folder}", f"Put {_WEIGHTS_NAMES[0]} beside {CONFIG_NAME}."
        )
    return (preferred or safe or found)[0]


def _builtin_config(spec: ModelSpec) -> dict[str, Any]:
    """Configuration of an architecture, with the tag's preprocessing and QuickGELU.

    A weights file carries no tag; then the preprocessing that all the architecture's tags share is
    taken (SigLIP's mean and squashing, say), never open_clip's default by accident.
    """
    import open_clip

    model_cfg = open_clip.get_model_config(spec.model_name)
    if spec.source == "pretrained":
        tag = open_clip.get_pretrained_cfg(spec.model_name, spec.pretrained)
        quick_gelu = model_cfg.get("quick_gelu", False) or tag.get("quick_gelu", False)
        return {"model_cfg": model_cfg | {"quick_gelu": quick_gelu}, "preprocess_cfg": tag}
    recipes = [open_clip.get_pretrained_cfg(spec.model_name, tag) for tag in _registry()[spec.model_name]]
    known = {_preprocess(model_cfg, recipe) for recipe in recipes}
    if len(known) > 1:
        raise ModelError(
            f"{spec.model_name} is published with {len(known)} kinds of preprocessing,"
            f" and {spec.pretrained} does not say which is its own",
            f"Put the file in a folder with {CONFIG_NAME} and name it as local-dir:FOLDER.",
        )
    return {"model_cfg": model_cfg, "preprocess_cfg": recipes[0] if recipes else {}}


def _preprocess(model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any]) -> Preprocess:
    """open_clip's `preprocess_cfg` over its defaults; the size is always the vision tower's."""
    size = model_cfg["vision_cfg"].get("image_size", 224)
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list | tuple) else value
        for key, value in preprocess_cfg.items()
        if key in Preprocess.__dataclass_fields__ and key != "size" and value is not None
    }
    return Preprocess(size=(size, size) if isinstance(size, int) else tuple(size), **fields)


def _hub_location(spec: ModelSpec) -> tuple[str, tuple[str, ...]]:
    """Repository and candidate file names of a tag, safetensors first."""
    import open_clip

    location: str = open_clip.get_pretrained_cfg(spec.model_name, spec.pretrained)["hf_hub"]
    repository, _, name = location.rpartition("/")
    if not name:
        return repository, _WEIGHTS_NAMES
    stem, dot, suffix = name.rpartition(".")
    return repository, (f"{stem}.safetensors", name) if dot and suffix in ("bin", "pth") else (name,)


def _tokenizer(spec: ModelSpec, repository: str | None, offline: bool) -> Path | None:
    """Folder of the Hugging Face tokenizer that the text tower names, or None for CLIP's own."""
    if not repository:
        return None
    if spec.source == "local-dir":
        return Path(spec.model_name)
    if spec.source == "config" and (Path(spec.model_name).parent / "tokenizer_config.json").is_file():
        return Path(spec.model_name).parent
    return hub.find_tokenizer(spec.name, repository, offline)


def _sha256(path: Path) -> str:
    """Digest of a weights file; the hub's cache names its files by it already."""
    return hub.digest_in_cache(path) or hub.sha256_of(path)


# --- Listing -------------------------------------------------------------------------------------


def list_models(pattern: str = "") -> list[ModelRow]:
    """Presets first, then every pair of open_clip, filtered by a part of the name or tag."""
    published = _published()
    rows = [_row(name, *preset, published) for name, preset in PRESETS.items()]
    for model_name, pretrained in published:
        rows.append(_row(f"{model_name}:{pretrained}", model_name, pretrained, "", published))
    wanted = pattern.lower()
    return [row for row in rows if wanted in f"{row.name} {row.model_name}:{row.pretrained}".lower()]


def _row(
    name: str, model_name: str, pretrained: str, summary: str, published: dict[tuple[str, str], Any]
) -> ModelRow:
    facts = published.get((model_name, pretrained), {})
    cached = is_cached(ModelSpec(name, "pretrained", model_name, pretrained)) if pretrained else True
    return ModelRow(
        name=name,
        model_name="bundled" if model_name.startswith(_LOCAL) else model_name,
        pretrained=pretrained,
        params_m=float(facts["params_m"]) if facts.get("params_m") else None,
        imagenet_top1=float(facts["imagenet_top1"]) if facts.get("imagenet_top1") else None,
        licence=facts.get("licence", "Apache-2.0" if not pretrained else "unknown"),
        cached=cached,
        summary=summary,
    )


def forbids_commercial_use(licence: str) -> bool:
    """Whether a licence of `assets/models.csv` says so."""
    return "NC" in licence or "non-commercial" in licence


def licence_of(spec: ModelSpec) -> str:
    """The licence of published weights, or an empty string where it is not known."""
    return str(_published().get((spec.model_name, spec.pretrained), {}).get("licence", ""))


@lru_cache
def _published() -> dict[tuple[str, str], dict[str, str]]:
    """Figures and licences of open_clip's pairs, from `assets/models.csv`."""
    with (ASSETS / "models.csv").open(encoding="utf-8", newline="") as file:
        return {(row["model_name"], row["pretrained"]): row for row in csv.DictReader(file)}
