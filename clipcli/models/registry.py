"""Which models there are: presets, names, where the hub keeps them, figures and licences.

torch is imported only through open_clip's own registry, for a model that `assets/models.csv` does not list.
"""

from __future__ import annotations

import csv
import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from clipcli.errors import UnknownModelError, UsageError
from clipcli.models import hub

ASSETS = Path(__file__).parents[1] / "assets"
DEFAULT_MODEL = "balanced"

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
_HUB, _LOCAL = "hf-hub:", "local-dir:"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_TRANSFORMERS_NAMES = {  # the same weights, for which transformers has other names
    "openai/clip-vit-base-patch32": "ViT-B-32:openai",
    "openai/clip-vit-base-patch16": "ViT-B-16:openai",
    "openai/clip-vit-large-patch14": "ViT-L-14:openai",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336:openai",
    "google/siglip-base-patch16-224": "ViT-B-16-SigLIP:webli",
    "google/siglip-base-patch16-256": "ViT-B-16-SigLIP-256:webli",
    "google/siglip-base-patch16-384": "ViT-B-16-SigLIP-384:webli",
    "google/siglip-base-patch16-512": "ViT-B-16-SigLIP-512:webli",
    "google/siglip-base-patch16-256-multilingual": "ViT-B-16-SigLIP-i18n-256:webli",
    "google/siglip-large-patch16-256": "ViT-L-16-SigLIP-256:webli",
    "google/siglip-large-patch16-384": "ViT-L-16-SigLIP-384:webli",
    "google/siglip-so400m-patch14-224": "ViT-SO400M-14-SigLIP:webli",
    "google/siglip-so400m-patch14-384": "ViT-SO400M-14-SigLIP-384:webli",
    "google/siglip2-base-patch32-256": "ViT-B-32-SigLIP2-256:webli",
    "google/siglip2-base-patch16-224": "ViT-B-16-SigLIP2:webli",
    "google/siglip2-base-patch16-256": "ViT-B-16-SigLIP2-256:webli",
    "google/siglip2-base-patch16-384": "ViT-B-16-SigLIP2-384:webli",
    "google/siglip2-base-patch16-512": "ViT-B-16-SigLIP2-512:webli",
    "google/siglip2-large-patch16-256": "ViT-L-16-SigLIP2-256:webli",
    "google/siglip2-large-patch16-384": "ViT-L-16-SigLIP2-384:webli",
    "google/siglip2-large-patch16-512": "ViT-L-16-SigLIP2-512:webli",
    "google/siglip2-so400m-patch14-224": "ViT-SO400M-14-SigLIP2:webli",
    "google/siglip2-so400m-patch16-256": "ViT-SO400M-16-SigLIP2-256:webli",
    "google/siglip2-so400m-patch16-384": "ViT-SO400M-16-SigLIP2-384:webli",
    "google/siglip2-so400m-patch16-512": "ViT-SO400M-16-SigLIP2-512:webli",
}

Source: TypeAlias = Literal["local-dir", "hf-hub", "pretrained", "file", "config"]


class Preset(NamedTuple):
    """A model under a short name."""

    model_name: str
    pretrained: str
    summary: str


PRESETS = {
    "nano": Preset(f"{_LOCAL}{ASSETS / 'nano'}", "", "bundled: everyday things, drawings, trying things out"),
    "fast": Preset("ViT-B-32", "datacomp_xl_s13b_b90k", "photographs, the smallest of the good ones"),
    "balanced": Preset("ViT-B-32-256", "datacomp_s34b_b86k", "photographs, the default"),
    "multilingual": Preset(
        "ViT-B-32-SigLIP2-256", "webli", "photographs, many languages, less computation than accurate"
    ),
    "accurate": Preset("ViT-B-16-SigLIP2-256", "webli", "photographs, many languages, independent scores"),
    "best": Preset("PE-Core-L-14-336", "meta", "photographs, the most accurate; best with a GPU"),
}


@dataclass(frozen=True)
class ModelSpec:
    """A model, named but not yet found.

    Args:
        name: as the user would name it: `nano`, `ViT-B-32:openai`, `hf-hub:org/repo`, `local-dir:/path`.
        source: where it comes from.
        model_name: open_clip architecture, hub repository or absolute path of a folder.
        pretrained: open_clip tag or absolute path of a weights file.
    """

    name: str
    source: Source
    model_name: str
    pretrained: str = ""


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
    """Resolve a model's name.

    Args:
        name: a preset, `ARCHITECTURE` or `ARCHITECTURE:TAG` of open_clip, `hf-hub:org/repo`,
            `local-dir:/path`, or a folder in open_clip's local format.
        pretrained: a tag or a weights file for an architecture.

    Raises:
        UnknownModelError: no such model; near names are suggested.
        UsageError: weights are named for a model that brings its own, or a file is missing.
    """
    name = _at_home(name)
    if name in PRESETS and pretrained is None:
        model_name, pretrained, _ = PRESETS[name]
        source: Source = "pretrained" if pretrained else "local-dir"
        return ModelSpec(name, source, model_name.removeprefix(_LOCAL), pretrained)
    if name.startswith((_HUB, _LOCAL)) or name in PRESETS:
        if pretrained is not None:
            raise UsageError(f"{name} brings its own weights", "Name no pretrained weights for it.")
        return _own_weights(name)
    if Path(name, CONFIG_NAME).is_file():
        return _own_weights(f"{_LOCAL}{name}")
    architecture, colon, tag = name.partition(":")
    if Path(name).exists() and architecture not in architectures():
        raise UnknownModelError(*_no_model_folder(Path(name)))
    return _architecture(architecture, pretrained if pretrained is not None else tag if colon else None)


def _own_weights(name: str) -> ModelSpec:
    if name.startswith(_HUB):
        repository = name.removeprefix(_HUB)
        if not _REPOSITORY.fullmatch(repository):
            hint = "Write hf-hub:organisation/repository, and @ with a branch, tag or commit to pin it."
            raise UsageError(f"not a hub repository: {name}", hint)
        return ModelSpec(name, "hf-hub", repository)
    folder = Path(name.removeprefix(_LOCAL)).absolute()
    if not (folder / CONFIG_NAME).is_file():
        raise UnknownModelError(*_no_model_folder(folder))
    return ModelSpec(name, "local-dir", str(folder))


def _architecture(architecture: str, pretrained: str | None) -> ModelSpec:
    if (architecture, pretrained) in _published():  # known without asking open_clip, which takes seconds
        return ModelSpec(f"{architecture}:{pretrained}", "pretrained", architecture, str(pretrained))
    tags = architectures().get(architecture)
    if tags is None:
        raise UnknownModelError(*_unknown_model(architecture))
    if not pretrained:
        raise UsageError(
            f"{architecture} needs weights: one of {', '.join(tags) or 'none is published'}",
            f"For example {architecture}:{_example_tag(architecture, tags)}."
            if tags
            else "Name a weights file as `pretrained`.",
        )
    if pretrained in tags:
        return ModelSpec(f"{architecture}:{pretrained}", "pretrained", architecture, pretrained)
    if Path(pretrained).is_file():
        weights = str(Path(pretrained).absolute())
        return ModelSpec(f"{architecture}:{pretrained}", "file", architecture, weights)
    near = difflib.get_close_matches(pretrained, tags, 1)
    raise UnknownModelError(
        f"{architecture} has no weights named {pretrained!r}, and no such file exists",
        f"Did you mean {near[0]}?" if near else f"Known: {', '.join(tags) or 'none'}.",
    )


def _at_home(name: str) -> str:
    """A folder below `~`, which no shell has expanded behind `local-dir:` or in a variable."""
    prefix = _LOCAL if name.startswith(_LOCAL) else ""
    path = name.removeprefix(prefix)
    return prefix + str(Path(path).expanduser()) if path.startswith("~") else name


def _no_model_folder(path: Path) -> tuple[str, str]:
    """What a path lacks to be a model."""
    if path.is_file():
        return (
            f"{path} is a file; as a model, name the folder that holds it and {CONFIG_NAME}",
            "Weights alone need their architecture: name it as `model`, and the file as `pretrained`."
            if path.suffix in WEIGHTS_SUFFIXES
            else "`clipcli models list` shows the models that are known by name.",
        )
    if not path.exists():
        return f"no such folder: {path}", f"local-dir: needs a folder with {CONFIG_NAME} and weights."
    lacking = f"{CONFIG_NAME}" if any(path.glob("*.safetensors")) else f"{CONFIG_NAME} and {WEIGHTS_NAMES[0]}"
    return (
        f"{path} is no model: it lacks {lacking}",
        "A model folder is what open_clip's push_to_hf_hub or `clipcli train` writes.",
    )


def _example_tag(architecture: str, tags: list[str]) -> str:
    """A preset's tag, else the last one that may be used for anything."""
    preset = [one.pretrained for one in PRESETS.values() if one.model_name == architecture]
    specs = [ModelSpec("", "pretrained", architecture, tag) for tag in tags]
    free = [spec.pretrained for spec in specs if not forbids_commercial_use(licence_of(spec))]
    return (preset or free[-1:] or tags[-1:])[0]


def _under_another_name(name: str) -> str:
    """How a repository of the hub, named as transformers does, is called here; empty if it is none."""
    if not _REPOSITORY.fullmatch(name):
        return ""
    if name in _TRANSFORMERS_NAMES:
        return f"open_clip has it as {_TRANSFORMERS_NAMES[name]}. "
    return f"A repository on the hub that open_clip can load is named hf-hub:{name}. "


def _unknown_model(name: str) -> tuple[str, str]:
    if hint := _under_another_name(name):
        return f"unknown model {name!r}", f"{hint}`clipcli models list` shows all."
    known = {name.lower(): name for name in (*PRESETS, *architectures())}
    near = difflib.get_close_matches(name.lower(), known, 3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(known[match] for match in near)}? " if near else ""
    return f"unknown model {name!r}", f"{hint}`clipcli models list` shows all."


@lru_cache
def architectures() -> dict[str, list[str]]:
    """open_clip's architectures and their tags."""
    import open_clip

    return {name: list(open_clip.list_pretrained_tags_by_model(name)) for name in open_clip.list_models()}


# --- On the hub ---------------------------------------------------------------------------------


def is_cached(spec: ModelSpec) -> bool:
    """Whether the weights are on this machine."""
    if spec.source in ("local-dir", "file"):
        return True
    repository, names = (spec.model_name, WEIGHTS_NAMES) if spec.source == "hf-hub" else hub_location(spec)
    return any(hub.cached(repository, name) is not None for name in names)


def hub_location(spec: ModelSpec) -> tuple[str, tuple[str, ...]]:
    """Repository and candidate file names of a tag, safetensors first."""
    import open_clip

    location: str = open_clip.get_pretrained_cfg(spec.model_name, spec.pretrained)["hf_hub"]
    repository, _, name = location.rpartition("/")
    if not name:
        return repository, WEIGHTS_NAMES
    stem, dot, suffix = name.rpartition(".")
    return repository, (f"{stem}.safetensors", name) if dot and suffix in ("bin", "pth") else (name,)


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
