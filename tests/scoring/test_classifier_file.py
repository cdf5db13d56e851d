"""Class embeddings on disk: read back unchanged, readable by other tools, never half a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from clipcli.errors import OutputError, UsageError
from clipcli.scoring import classifier_file
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.classifier_file import check_output, load_classifier, save_classifier
from clipcli.scoring.rejection import Rejector

EMBEDDINGS = np.array([[0.6, 0.8, 0.0], [0.0, -1.0, 0.0]], np.float32)
CLASSIFIER = Classifier(
    classnames=("Käse, 奶酪", '"new\nline"'),
    class_embeddings=EMBEDDINGS,
    logit_scale=117.25,
    logit_bias=-12.5,
    activation="sigmoid",
    fingerprint="abc",
    provenance={"model": "nano", "size": [8, 8], "pretrained": None},
    prompts=(("ein Käse 🧀.", "das {x}"), ("a\tb",)),
)
SUFFIXES = [".safetensors", ".npz", ".csv", ".parquet"]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_classifier(CLASSIFIER, tmp_path / "c.safetensors")
    loaded = load_classifier(tmp_path / "c.safetensors")
    np.testing.assert_array_equal(loaded.class_embeddings, EMBEDDINGS)
    assert replace(loaded, class_embeddings=EMBEDDINGS) == CLASSIFIER


def test_a_softmax_classifier_has_no_bias(tmp_path: Path) -> None:
    path = tmp_path / "c.SAFETENSORS"
    save_classifier(replace(CLASSIFIER, logit_bias=None, activation="softmax"), path)
    assert load_classifier(path).logit_bias is None


@pytest.mark.parametrize("embeddings", [np.asfortranarray(EMBEDDINGS), np.repeat(EMBEDDINGS, 2, 1)[:, ::2]])
def test_the_order_in_memory_does_not_matter(embeddings: np.ndarray, tmp_path: Path) -> None:
    save_classifier(replace(CLASSIFIER, class_embeddings=embeddings), tmp_path / "c.safetensors")
    np.testing.assert_array_equal(load_classifier(tmp_path / "c.safetensors").class_embeddings, EMBEDDINGS)


def test_safetensors_can_be_read_by_other_tools(tmp_path: Path) -> None:
    save_classifier(CLASSIFIER, tmp_path / "c.safetensors")
    with safe_open(tmp_path / "c.safetensors", framework="np") as file:
        assert list(file.keys()) == ["class_embeddings"]
        np.testing.assert_array_equal(file.get_tensor("class_embeddings"), EMBEDDINGS)
        metadata = json.loads(file.metadata()["clipcli"])
    assert metadata["classnames"] == list(CLASSIFIER.classnames)
    assert metadata["prompts"] == [["ein Käse 🧀.", "das {x}"], ["a\tb"]]


def test_npz_can_be_read_by_numpy(tmp_path: Path) -> None:
    save_classifier(CLASSIFIER, tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["class_embeddings"], EMBEDDINGS)
        assert tuple(file["classnames"]) == CLASSIFIER.classnames
        assert json.loads(str(file["metadata"]))["logit_bias"] == -12.5


@pytest.mark.parametrize(("suffix", "read"), [(".csv", pd.read_csv), (".parquet", pd.read_parquet)])
def test_tables_can_be_read_by_pandas(suffix: str, read: Any, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    save_classifier(CLASSIFIER, path)
    frame = read(path)
    assert list(frame.columns) == ["label", "d0", "d1", "d2"]
    assert tuple(frame["label"]) == CLASSIFIER.classnames
    np.testing.assert_array_equal(frame.iloc[:, 1:].to_numpy(np.float32), EMBEDDINGS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_is_replaced_as_a_whole(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_bytes(b"before" * 10_000)
    save_classifier(CLASSIFIER, path)
    assert path.stat().st_size < 10_000
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "c.safetensors").symlink_to("real.safetensors")
    save_classifier(CLASSIFIER, tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").is_symlink()
    assert load_classifier(tmp_path / "real.safetensors").classnames == CLASSIFIER.classnames


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_place_that_cannot_be_written_is_an_output_error(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_text("before")
    (tmp_path / f"{path.name}.partial").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*: .*[Ii]s a directory"):
        save_classifier(CLASSIFIER, path)
    assert path.read_text() == "before"


@pytest.mark.parametrize("suffix", [".safetensors", ".csv", ".parquet"])
def test_a_label_that_cannot_be_written_leaves_nothing_behind(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="surrogates not allowed"):
        save_classifier(replace(CLASSIFIER, classnames=("a", "\udcff")), tmp_path / f"c{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_no_failure_whatever_leaves_half_a_file(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_classifier(replace(CLASSIFIER, provenance={"made": {1}}), tmp_path / f"c{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c.txt", "cannot write class embeddings as c.txt"),
        ("c", "cannot write class embeddings as c"),
        ("missing/c.csv", "no such folder: .*missing"),
        ("file/c.csv", "no such folder: .*file"),
        ("folder.csv", "folder.csv is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused_beforehand(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=message):
        check_output(tmp_path / name)


def test_a_name_that_is_too_long_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        save_classifier(CLASSIFIER, tmp_path / f"{'x' * 300}.npz")


# --- What cannot be loaded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.safetensors", "no such file"),
        ("missing/c.safetensors", "no such file"),
        ("folder.safetensors", "no such file"),
        ("c.npz", "read from .safetensors only"),
        ("c.csv", "read from .safetensors only"),
        ("x" * 300 + ".safetensors", "cannot be read|no such file"),
    ],
)
def test_a_file_that_is_not_there_or_another_format(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "c.csv").touch()
    save_classifier(CLASSIFIER, tmp_path / "c.npz")
    with pytest.raises(UsageError, match=message):
        load_classifier(tmp_path / name)


def saved(folder: Path) -> bytes:
    save_classifier(CLASSIFIER, folder / "c.safetensors")
    return (folder / "c.safetensors").read_bytes()


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_called_damaged(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(saved(tmp_path)[:kept])
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"shape":[2,3]', b'"shape":[9,9]'),
        (b'"data_offsets":[0,24]', b'"data_offsets":[0,99]'),
        (b'"data_offsets":[0,24]', b'"data_offsets":[8,32]'),
        (b'{"__metadata__"', b'["__metadata__"'),
        (b'class_embeddings":', b'class_embeddingx":'),
        (b'\\"fingerprint\\"', b'\\"fingerqrint\\"'),
        (b"117.25", b'\\"x1\\"'),
        (b'\\"activation\\": \\"sigmoid\\"', b'\\"activation\\": \\"sigmund\\"'),
    ],
)
def test_a_lying_header_is_called_damaged(old: bytes, new: bytes, tmp_path: Path) -> None:
    content = saved(tmp_path)
    assert old in content
    path = tmp_path / "c.safetensors"
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(path)


def test_a_header_longer_than_the_file_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes((2**60).to_bytes(8, "little") + saved(tmp_path)[8:])
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(path)


@pytest.mark.parametrize(
    ("embeddings", "changes"),
    [
        (EMBEDDINGS[:1], {}),
        (np.array(1.0, np.float32), {}),
        (EMBEDDINGS[0, :2], {}),
        (EMBEDDINGS, {"classnames": 2}),
        (EMBEDDINGS, {"prompts": [1, 2]}),
        (EMBEDDINGS, {"provenance": [1]}),
        (EMBEDDINGS, {"logit_bias": "x"}),
    ],
)
def test_parts_that_do_not_fit_together_are_called_damaged(
    embeddings: np.ndarray, changes: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    saved(tmp_path)
    with safe_open(path, framework="np") as file:
        metadata = json.loads(file.metadata()["clipcli"]) | changes
    save_file({"class_embeddings": embeddings}, path, {"clipcli": json.dumps(metadata)})
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"clipcli": "{}"}, {"clipcli": "[]"}])
def test_other_safetensors_files_hold_no_class_embeddings(
    metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"class_embeddings": EMBEDDINGS}, path, metadata)
    with pytest.raises(UsageError, match="holds no class embeddings"):
        load_classifier(path)


# --- Long metadata -------------------------------------------------------------------------------


@pytest.fixture
def long_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if those of `CLASSIFIER` were too long for a header."""
    monkeypatch.setattr(classifier_file, "_MOST_IN_HEADER", 100)


@pytest.mark.usefixtures("long_metadata")
def test_metadata_that_are_too_long_for_the_header_are_a_tensor(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_classifier(CLASSIFIER, path)
    loaded = load_classifier(path)
    np.testing.assert_array_equal(loaded.class_embeddings, EMBEDDINGS)
    assert replace(loaded, class_embeddings=EMBEDDINGS) == CLASSIFIER
    with safe_open(path, framework="np") as file:
        assert json.loads(bytes(file.get_tensor("metadata")))["classnames"] == list(CLASSIFIER.classnames)
        assert len(file.metadata()["clipcli"]) < 100


@pytest.mark.usefixtures("long_metadata")
@pytest.mark.parametrize("kept", [0, 8, 100, 400, -1])
def test_a_truncated_file_with_long_metadata_is_called_damaged(kept: int, tmp_path: Path) -> None:
    content = saved(tmp_path)
    (tmp_path / "c.safetensors").write_bytes(content[:kept])
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        np.zeros((2, 2), np.uint8),
        np.zeros(2, np.float32),
        np.frombuffer(b"[]", np.uint8),
        np.frombuffer(b'{"kind": "clipcli class embeddings"}', np.uint8),
        np.frombuffer(b'{"classnames": ["a"', np.uint8),
        np.frombuffer(b"\xff\xfe", np.uint8),
        np.zeros(0, np.uint8),
    ],
)
def test_long_metadata_that_are_none_are_called_damaged(metadata: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    header = {"clipcli": json.dumps({"kind": "clipcli class embeddings"})}
    save_file({"class_embeddings": EMBEDDINGS, "metadata": metadata}, path, header)
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(path)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("long", ["prompts", "classnames", "provenance"])
def test_more_texts_than_a_header_holds(long: str, suffix: str, tmp_path: Path) -> None:
    text = "x" * 4000
    many = {
        "prompts": {"prompts": ((text,) * 15_000, tuple('"' * 4000 for _ in range(15_000)))},
        "classnames": {"classnames": ("a", text * 15)},
        "provenance": {"provenance": {"notes": [text] * 30_000}},
    }[long]
    classifier = replace(CLASSIFIER, **many)  # type: ignore[arg-type]
    path = tmp_path / f"c{suffix}"
    save_classifier(classifier, path)
    if suffix == ".safetensors":
        loaded = load_classifier(path)
        assert replace(loaded, class_embeddings=EMBEDDINGS) == replace(
            classifier, class_embeddings=EMBEDDINGS
        )


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    metadata = {
        "kind": "clipcli class embeddings",
        "clipcli_version": "0.1.0",
        "classnames": ["a", "b"],
        "prompts": [["an a"], ["a b"]],
        "logit_scale": 100.0,
        "logit_bias": None,
        "activation": "softmax",
        "fingerprint": "f",
        "provenance": {"model": "nano"},
    }
    path = tmp_path / "c.safetensors"
    save_file({"class_embeddings": EMBEDDINGS}, path, {"clipcli": json.dumps(metadata)})
    assert load_classifier(path).prompts == (("an a",), ("a b",))


# --- What was fitted to images -------------------------------------------------------------------

FITTED = replace(
    CLASSIFIER,
    temperature=0.1 + 0.2,
    thresholds=np.array([np.nan, np.inf], np.float32),
    conformal_quantile=1 / 3,
)


@pytest.mark.parametrize("most_in_header", [10_000_000, 100])
def test_what_was_fitted_is_loaded(
    most_in_header: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier_file, "_MOST_IN_HEADER", most_in_header)
    save_classifier(FITTED, tmp_path / "c.safetensors")
    loaded = load_classifier(tmp_path / "c.safetensors")
    assert (loaded.temperature, loaded.conformal_quantile) == (0.1 + 0.2, 1 / 3)
    np.testing.assert_array_equal(loaded.thresholds, FITTED.thresholds)
    same = {"class_embeddings": EMBEDDINGS, "thresholds": FITTED.thresholds}
    assert replace(loaded, **same) == FITTED


@pytest.mark.parametrize(
    "fields", [{"temperature": 2.0}, {"thresholds": np.zeros(2, np.float32)}, {"conformal_quantile": 0.0}]
)
def test_one_thing_that_was_fitted_makes_a_file_that_older_versions_refuse(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    """They looked at the kind only; what they do not know of would have been left out in silence."""
    for classifier, kind, number in (
        (CLASSIFIER, "clipcli class embeddings", 1),
        (replace(CLASSIFIER, **fields), "clipcli classifier", 2),
    ):
        save_classifier(classifier, tmp_path / "c.safetensors")
        with safe_open(tmp_path / "c.safetensors", framework="np") as file:
            metadata = json.loads(file.metadata()["clipcli"])
        assert (metadata["kind"], metadata["format"]) == (kind, number)


@pytest.mark.parametrize("most_in_header", [10_000_000, 100])
def test_a_file_of_a_newer_format_is_refused_before_it_is_read(
    most_in_header: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier_file, "_MOST_IN_HEADER", most_in_header)
    monkeypatch.setattr(classifier_file, "_FITTED", 4)
    monkeypatch.setattr(classifier_file, "_KINDS", {1: "clipcli class embeddings", 4: "clipcli classifier"})
    monkeypatch.setattr(classifier_file, "__version__", "0.9.0")
    save_classifier(FITTED, tmp_path / "c.safetensors")
    with pytest.raises(
        UsageError, match=r"has format 4, written by clipcli 0\.9\.0; this version reads up to 3"
    ):
        load_classifier(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    ("thresholds", "changes"),
    [
        (np.zeros(3, np.float32), {}),
        (np.zeros((1, 2), np.float32), {}),
        (np.zeros(2, np.float64), {}),
        (FITTED.thresholds, {"temperature": 0}),
        (FITTED.thresholds, {"temperature": float("inf")}),
        (FITTED.thresholds, {"temperature": None}),
        (FITTED.thresholds, {"conformal_quantile": 2}),
        (FITTED.thresholds, {"conformal_quantile": "x"}),
        (FITTED.thresholds, {"classnames": ["a|b", "c"]}),
        (FITTED.thresholds, {"format": "x"}),
        (FITTED.thresholds, {"format": None}),
    ],
)
def test_fitted_values_that_cannot_be_are_called_damaged(
    thresholds: np.ndarray, changes: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    save_classifier(FITTED, path)
    with safe_open(path, framework="np") as file:
        metadata = json.loads(file.metadata()["clipcli"]) | changes
    tensors = {"class_embeddings": EMBEDDINGS, "thresholds": thresholds}
    save_file(tensors, path, {"clipcli": json.dumps(metadata)})
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(path)


def test_npz_holds_what_was_fitted(tmp_path: Path) -> None:
    save_classifier(FITTED, tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["thresholds"], FITTED.thresholds)
        assert json.loads(str(file["metadata"]))["temperature"] == 0.1 + 0.2


# --- Places --------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_refused_beforehand(
    tmp_path: Path, unprivileged: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o555)
    with unprivileged(), pytest.raises(OutputError, match=r"^cannot write c\.csv: Permission denied$"):
        check_output(Path("c.csv"))


def test_a_name_without_room_for_a_partial_file_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        check_output(tmp_path / f"{'x' * 248}.csv")
    assert not list(tmp_path.iterdir())


# --- What rejects images, and what is added to logits --------------------------------------------

EXTENDED = replace(
    CLASSIFIER,
    bias=np.array([0.5, -1], np.float32),
    class_scales=np.array([0.9, 0.8], np.float32),
    rejector=Rejector("negatives", 0.1 + 0.2, 2 * EMBEDDINGS),
)


@pytest.mark.parametrize("most_in_header", [10_000_000, 100])
def test_a_bias_scales_and_a_rejector_are_loaded(
    most_in_header: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier_file, "_MOST_IN_HEADER", most_in_header)
    save_classifier(EXTENDED, tmp_path / "c.safetensors")
    loaded = load_classifier(tmp_path / "c.safetensors")
    np.testing.assert_array_equal(loaded.bias, EXTENDED.bias)
    np.testing.assert_array_equal(loaded.class_scales, EXTENDED.class_scales)
    assert loaded.rejector is not None
    assert (loaded.rejector.method, loaded.rejector.threshold) == ("negatives", 0.1 + 0.2)
    np.testing.assert_array_equal(loaded.rejector.negatives, 2 * EMBEDDINGS)


@pytest.mark.parametrize(
    "fields",
    [
        {"bias": np.zeros(2, np.float32)},
        {"class_scales": np.ones(2, np.float32)},
        {"rejector": Rejector("mcm")},
        {"rejector": Rejector("mcm", 0.5), "temperature": 2.0},
    ],
)
def test_each_of_them_makes_a_file_of_the_newest_format(fields: dict[str, Any], tmp_path: Path) -> None:
    save_classifier(replace(CLASSIFIER, **fields), tmp_path / "c.safetensors")
    with safe_open(tmp_path / "c.safetensors", framework="np") as file:
        metadata = json.loads(file.metadata()["clipcli"])
    assert (metadata["kind"], metadata["format"]) == ("clipcli classifier", 3)
    loaded = load_classifier(tmp_path / "c.safetensors")
    assert loaded.rejector == fields.get("rejector")


@pytest.mark.parametrize(
    ("tensors", "changes"),
    [
        ({"bias": np.zeros(3, np.float32)}, {}),
        ({"bias": np.array([0, np.nan], np.float32)}, {}),
        ({"class_scales": np.zeros((2, 1), np.float32)}, {}),
        ({"negatives": np.ones((2, EMBEDDINGS.shape[1] + 1), np.float32)}, {}),
        ({"negatives": np.full(EMBEDDINGS.shape, np.inf, np.float32)}, {}),
        ({"negatives": np.ones(EMBEDDINGS.shape, np.float64)}, {}),
        ({}, {"rejector": {"method": "best", "threshold": 0.5}}),
        ({}, {"rejector": {"method": "mcm", "threshold": 0.5}}),
        ({}, {"rejector": {"method": "negatives", "threshold": "x"}}),
        ({}, {"rejector": {"method": "negatives"}}),
        ({}, {"rejector": "negatives"}),
    ],
)
def test_such_values_that_cannot_be_are_called_damaged(
    tensors: dict[str, np.ndarray], changes: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    save_classifier(EXTENDED, path)
    with safe_open(path, framework="np") as file:
        metadata = json.loads(file.metadata()["clipcli"]) | changes
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    save_file(stored | tensors, path, {"clipcli": json.dumps(metadata)})
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(path)
