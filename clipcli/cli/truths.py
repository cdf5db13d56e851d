"""Where the true labels of images are, what they mean as classes, and which images have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from clipcli.cli import console
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.cli.image_options import Picked
    from clipcli.inputs.inputs import Inputs
    from clipcli.inputs.truth import Truth
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import ImageFailure, Item
    from clipcli.scoring.targets import Targets


class Source(NamedTuple):
    """Which images the user named, and where their true labels are."""

    paths: list[str]
    from_file: str | None
    truth: Truth

    @property
    def separator(self) -> str | None:
        """What parts several labels; the name of a folder is one label."""
        from clipcli.inputs.truth import FolderTruth
        from clipcli.scoring.targets import SEPARATOR

        return None if isinstance(self.truth, FolderTruth) else SEPARATOR

    def inputs(self, picked: Picked, image_column: str | None) -> Inputs:
        """The images.

        Raises:
            UsageError: their true labels are said to be in a column, but nothing has columns.
        """
        from clipcli.inputs.truth import ColumnTruth, FolderTruth

        if not isinstance(self.truth, ColumnTruth):
            found = picked.inputs(self.paths, self.from_file, image_column)
            if isinstance(self.truth, FolderTruth):
                _warn_of_columns(found.columns)
            return found
        if self.from_file is None and not picked.inputs(self.paths, None, image_column).columns:
            message = "`truth_column` names a column, but there is no table"
            raise UsageError(message, "Name it with `truth`.")
        return picked.inputs(self.paths, self.from_file, image_column, (self.truth.column,))

    def labelled(self, found: Inputs) -> Iterable[Item | ImageFailure]:
        """The images with their true labels, as often as they are asked for."""
        from clipcli.inputs.truth import Labelled

        images = Labelled(found, self.truth)
        return list(images) if found.is_read_once else images


def _warn_of_columns(columns: Iterable[str]) -> None:
    """Tell that folders are taken for true labels, where a column may be meant."""
    from clipcli.inputs.truth import TRUTH_COLUMNS

    for name in columns:
        if name.lower() in TRUTH_COLUMNS:
            console.warn(
                f"the folders of the images are taken for their true labels, not the column {name}: if it has"
                f" them, use --truth-column {name}"
            )
            return


def source(paths: list[str], from_file: str | None, truth: str | None, column: str | None) -> Source:
    """The images that the options name, and where their true labels are.

    Args:
        paths: files, folders and globs.
        from_file: a list or table of images.
        truth: a table of true labels.
        column: that of the labels.

    Raises:
        UsageError: a table has no labels.
    """
    from clipcli.cli import session
    from clipcli.inputs.truth import ColumnTruth, FolderTruth, TableTruth, truth_column_of

    column = column and session.as_text(column)
    if truth is not None and not paths and from_file is None:  # the images are those that it labels
        return Source([], truth, ColumnTruth(truth_column_of(truth, column)))
    if truth is not None:
        return Source(paths, from_file, TableTruth(truth, column, paths))
    if column is None:
        return Source(paths, from_file, FolderTruth(paths))
    return Source(paths, from_file, ColumnTruth(column))


def counted(images: Iterable[Item | ImageFailure], found: Inputs) -> Counter[str]:
    """How many images have which true label; without one it is an empty text.

    Raises:
        UsageError: none has one, or nothing is found.
    """
    from clipcli.cli import session
    from clipcli.records import ImageFailure

    counts = Counter(image.truth or "" for image in images if not isinstance(image, ImageFailure))
    if not counts:
        session.at_least_one(found)
    if not any(counts):
        raise UsageError(
            "no image has a true label",
            "Paths in a table of true labels start at its folder, at the working directory or at an input."
            " Without one, images lie in a folder for each class.",
        )
    return counts


def own_labels(
    truths: Iterable[str], separator: str | None, templates: list[str] | None, concept: str
) -> PromptSet:
    """The prompts of the true labels; in those, a name has spaces for `_`.

    Raises:
        UsageError: there is only one true label.
    """
    from clipcli.cli import session
    from clipcli.prompts.class_lists import ClassSpec
    from clipcli.scoring.targets import labels_of

    labels = labels_of(truths, separator)
    if len(labels) < 2:
        hint = (
            "Name the folder whose subfolders are the classes, a table with `truth`, a column of the images"
            " with `truth_column`, or the `labels`."
        )
        raise UsageError(f"all images have the same true label, {labels[0]!r}", hint)
    specs = [ClassSpec(label, name=label.replace("_", " ").strip()) for label in labels]
    return session.prompts_of(specs, templates, concept)


def with_a_class(images: Iterable[Item | ImageFailure], targets: Targets) -> Iterator[Item | ImageFailure]:
    """The images whose true label meets a label, and what could not be listed."""
    from clipcli.records import ImageFailure

    for image in images:
        if isinstance(image, ImageFailure) or targets.indices.get(image.truth or ""):
            yield image


def tell_left_out(
    counts: Counter[str], targets: Targets, separator: str | None, labels: str = "the labels"
) -> int:
    """Name the true labels that meet no label; returns how many images have no other.

    Args:
        counts: how many images have which true label.
        targets: the classes that they mean.
        separator: what parts several labels.
        labels: what to call those that there are to choose from.

    Raises:
        UsageError: all of them.
    """
    from clipcli.cli import figures
    from clipcli.scoring.targets import split_truth

    lost: Counter[str] = Counter()
    for text, count in counts.items():
        lost.update({one: count for one in split_truth(text, separator) if one in targets.unmatched})
    told = figures.some(
        f"{one} ({count}{f', nearest: {near}' if (near := targets.unmatched[one]) else ''})"
        for one, count in lost.most_common()
    )
    left_out = sum(count for text, count in counts.items() if not targets.indices[text])
    if left_out == counts.total():
        raise UsageError(f"no true label is one of {labels}", f"The true labels are: {told}.")
    if lost:
        console.warn(f"true labels that are none of {labels}: {told}")
    if left_out:
        console.warn(f"left out, without a true label among {labels}: {left_out} of {counts.total()} images")
    return left_out
