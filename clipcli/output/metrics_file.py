"""The figures of an evaluation in a JSON or CSV file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipcli.errors import UsageError
from clipcli.files import check_place, replacing
from clipcli.output.sinks import open_sink
from clipcli.scoring.comparison import Comparison, Difference
from clipcli.scoring.evaluation import Estimate, Evaluation, GroupFigures, MultiLabel, RolledUp
from clipcli.scoring.fitting import ClassThreshold, FitReport
from clipcli.scoring.outliers import OutlierReport, RejectFit
from clipcli.scoring.retrieval import Retrieval

SUFFIXES = (".json", ".csv", ".html")
_CSV_COLUMNS: dict[str, type] = {"metric": str, "label": str, "value": float}


def check_outputs(paths: Sequence[Path]) -> None:
    """See that figures can be written to these files, before the work is done.

    Raises:
        UsageError: the suffix is no format, a file is named twice, or its folder does not exist.
        OutputError: the place cannot be written.
    """
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"cannot tell the output format of {path}", f"Use one of {', '.join(SUFFIXES)}.")
        check_place(path)
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("a file is named twice as an output", "Name it once.")


def write_metrics(
    path: Path,
    evaluation: Evaluation | Comparison | Retrieval,
    about: Mapping[str, Any],
    fit: FitReport | None = None,
    outliers: OutlierReport | None = None,
    reject_fit: RejectFit | None = None,
) -> None:
    """Write the figures; the file appears complete or not at all.

    Args:
        path: a .json file, or a .csv file with a row for each figure: its name, the class, if any, and its
            value. In a comparison the class is what is compared.
        evaluation: the figures.
        about: what else the JSON tells, such as the model.
        fit: of a classifier that was fitted; its figures are `fit` in the JSON, and have `fit_` in front in
            the CSV.
        outliers: how well they are told; in the same way as `fit`.
        reject_fit: the fitted threshold, which is `reject` in `fit`.

    Raises:
        OutputError: it cannot be written.
    """
    content = as_dict(evaluation)
    if fit:
        content["fit"] = fit_as_dict(fit) | ({"reject": _reject_fit(reject_fit)} if reject_fit else {})
    if outliers:
        content["outliers"] = _outliers(outliers)
    if path.suffix.lower() == ".json":
        text = json.dumps({**about, **content}, ensure_ascii=False, indent=2) + "\n"
        with replacing(path) as partial:
            partial.write_bytes(text.encode("utf-8", "backslashreplace"))
        return
    with open_sink(_CSV_COLUMNS, path) as sink:
        for metric, label, value in _csv_rows(content):
            sink.write([metric, label, value])


def as_dict(evaluation: Evaluation | Comparison | Retrieval) -> dict[str, Any]:
    """The figures by name; `acc1`, `acc5`, `mean_per_class_recall`, `mean_average_precision` and
    `image_retrieval_recall@5` are CLIP_benchmark's names.
    """
    if isinstance(evaluation, Retrieval):
        return _retrieval(evaluation)
    return _comparison(evaluation) if isinstance(evaluation, Comparison) else _evaluation(evaluation)


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    per_class = [one._asdict() for one in evaluation.per_class]
    common: dict[str, Any] = {"images": evaluation.images, "classes": len(per_class)}
    if isinstance(evaluation, MultiLabel):
        figures = {"mean_average_precision": evaluation.mean_average_precision}
        return {**common, **figures, "per_class": per_class}
    return {
        **common,
        **_estimate("acc1", evaluation.acc1),
        **_estimate("acc5", evaluation.acc5),
        "mean_per_class_recall": evaluation.mean_per_class_recall,
        "macro_f1": evaluation.macro_f1,
        "ece_equal_mass": evaluation.ece_equal_mass,
        "ece_equal_width": evaluation.ece_equal_width,
        "chance": evaluation.chance,
        **({"groups": _groups(evaluation.groups)} if evaluation.groups else {}),
        "per_class": per_class,
        "confused": [one._asdict() for one in evaluation.confused],
        "labels_to_check": [one._asdict() for one in evaluation.doubts],
    }


def _groups(found: GroupFigures) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for level, acc1 in enumerate(found.levels, 1):
        content |= _estimate(f"acc1_level_{level}", acc1)
    return content | ({"rolled_up": _rolled_up(found.rolled_up)} if found.rolled_up else {})


def _rolled_up(found: RolledUp) -> dict[str, Any]:
    content = {
        "least": found.least,
        **_estimate("answered", found.answered),
        **_estimate("right", found.right),
    }
    for one in found.by_depth:
        name = "labels" if one.level is None else f"level_{one.level}"
        content |= {**_estimate(name, one.share), **_estimate(f"{name}_right", one.right)}
    return content


def _retrieval(found: Retrieval) -> dict[str, Any]:
    content: dict[str, Any] = {"images": found.images, "captions": found.captions}
    for way, recalls in (("image", found.image_recall), ("text", found.text_recall)):
        for k, recall in recalls.items():
            content |= _estimate(f"{way}_retrieval_recall@{k}", recall)
    return content | {
        "image_retrieval_chance@1": found.image_chance,
        "text_retrieval_chance@1": found.text_chance,
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    compared = []
    for number, (name, figures) in enumerate(zip(found.names, found.figures, strict=True)):
        to_first = found.to_first(number)
        compared.append({"name": name, **_evaluation(figures), **(_difference(to_first) if to_first else {})})
        for long in ("images", "confused", "labels_to_check"):
            del compared[-1][long]
    pairs = [{"first": one.first, "second": one.second, **_difference(one)} for one in found.pairs]
    return {"comparison": found.what, "images": found.images, "compared": compared, "pairs": pairs}


def _difference(one: Difference) -> dict[str, Any]:
    counts = {"only_first_right": one.only_first, "only_second_right": one.only_second}
    return {**_estimate("acc1_difference", one.acc1), **counts, "mcnemar_p": one.p, "tie": one.is_tie}


def _estimate(name: str, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def fit_as_dict(report: FitReport) -> dict[str, Any]:
    """The figures of a fitted classifier by name; one that is infinite is None."""
    figures = [_estimate(name, value) for name, value in report.measures._asdict().items()]
    return {
        "fitted_on": report.fitted_on,
        "images": report.images,
        "seed": report.options.seed,
        "min_precision": report.options.min_precision,
        "coverage_asked_for": report.options.coverage,
        "temperature": report.temperature,
        "conformal_quantile": _finite(report.quantile),
        **{name: value for each in figures for name, value in each.items()},
        "per_class": [_threshold(one) for one in report.per_class],
    }


def _outliers(report: OutlierReport) -> dict[str, Any]:
    methods: dict[str, Any] = {
        one.method: {**_estimate("auroc", one.auroc), **_estimate("fpr95", one.fpr95)}
        for one in report.methods
    }
    return {"images": report.images, "outliers": report.outliers, **methods}


def _reject_fit(found: RejectFit) -> dict[str, Any]:
    return {
        "method": found.method,
        "threshold": found.threshold,
        "reject_rate": found.rate,
        **_estimate("rejected", found.rejected),
        **_estimate("outliers_rejected", found.outliers_rejected),
    }


def _threshold(one: ClassThreshold) -> dict[str, Any]:
    return {
        **one._asdict(),
        "threshold": _finite(one.threshold),
        "is_always_unknown": one.threshold == math.inf,
        "precision": None,
        **_estimate("precision", one.precision),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _csv_rows(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | None, float | None]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _csv_rows(value, f"{prefix}{name}_")
        elif not isinstance(value, list | str):
            yield f"{prefix}{name}", None, value
    for one in content.get("per_class", ()):
        for name, value in one.items():
            if name != "label":
                yield f"{prefix}{name}", one["label"], None if value is None else float(value)
    for one in content.get("compared", ()):
        yield from ((name, one["name"], float(x)) for name, x in one.items() if isinstance(x, float | int))
