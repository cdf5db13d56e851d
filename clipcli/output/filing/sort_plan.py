"""Predictions to the steps that put images into folders; nothing is changed here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from clipcli.choices import SortMode
from clipcli.inputs.predictions import PredictedImage
from clipcli.output.filing.actions import Step
from clipcli.output.filing.images import TWICE, UNREAD, Left, real_path, why_left
from clipcli.output.filing.journal import Journal, Record
from clipcli.output.filing.names import FAILED, UNKNOWN
from clipcli.output.filing.places import EarlierRuns, Named, Places
from clipcli.output.filing.placing import Status, status


@dataclass(frozen=True)
class SortOptions:
    """How images are sorted.

    Args:
        mode: what becomes of an image.
        min_score: images whose best score is below it are unknown.
        keep_tree: keep the folders that images lie in, below that of the label.
        failed: put images that could not be read into a folder of their own; otherwise they stay.
    """

    mode: SortMode = "link"
    min_score: float | None = None
    keep_tree: bool = False
    failed: bool = False


@dataclass
class SortPlan:
    """What is going to happen.

    Args:
        steps: one for each image that gets a place.
        counts: the images that each folder of a label gets.
        names: the folders of all labels.
        folders: those that do not exist yet, each after the one that it lies in.
        base: the folder below which paths are kept, if they are.
        left: images that stay as they are.
        already: how many images have their place already.
        elsewhere: how many an earlier run has put into another folder, where they stay too.
        renamed: how many get another name, because theirs is taken.
        needed: the bytes that copies take.
    """

    steps: list[Step] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    names: list[Named] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    base: str = ""
    left: list[Left] = field(default_factory=list)
    already: int = 0
    elsewhere: int = 0
    renamed: int = 0
    needed: int = 0

    def about(self) -> Record:
        """What the journal keeps beside the steps."""
        return {"folders": self.folders, "labels": [list(one) for one in self.names], "base": self.base}


def destination(image: PredictedImage, options: SortOptions) -> tuple[str, str] | None:
    """The group and the label of the folder that an image belongs into; None for a failure that stays.

    The label is UNKNOWN also where corrections have an empty one, which means "none of these".
    """
    if image.status == "error":
        return ("", FAILED) if options.failed else None
    best = image.labels[0] if image.labels else None
    if image.status == "unknown" or best is None or not best.label.strip():
        return "", UNKNOWN
    if options.min_score is not None and best.score is not None and not best.score >= options.min_score:
        return "", UNKNOWN
    return best.group, best.label


class _Image(NamedTuple):
    """An image that is to be sorted: its name, where it lies now, and the group and label of its folder."""

    name: str
    path: str
    found: Status
    group: str
    label: str


def plan_sort(
    images: Iterable[PredictedImage], into: str, options: SortOptions, earlier: Sequence[Journal] = ()
) -> SortPlan:
    """Find a place for each image.

    Args:
        images: as predicted or corrected, with paths that start at the working directory.
        into: the folder to sort into, which may not exist yet, without links on the way.
        options: how.
        earlier: the journals of earlier runs into the same folder, the oldest first.
    """
    plan, runs = SortPlan(), EarlierRuns(earlier)
    found = list(_Finder(options, runs, plan.left).existing(images))
    plan.base = _base([image.name for image in found], runs.bases) if options.keep_tree else ""
    _Placer(plan, into, options.mode, runs).place(found)
    if options.mode == "move":
        plan.steps = _with_links(plan.steps, into)
    return plan


class _Finder:
    """Finds the files of images; what cannot be sorted is left."""

    def __init__(self, options: SortOptions, runs: EarlierRuns, left: list[Left]) -> None:
        self.options, self.runs, self.left = options, runs, left
        self._resolves = options.mode in ("copy", "hardlink")

    def existing(self, images: Iterable[PredictedImage]) -> Iterator[_Image]:
        """The images to be sorted, each once."""
        seen: set[str] = set()
        for image in images:
            place = destination(image, self.options)
            path = real_path(image.image)
            if path in seen:
                self.left.append(Left(image.image, TWICE, False))
            elif place is None:
                self.left.append(Left(image.image, UNREAD, False))
            else:
                yield from self._located(image.image, path, place)
            seen.add(path)

    def _located(self, name: str, path: str, place: tuple[str, str]) -> Iterator[_Image]:
        path = self.runs.moved_to(path)
        if (left := why_left(name, path)) is not None:
            self.left.append(left)
            return
        path = os.path.realpath(path) if self._resolves else path
        if (found := status(path)) is not None:
            yield _Image(name, path, found, *place)


class _Placer:
    """Gives images their places, and makes the steps of the plan."""

    def __init__(self, plan: SortPlan, into: str, mode: SortMode, runs: EarlierRuns) -> None:
        self.plan, self.into, self.mode, self.runs = plan, into, mode, runs
        self.places = Places(into, runs.names)
        self._device = _device_of(into)

    def place(self, images: Iterable[_Image]) -> None:
        """Add a step for each image that is not in its place already."""
        for image in images:
            self._place(image)
        self.plan.names = self.places.names
        self.plan.folders = self.places.new_folders

    def _place(self, image: _Image) -> None:
        plan, of_label = self.plan, self.places.folder_of(image.group, image.label)
        folder = os.path.normpath(os.path.join(of_label, _below(plan.base, image.name)))
        others = self.runs.folders_of(image.path)
        if unlike := next((mode for mode in others.values() if mode != self.mode), None):
            plan.left.append(
                Left(image.name, f"an earlier run has made a {unlike} of it: undo that run first")
            )
            return
        if os.path.join(self.into, folder) in (os.path.dirname(image.path), *others):
            plan.already += 1
            return
        name = os.path.basename(image.name)
        target = os.path.join(folder, self.places.free_name(folder, name))
        plan.elsewhere += bool(others)
        plan.renamed += os.path.basename(target) != name
        plan.needed += image.found.size if self._is_copied(image.path) else 0
        plan.counts[of_label] += 1
        plan.steps.append(self._step(image, target))

    def _is_copied(self, path: str) -> bool:
        across = self.mode == "move" and _device_of(os.path.dirname(path)) != self._device
        return self.mode == "copy" or across

    def _step(self, image: _Image, target: str) -> Step:
        text = link_text(image.path, target, self.into) if self.mode == "link" else ""
        was = os.readlink(image.path) if self.mode == "move" and image.found.is_link else ""
        return Step(image.path, target, image.found.size, image.found.mtime, text, was)


# --- Links ---------------------------------------------------------------------------------------


def link_text(path: str, target: str, into: str) -> str:
    """Where a link leads: a relative path if the image lies beside or in the folder, else an absolute one.

    So links stay whole if both are moved together, and if only the folder with the links is moved.
    """
    around = Path(into).parent
    is_near = around != around.parent and Path(path).is_relative_to(around)
    return _relative(path, target, into) if is_near else path


def _with_links(steps: list[Step], into: str) -> list[Step]:
    """Moved links get texts that lead to the same files as before, even if these are moved too."""
    moved = {step.source: os.path.join(into, step.target) for step in steps}
    return [step._replace(text=_moved_text(step, moved, into)) if step.was else step for step in steps]


def _moved_text(step: Step, moved: dict[str, str], into: str) -> str:
    next_one = real_path(os.path.join(os.path.dirname(step.source), step.was))
    aim = moved.get(next_one) or moved.get(os.path.realpath(step.source)) or next_one
    if os.path.isabs(step.was):
        return step.was if aim == next_one else aim
    return _relative(aim, step.target, into)


def _relative(path: str, target: str, into: str) -> str:
    return os.path.relpath(path, os.path.realpath(os.path.dirname(os.path.join(into, target))))


# --- Paths ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _device_of(folder: str) -> int:
    """The file system of a folder, or of what it will be made in."""
    existing = next(one for one in (folder, *map(str, Path(folder).parents)) if os.path.exists(one))
    return os.stat(existing).st_dev


def _base(names: Sequence[str], earlier: Sequence[str]) -> str:
    """The folder that images share: that of an earlier run, if it is one of them all."""
    folders = {os.path.dirname(os.path.abspath(name)) for name in names}
    shared = os.path.commonpath(folders) if folders else ""
    return next((base for base in earlier if Path(shared).is_relative_to(base)), shared)


def _below(base: str, name: str) -> str:
    """The folders between the shared one and an image."""
    return os.path.relpath(os.path.dirname(os.path.abspath(name)), base) if base else ""
