"""The versions of what decides the bits of a feature, libraries above all; the feature cache keys by them."""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import lru_cache

_TOWERS = ("torch", "open_clip_torch", "timm")
_INT8 = ("onnxruntime",)
_PIXELS = ("pillow", "pillow-heif")
_TOKENIZERS = ("transformers", "tokenizers")
INT8_RECIPE = 3
"""How towers are made int8 (`models/optimize/int8.py`): raised when that changes."""


def tower_libraries(precision: str) -> str:
    """Tells apart the versions of what runs a model's towers."""
    return _digest(_TOWERS + _INT8, f"-{INT8_RECIPE}") if precision == "int8" else _digest(_TOWERS)


def pixel_libraries() -> str:
    """Tells apart the versions of what decodes images."""
    return _digest(_PIXELS)


def reader_library(package: str) -> str:
    """Tells apart the versions of a library that makes images of what is no image file."""
    return _digest((package,))


def tokenizer_libraries() -> str:
    """Tells apart the versions of what makes tokens of texts, where that is not open_clip."""
    return _digest(_TOKENIZERS)


@lru_cache  # a key is asked for once for each class
def _digest(packages: tuple[str, ...], recipe: str = "") -> str:
    versions = "-".join(map(version_of, packages)) + recipe
    return hashlib.blake2b(versions.encode(), digest_size=4).hexdigest()


def version_of(package: str) -> str:
    """The installed version, or nothing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
