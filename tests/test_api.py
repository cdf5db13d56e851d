"""The Python API, as the README shows it."""

from __future__ import annotations

import pydoc
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

import clipcli
from clipcli.errors import PromptError, UsageError
from clipcli.records import ImageFailure, ImagePredictions, Prediction


def test_pictures_to_a_data_frame(nano: Any, pictures: Path) -> None:
    classifier = clipcli.build_classifier(nano, ["cat", "fish", "sun"], "a drawing of a {}.")
    (pictures / "broken.png").write_bytes(b"")
    frame = clipcli.to_frame(clipcli.classify(pictures, nano, classifier, top_k=2))
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["image", "rank", "label", "score", "cosine", "error", "status", "margin"]
    assert len(frame) == 12 * 2 + 1
    assert frame.error.notna().sum() == 1
    assert frame["rank"].dropna().isin([1, 2]).all()


def test_no_outcomes_give_an_empty_frame() -> None:
    frame = clipcli.to_frame([])
    assert frame.empty
    assert list(frame.columns) == ["image", "rank", "label", "score", "cosine", "error", "status", "margin"]


def test_columns_of_the_users_table_are_in_the_frame() -> None:
    outcomes = [
        ImagePredictions(
            "a.png",
            (Prediction("a.png", 1, "cat", 0.9, 0.3),),
            np.ones(1, np.float32),
            {"sku": "007", "label": 3},
        ),
        ImageFailure("b.png", "no such file", {"sku": "008", "label": 4}),
    ]
    frame = clipcli.to_frame(outcomes)
    assert list(frame.columns)[-4:] == ["status", "margin", "sku", "input_label"]
    assert frame.status.tolist() == ["ok", "error"]
    assert frame.sku.tolist() == ["007", "008"]
    assert frame.input_label.tolist() == [3, 4]


def test_sets_of_labels_are_in_the_frame_if_there_are_some() -> None:
    predictions = (Prediction("a.png", 1, "cat", 0.9, 0.3),)
    scored = ImagePredictions(
        "a.png", predictions, np.ones(1, np.float32), {"set": 1}, label_set=("cat", "dog")
    )
    frame = clipcli.to_frame([scored, ImageFailure("b.png", "no such file", {"set": 2})])
    assert list(frame.columns)[-3:] == ["margin", "set", "input_set"]
    assert frame["set"][0] == "cat|dog"
    assert pd.isna(frame["set"][1])
    assert frame["input_set"].tolist() == [1, 2]
    assert list(clipcli.to_frame([scored._replace(label_set=None)]).columns)[-2:] == ["margin", "set"]


def test_features_and_true_labels_make_a_fitted_classifier() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 3)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    classifier = clipcli.Classifier(
        ("cat", "light bulb", "sun"), np.eye(3, dtype=np.float32), 4.0, None, "softmax", "f"
    )
    best = (3 * features + generator.gumbel(size=(400, 3))).argmax(axis=1)
    truths = [("Cat", "light_bulb", "sun")[index] for index in best]
    fitted, report = clipcli.fit_classifier(classifier, features, truths, coverage=0.8, seed=1)
    assert isinstance(report, clipcli.FitReport)
    assert (report.fitted_on, report.images) == (200, 200)
    assert fitted.temperature == report.temperature == pytest.approx(4 / 3, rel=0.3)
    assert report.measures.coverage.value == pytest.approx(0.8, abs=0.1)
    with pytest.raises(UsageError, match="'catt' is no label of the classifier") as error:
        clipcli.fit_classifier(classifier, features, [*truths[1:], "catt"])
    assert error.value.hint == "The nearest one is 'cat'."
    with pytest.raises(UsageError, match="399 true labels for the features of 400 images"):
        clipcli.fit_classifier(classifier, features, truths[1:])


def test_the_package_lists_all_its_names() -> None:
    assert set(clipcli.__all__) <= set(dir(clipcli))
    for name in clipcli.__all__:
        assert getattr(clipcli, name) is not None
    typed = (
        (ROOT / "clipcli" / "__init__.py").read_text().partition("TYPE_CHECKING:")[2].partition("_MODULES")[0]
    )
    assert set(re.findall(r" as (\w+)", typed)) == set(clipcli.__all__) - {"__version__"}
    shown = pydoc.plain(pydoc.render_doc(clipcli))
    assert all(name in shown for name in clipcli.__all__)


def test_the_api_gives_what_the_command_line_writes(
    nano: Any, pictures: Path, run_cli: Any, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    common = ("-m", "nano", "--precision", "fp32", "-t", "icons")
    run_cli("classify", pictures, "-l", "cat,sun", *common, "-o", output)
    classifier = clipcli.build_classifier(nano, ["cat", "sun"], "icons")
    frame = clipcli.to_frame(clipcli.classify([pictures], nano, classifier))
    written = pd.read_csv(output)
    assert written.error.isna().all()
    columns = ["image", "rank", "label", "score", "cosine"]
    pd.testing.assert_frame_equal(frame[columns], written[columns], check_dtype=False)


def test_classes_from_a_shipped_list_and_from_a_file(nano: Any, tmp_path: Path) -> None:
    assert len(clipcli.build_classifier(nano, "cifar10", "photo").classnames) == 10
    (tmp_path / "mine.txt").write_text("cat: kitten\nsun\n")
    classifier = clipcli.build_classifier(nano, tmp_path / "mine.txt", ["a {}", "the {}"])
    assert classifier.prompts == (("a cat", "the cat", "a kitten", "the kitten"), ("a sun", "the sun"))


def test_saved_and_loaded(nano: Any, tmp_path: Path) -> None:
    classifier = clipcli.build_classifier(nano, ["cat", "sun"])
    clipcli.save_classifier(classifier, tmp_path / "two.safetensors")
    loaded = clipcli.load_classifier(tmp_path / "two.safetensors")
    assert loaded.classnames == ("cat", "sun")
    assert (loaded.class_embeddings == classifier.class_embeddings).all()


def test_mistakes_raise_what_the_docstring_says(nano: Any) -> None:
    with pytest.raises(PromptError):
        clipcli.build_classifier(nano, [])
    classifier = clipcli.build_classifier(nano, ["cat"])
    with pytest.raises(UsageError, match="no such file"):
        clipcli.classify("nowhere/", nano, classifier)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        clipcli.nothing  # noqa: B018
