"""A model's files on this machine: found or downloaded, with its configuration, preprocessing and identity.

Weights live in the Hugging Face cache (`HF_HOME`), where other tools find them too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipcli.errors import ModelError, WeightsUnavailableError
from clipcli.files import identity
from clipcli.models import hub
from clipcli.models.registry import (
    CONFIG_NAME,
    WEIGHTS_NAMES,
    WEIGHTS_SUFFIXES,
    ModelSpec,
    architectures,
    hub_location,
)
from clipcli.records import Preprocess

_PREFERRED = (  # open_clip's own order
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
_TEXT_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".codes", ".tiktoken")  # configuration and tokenizers


@dataclass(frozen=True)
class ModelFiles:
    """Everything needed to build a model, on this machine.

    Args:
        spec: what was asked for.
        model_cfg: open_clip's `model_cfg`, QuickGELU settled.
        preprocess: the model's own recipe.
        weights: the checkpoint.
        tokenizer: folder of a Hugging Face tokenizer, or None for the CLIP tokenizer.
        tokenizer_digest: of its files, 16 hexadecimal digits; empty for the CLIP tokenizer.
        text_tower: folder with the configuration of a Hugging Face text tower, or None for open_clip's own.
        sources: files and folders that decided all this, with their identities before they were read.
        sha256: of the weights.
    """

    spec: ModelSpec
    model_cfg: dict[str, Any]
    preprocess: Preprocess
    weights: Path
    tokenizer: Path | None
    tokenizer_digest: str
    text_tower: Path | None
    sources: dict[str, str]
    sha256: str

    @property
    def fingerprint(self) -> str:
        """Identity of weights, configuration and preprocessing, 16 hexadecimal digits."""
        identity = [self.sha256, self.model_cfg, self.preprocess.__dict__]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


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
        weights = hub.find_file(spec.name, spec.model_name, WEIGHTS_NAMES, offline)
    else:
        config, weights = _builtin_config(spec), Path(spec.pretrained)
        if spec.source == "pretrained":
            weights = hub.find_file(spec.name, *hub_location(spec), offline)
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
    tokenizer = _tokenizer(spec, model_cfg["text_cfg"].get("hf_tokenizer_name"), offline)
    text_tower = _text_tower(spec, model_cfg["text_cfg"].get("hf_model_name"), offline)
    return ModelFiles(
        spec=spec,
        model_cfg=model_cfg,
        preprocess=_preprocess(model_cfg, config.get("preprocess_cfg", {})),
        weights=weights,
        tokenizer=tokenizer,
        tokenizer_digest=_digest_of(tokenizer) if tokenizer else "",
        text_tower=text_tower,
        sources=identities(_sources(spec, weights, tokenizer, text_tower)),
        sha256=_sha256(weights),
    )


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
    """The weights that `open_clip.create_model` would take, or else a `.pt` file, which it takes for none."""
    found = sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS_SUFFIXES)
    preferred = [folder / name for name in _PREFERRED if folder / name in found]
    safe = [path for path in found if path.suffix == ".safetensors"]
    others = [path for path in found if path.suffix != ".pt"]
    if not found:
        raise WeightsUnavailableError(
            f"no weights in {folder}", f"Put {WEIGHTS_NAMES[0]} beside {CONFIG_NAME}."
        )
    return (preferred or safe or others or found)[0]


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
    recipes = [open_clip.get_pretrained_cfg(spec.model_name, tag) for tag in architectures()[spec.model_name]]
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


def _tokenizer(spec: ModelSpec, repository: str | None, offline: bool) -> Path | None:
    """Folder of the Hugging Face tokenizer that the text tower names, or None for CLIP's own."""
    if not repository:
        return None
    if spec.source == "local-dir":
        return Path(spec.model_name)
    if spec.source == "config" and (Path(spec.model_name).parent / "tokenizer_config.json").is_file():
        return Path(spec.model_name).parent
    return hub.find_tokenizer(spec.name, repository, offline)


def _text_tower(spec: ModelSpec, repository: str | None, offline: bool) -> Path | None:
    """Folder with the configuration of a text tower of transformers, which is a repository of its own."""
    if not repository:
        return None
    if Path(repository).is_dir():
        return Path(repository)
    what = f"text tower configuration {repository}"
    return hub.find_file(spec.name, repository, ("config.json",), offline, what).parent


def _sha256(path: Path) -> str:
    """Digest of a weights file; the hub's cache names its files by it already."""
    return hub.digest_in_cache(path) or hub.sha256_of(path)


# --- Identity ------------------------------------------------------------------------------------


def identities(sources: Iterable[str]) -> dict[str, str]:
    """What the file system tells of a model's files: unchanged if `locate` would find the same again.

    Of a folder the files count by which a model can be described; what is missing has an identity too.
    """
    return {source: _identity(Path(source)) for source in sources}


def _identity(path: Path) -> str:
    try:
        if not path.is_dir():
            return identity(path.stat())
        files = (file for file in sorted(path.glob("*")) if file.suffix in WEIGHTS_SUFFIXES + _TEXT_SUFFIXES)
        return " ".join(f"{file.name}:{identity(file.stat())}" for file in files)
    except OSError:
        return ""


def _sources(spec: ModelSpec, weights: Path, *others: Path | None) -> list[str]:
    """A local folder as a whole; of the hub's cache the snapshots, and what says which are in use."""
    found: list[Path | None] = [weights]
    if spec.source == "local-dir":
        found = [Path(spec.model_name)]
    elif spec.source in ("hf-hub", "pretrained"):
        found = [weights.parent, hub.reference_of(weights.parent, spec.model_name)]
    for folder in filter(None, others):
        found += [folder, hub.reference_of(folder)]
    return [str(path) for path in found if path is not None]


def _digest_of(tokenizer: Path) -> str:
    """Digest of all that a tokenizer may be made of, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for file in sorted(tokenizer.glob("*")):
        if file.suffix in _TEXT_SUFFIXES and file.name != CONFIG_NAME:
            digest.update(f"{file.name}:{hub.sha256_of(file)}\n".encode())
    return digest.hexdigest()[:16]
