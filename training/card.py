"""The tables of the model card, as measured: `python -m training.card RESULTS.json [OTHER.json]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.prepare import training_rows
from training.render import load
from training.sources import SOURCES, Source

Row = Mapping[str, Any]  # a `Measure`
FORMER_NAMES = {"examples/": "examples/drawings"}  # of tasks, in the results of versions up to 6


def measured(row: Row) -> tuple[str, str]:
    """What a row tells of: the task, by its present name, and the measure."""
    return FORMER_NAMES.get(row["task"], row["task"]), row["measure"]


def share(row: Row, kind: str) -> str:
    """A share and its interval, in per cent."""
    low, high = ("low", "high") if kind == "single" else (f"{kind}_low", f"{kind}_high")
    return f"{100 * row[kind]:.1f} ({100 * row[low]:.0f} to {100 * row[high]:.0f})"


def measures_table(columns: Mapping[str, Sequence[Row]]) -> str:
    """One line a measure: chance, then for each model the single template and the ensemble."""
    names = list(columns)
    head = ["test", "pictures", "classes", "measure", "chance"]
    head += [f"{name}, {kind}" for name in names for kind in ("one template", "ensemble")]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    others = [{measured(row): row for row in columns[name]} for name in names]
    for row in columns[names[0]]:
        cells = [
            row["task"],
            str(row["pictures"]),
            str(row["classes"]),
            row["measure"],
            f"{100 * row['chance']:.1f}",
        ]
        for rows in others:
            found = rows.get(measured(row))
            cells += [share(found, "single"), share(found, "ensemble")] if found else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def sources_table(counts: Mapping[str, int]) -> str:
    """One line a package that was trained on, with the number of its images."""
    lines = ["| source | package | licence | by | pictures |", "|---|---|---|---|---|"]
    for source in trained_on():
        package = f"{source.registry} `{source.package}` {source.version}"
        count = f"{counts.get(source.name, 0):,}"
        lines.append(f"| {source.name} | {package} | {source.licence} | {source.author} | {count} |")
    return "\n".join(lines) + "\n"


def trained_on() -> list[Source]:
    """The sources of images that are trained on."""
    return [source for source in SOURCES if source.role == "train"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "results", type=Path, nargs="+", help="written by training.evaluate; named by the file"
    )
    parser.add_argument("--work", type=Path, default=Path(__file__).with_name("build"))
    options = parser.parse_args(arguments)
    _, images = load(options.work / "masters")
    counts = Counter(images[row].source for row in training_rows(images))
    counts["fashion-mnist"] = 60_000 // 2
    columns = {path.stem: json.loads(path.read_text()) for path in options.results}
    sys.stdout.write(measures_table(columns) + "\n" + sources_table(counts))


if __name__ == "__main__":
    main()
