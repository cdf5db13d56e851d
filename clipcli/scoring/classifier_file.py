"""Classifiers on disk: .safetensors, which `classify` reads back, and three formats for other tools.

Class embeddings alone are format 1. What was fitted to images besides, and groups, make it format 2, of
another kind, so that no version of clipcli that does not know of them takes the scores as they are. A probe,
which ranks by weights of its own, a bias or scale of each class, or a rejector, make it format 3.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np

from clipcli.choices import Activation
from clipcli.errors import UsageError
from clipcli.files import check_place, replacing
from clipcli.records import Float32Array
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.rejection import Rejector
from clipcli.version import __version__

FORMAT = 3
"""The newest format that is read."""
_KINDS = {1: "clipcli class embeddings", 2: "clipcli classifier", 3: "clipcli classifier"}
_UNFITTED, _FITTED, _EXTENDED = _KINDS
_OTHERS = {"thresholds": 1, "weights": 2, "bias": 1, "class_scales": 1}
"""The tensors that a classifier may have besides, with their numbers of dimensions."""
_NEGATIVES = "negatives"
"""The optional tensor (M, D) of a rejector."""
_METADATA = "metadata"
"""The tensor with the metadata, as UTF-8 JSON, where they are too long for the header of .safetensors."""
_MOST_IN_HEADER = 10_000_000  # bytes, which quoting may double; a header has at most 100 million


def save_classifier(classifier: Classifier, path: str | PathLike[str]) -> None:
    """Write class embeddings in the format that the suffix names.

    `.safetensors` holds a tensor `class_embeddings` (C, D), others of the names in `_OTHERS` and `negatives`
    (M, D) if there are some, and, as JSON in its metadata, classnames, prompts, groups, temperature,
    conformal quantile, rejector and provenance; if these have more than 10 MB, they are another tensor
    `metadata` (bytes of UTF-8). `.npz` holds the same as arrays; `.csv` and `.parquet` only one row a class:
    label, then D columns.

    Raises:
        UsageError: a suffix that is not supported.
        OutputError: the file cannot be written.
    """
    from safetensors import SafetensorError

    path = Path(path)
    check_output(path)
    with replacing(path, errors=(SafetensorError, UnicodeError)) as partial:
        _WRITERS[path.suffix.lower()](classifier, partial)


def check_output(path: Path) -> None:
    """Refuse a file that `save_classifier` could not write, before the work is done.

    Raises:
        UsageError: a suffix that is not supported, a folder that does not exist, or a folder's name.
        OutputError: the file or its folder is read-only, or the place cannot be looked at.
    """
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(
            f"cannot write class embeddings as {path.name}", f"Use one of {', '.join(_WRITERS)}."
        )
    check_place(path)


def load_classifier(path: str | PathLike[str]) -> Classifier:
    """Read a `.safetensors` file that `save_classifier` wrote.

    Raises:
        UsageError: no such file, not such a file, of a newer format, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise UsageError(
            f"{path}: class embeddings are read from .safetensors only",
            "Other formats are for other tools; write one with `clipcli prompts -o classes.safetensors`.",
        )
    try:
        if not path.is_file():
            raise UsageError(
                f"no such file: {path}", "Make it with `clipcli prompts -o classes.safetensors`."
            )
        with safe_open(path, framework="np") as file:
            metadata = json.loads((file.metadata() or {}).get("clipcli", "{}"))
            if not isinstance(metadata, dict) or metadata.get("kind") not in _KINDS.values():
                raise UsageError(
                    f"{path} holds no class embeddings", "`clipcli prompts -o FILE` makes such a file."
                )
            _check_format(path, metadata)
            if _METADATA in file.keys():  # noqa: SIM118 (it is no mapping)
                metadata = json.loads(_read_bytes(file))
            embeddings, rejector = _read_embeddings(file, metadata), _read_rejector(file, metadata)
            return _from_metadata(metadata, embeddings, _read_others(file), rejector)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: {error}", "Make it again with `clipcli prompts`.") from None


def _check_format(path: Path, metadata: dict[str, Any]) -> None:
    number = int(metadata.get("format", _UNFITTED))
    if number > FORMAT:
        made_by = metadata.get("clipcli_version", "a newer version")
        raise UsageError(
            f"{path} has format {number}, written by clipcli {made_by}; this version reads up to {FORMAT}",
            "Upgrade clipcli with `pip install --upgrade clipcli`.",
        )


def _read_embeddings(file: Any, metadata: dict[str, Any]) -> Float32Array:
    """The tensor (C, D), once its header agrees with the metadata: a damaged one may claim gigabytes."""
    stored = file.get_slice("class_embeddings")
    labels, shape = len(_texts(metadata["classnames"])), stored.get_shape()
    if len(shape) != 2 or shape[0] != labels or stored.get_dtype() != "F32":
        raise ValueError(f"{labels} labels, but embeddings of shape {shape}, type {stored.get_dtype()}")
    embeddings: Float32Array = file.get_tensor("class_embeddings")
    if not np.isfinite(embeddings).all():
        raise ValueError("an embedding that is not a number")
    return embeddings


def _read_others(file: Any) -> dict[str, Float32Array]:
    """The other tensors by name: `Classifier` sees that they have the right length."""
    there = [(name, dimensions) for name, dimensions in _OTHERS.items() if name in file.keys()]  # noqa: SIM118
    return {name: _read_tensor(file, name, dimensions) for name, dimensions in there}


def _read_rejector(file: Any, metadata: dict[str, Any]) -> Rejector | None:
    stored = metadata.get("rejector")
    if stored is None:
        return None
    has_negatives = _NEGATIVES in file.keys()  # noqa: SIM118 (it is no mapping)
    negatives = _read_tensor(file, _NEGATIVES, 2) if has_negatives else None
    if negatives is not None and not np.isfinite(negatives).all():
        raise ValueError("a negative label that is not a number")
    threshold = stored["threshold"]
    return Rejector(stored["method"], None if threshold is None else _finite(threshold), negatives)


def _read_tensor(file: Any, name: str, dimensions: int) -> Float32Array:
    stored = file.get_slice(name)
    if len(stored.get_shape()) != dimensions or stored.get_dtype() != "F32":
        raise ValueError(f"{name} of shape {stored.get_shape()}, type {stored.get_dtype()}")
    tensor: Float32Array = file.get_tensor(name)
    return tensor


def _read_bytes(file: Any) -> bytes:
    stored = file.get_slice(_METADATA)
    if len(stored.get_shape()) != 1 or stored.get_dtype() != "U8":
        raise ValueError(f"metadata of shape {stored.get_shape()}, type {stored.get_dtype()}")
    return bytes(file.get_tensor(_METADATA))


def _from_metadata(
    metadata: dict[str, Any],
    embeddings: Float32Array,
    others: dict[str, Float32Array],
    rejector: Rejector | None,
) -> Classifier:
    if metadata["activation"] not in get_args(Activation):
        raise ValueError(f"activation {metadata['activation']!r}")
    bias, quantile = metadata["logit_bias"], metadata.get("conformal_quantile")
    parents = metadata.get("parents")
    return Classifier(
        classnames=_texts(metadata["classnames"]),
        class_embeddings=embeddings,
        logit_scale=_finite(metadata["logit_scale"]),
        logit_bias=None if bias is None else _finite(bias),
        activation=metadata["activation"],
        fingerprint=_texts([metadata["fingerprint"]])[0],
        provenance=dict(metadata["provenance"]),
        prompts=tuple(_texts(prompts) for prompts in metadata["prompts"]),
        temperature=_finite(metadata.get("temperature", 1.0)),
        conformal_quantile=None if quantile is None else _finite(quantile),
        parents=None if parents is None else tuple(_texts(path) for path in parents),
        rejector=rejector,
        **others,
    )


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("expected a list of texts")
    return tuple(values)


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{number} is not a number to calculate with")
    return number


def _metadata(classifier: Classifier) -> dict[str, Any]:
    return {
        **_header(classifier),
        "classnames": classifier.classnames,
        "prompts": classifier.prompts,
        "logit_scale": classifier.logit_scale,
        "logit_bias": classifier.logit_bias,
        "activation": classifier.activation,
        "fingerprint": classifier.fingerprint,
        "provenance": classifier.provenance,
        **_fitted(classifier),
        **({"parents": classifier.parents} if classifier.parents else {}),
        **_rejecting(classifier.rejector),
    }


def _header(classifier: Classifier) -> dict[str, Any]:
    extended = (classifier.weights, classifier.bias, classifier.class_scales, classifier.rejector)
    number = _FITTED if _is_judged(classifier) or classifier.parents else _UNFITTED
    number = number if all(one is None for one in extended) else _EXTENDED
    return {"kind": _KINDS[number], "format": number, "clipcli_version": __version__}


def _is_judged(classifier: Classifier) -> bool:
    """Whether scores say more than those of class embeddings alone: they are fitted, or have thresholds."""
    return classifier.is_fitted or classifier.thresholds is not None


def _fitted(classifier: Classifier) -> dict[str, Any]:
    """What was fitted besides thresholds, which are a tensor."""
    if not _is_judged(classifier):
        return {}
    return {"temperature": classifier.temperature, "conformal_quantile": classifier.conformal_quantile}


def _rejecting(rejector: Rejector | None) -> dict[str, Any]:
    """A rejector without its negative labels, which are a tensor."""
    if rejector is None:
        return {}
    return {"rejector": {"method": rejector.method, "threshold": rejector.threshold}}


def _tensors(classifier: Classifier) -> dict[str, Any]:
    tensors = {name: getattr(classifier, name) for name in ("class_embeddings", *_OTHERS)}
    tensors[_NEGATIVES] = classifier.rejector.negatives if classifier.rejector else None
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _save_safetensors(classifier: Classifier, path: Path) -> None:
    from safetensors.numpy import save_file

    metadata = json.dumps(_metadata(classifier), ensure_ascii=False)
    # any other memory order would be mixed up
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in _tensors(classifier).items()}
    if len(encoded := metadata.encode()) > _MOST_IN_HEADER:
        tensors[_METADATA] = np.frombuffer(encoded, np.uint8)
        metadata = json.dumps(_header(classifier))
    save_file(tensors, path, metadata={"clipcli": metadata})


def _save_npz(classifier: Classifier, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            **_tensors(classifier),
            classnames=np.array(classifier.classnames),  # as many characters each as the longest has
            metadata=np.array(json.dumps(_metadata(classifier), ensure_ascii=False)),
        )


def _frame(classifier: Classifier) -> Any:
    import pandas as pd

    columns = [f"d{index}" for index in range(classifier.class_embeddings.shape[1])]
    frame = pd.DataFrame(classifier.class_embeddings, columns=columns)
    frame.insert(0, "label", classifier.classnames)
    return frame


_WRITERS: dict[str, Callable[[Classifier, Path], None]] = {
    ".safetensors": _save_safetensors,
    ".npz": _save_npz,
    ".csv": lambda classifier, path: _frame(classifier).to_csv(path, index=False),
    ".parquet": lambda classifier, path: _frame(classifier).to_parquet(path, index=False),
}
