"""What the columns of a Parquet or Arrow file hold: values, class names or images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, TypeAlias

Holds: TypeAlias = Literal["value", "bytes", "image", "media"]
"""Values; bytes, which may be images; images as Hugging Face's `datasets` stores them, with their bytes and
path; other media, or lists of images."""

_METADATA = b"huggingface"
_MEDIA = ("Audio", "Video", "Pdf", "Nifti")


@dataclass(frozen=True)
class Schema:
    """The columns of a file.

    Args:
        types: of the cells as they are carried: str, int, float, bool, datetime or date. Those of images are
            their paths.
        holds: what each column holds.
        has_path: columns of images whose cells have a path beside the bytes.
        classes: the names that stand for the integers of a column (`ClassLabel`).
        nested: columns of lists and the like.
    """

    types: dict[str, type]
    holds: dict[str, Holds]
    has_path: frozenset[str]
    classes: dict[str, tuple[str, ...]]
    nested: frozenset[str]

    @property
    def carried(self) -> dict[str, type]:
        """The columns that can travel to an output."""
        return {name: kind for name, kind in self.types.items() if self.is_carried(name)}

    def is_carried(self, name: str) -> bool:
        """Whether the cells of a column are values, or have a path."""
        return self.holds[name] in ("value", "bytes") or name in self.has_path


def schema_of(schema: Any) -> Schema:
    """What a pyarrow schema says, with the metadata of Hugging Face's `datasets` where it has them."""
    features = _features(schema.metadata)
    known = {field.name: features.get(field.name) for field in schema}
    kinds = {field.name: plain(field.type) for field in schema}
    holds = {name: _holds(kind, known[name]) for name, kind in kinds.items()}
    classes = {
        name: names for name, kind in kinds.items() if (names := _classes(kind, known[name])) is not None
    }
    return Schema(
        {name: str if name in classes else _type_of(kind) for name, kind in kinds.items()},
        holds,
        frozenset(name for name, kind in kinds.items() if holds[name] == "image" and _has_path(kind)),
        classes,
        frozenset(name for name, kind in kinds.items() if _is_nested(kind)),
    )


def plain(kind: Any) -> Any:
    """A type without its dictionary, or what says only how it is meant."""
    from pyarrow import ExtensionType, types

    if isinstance(kind, ExtensionType):
        return plain(kind.storage_type)
    return plain(kind.value_type) if types.is_dictionary(kind) else kind


def is_bytes(kind: Any) -> bool:
    """Whether cells of this type are bytes."""
    from pyarrow import types

    tests = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(test(kind) for test in tests)


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """The features that `datasets` has noted: {"info": {"features": {column: {"_type": "Image"}}}}."""
    try:
        features = json.loads((metadata or {})[_METADATA])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _holds(kind: Any, feature: Any) -> Holds:
    noted = feature.get("_type") if isinstance(feature, dict) else None
    if noted in _MEDIA:
        return "media"
    if is_bytes(kind):
        return "image" if noted == "Image" else "bytes"
    if _is_image_struct(kind):
        return "image"
    return "media" if _has_images_inside(kind) else "value"


def _is_image_struct(kind: Any) -> bool:
    from pyarrow import types

    if not types.is_struct(kind):
        return False
    fields = {field.name: plain(field.type) for field in kind}
    return "bytes" in fields and is_bytes(fields["bytes"])


def _has_images_inside(kind: Any) -> bool:
    inner = [plain(kind.field(place).type) for place in range(kind.num_fields)]
    return any(_is_image_struct(one) or _has_images_inside(one) for one in inner)


def _has_path(kind: Any) -> bool:
    from pyarrow import types

    paths = [plain(field.type) for field in kind if field.name == "path"] if types.is_struct(kind) else []
    tests = (types.is_string, types.is_large_string, types.is_string_view)
    return any(test(path) for path in paths for test in tests)


def _is_nested(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_nested(kind))


def _classes(kind: Any, feature: Any) -> tuple[str, ...] | None:
    from pyarrow import types

    if not (types.is_integer(kind) and isinstance(feature, dict) and feature.get("_type") == "ClassLabel"):
        return None
    names = feature.get("names")
    return tuple(map(str, names)) if isinstance(names, list) else None


def _type_of(kind: Any) -> type:
    from pyarrow import types

    if types.is_uint64(kind):  # may exceed what the tables that are written can hold
        return str
    known = {
        bool: types.is_boolean,
        int: types.is_integer,
        float: types.is_floating,
        datetime: types.is_timestamp,
        date: types.is_date,
    }
    return next((python for python, is_kind in known.items() if is_kind(kind)), str)
