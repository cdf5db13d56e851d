"""Keywords for photo programs, in sidecars or in the images, by the steps of a journal; and undo it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from clipcli.choices import SidecarNames
from clipcli.inputs.predictions import PredictedImage
from clipcli.output.filing import journal as journals
from clipcli.output.filing import placing
from clipcli.output.filing.deltas import Delta, digest
from clipcli.output.filing.exiftool import SUFFIXES, ExifTool
from clipcli.output.filing.images import TWICE, UNREAD, Left, real_path, why_left
from clipcli.output.filing.journal import Journal, Record
from clipcli.output.filing.keywords import Keywords, added, merged, of_labels
from clipcli.output.filing.placing import Changed, status
from clipcli.output.filing.runs import Run
from clipcli.output.filing.xmp import keywords_in, with_keywords

COMMAND = "tag"
SHARED = "another image has the same sidecar; use the names of darktable"
NOT_WRITABLE = f"keywords can only be embedded into {', '.join(SUFFIXES)}"


@dataclass(frozen=True)
class TagOptions:
    """How images are tagged.

    Args:
        top_k: the most labels an image gets.
        min_score: the score that a label must have.
        rating: whether the score of the best label becomes a rating.
        names: how sidecars are called.
        embed: write into the images, not into sidecars.
    """

    top_k: int = 1
    min_score: float | None = None
    rating: bool = False
    names: SidecarNames = "darktable"
    embed: bool = False


class TagStep(NamedTuple):
    """What is to happen to an image.

    Args:
        image: its absolute path.
        path: the file that is written: its sidecar, or the image itself.
        new: the keywords that it is to get.
        ours: those that earlier runs have added, which are replaced.
    """

    image: str
    path: str
    new: Keywords
    ours: Keywords

    def as_record(self) -> Record:
        """As it is written to the journal."""
        return {
            **{"image": self.image, "path": self.path},
            **{"new": self.new.as_record(), "ours": self.ours.as_record()},
        }

    @classmethod
    def of(cls, record: Record) -> TagStep:
        """As it is read from the journal."""
        return cls(record["image"], record["path"], Keywords.of(record["new"]), Keywords.of(record["ours"]))


@dataclass
class TagPlan:
    """What is going to happen.

    Args:
        steps: one for each image that gets keywords, or loses those of an earlier run.
        counts: the images that get each keyword.
        left: images that stay as they are.
        without: how many have no label to be written.
        existing: how many files there are already that will be changed.
    """

    steps: list[TagStep] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    left: list[Left] = field(default_factory=list)
    without: int = 0
    existing: int = 0


# --- Plan ----------------------------------------------------------------------------------------


def plan_tags(
    images: Iterable[PredictedImage], options: TagOptions, earlier: Sequence[Journal] = ()
) -> TagPlan:
    """Find out what each image is to get; nothing is changed.

    Args:
        images: as predicted or corrected, with paths that start at the working directory.
        options: how they are tagged.
        earlier: the journals of earlier runs, the oldest first.
    """
    plan, ours = TagPlan(), _ours(earlier)
    steps = [step for image in _once(images, options, plan) if (step := _step(image, options, ours, plan))]
    users = Counter(step.path for step in steps)
    for step in steps:
        if users[step.path] > 1:
            plan.left.append(Left(step.image, SHARED))
        elif step.new == step.ours == Keywords():
            plan.without += 1
        else:
            plan.steps.append(step)
            plan.counts.update(step.new.subjects)
            plan.existing += status(step.path) is not None
    return plan


def _once(images: Iterable[PredictedImage], options: TagOptions, plan: TagPlan) -> Iterator[PredictedImage]:
    """The images that have been read, each once."""
    seen: set[str] = set()
    for image in images:
        path = _written(image.image) if options.embed else real_path(image.image)
        if path in seen:
            plan.left.append(Left(image.image, TWICE, False))
        elif image.status == "error":
            plan.left.append(Left(image.image, UNREAD, False))
        else:
            yield image
        seen.add(path)


def _step(
    image: PredictedImage, options: TagOptions, ours: dict[str, Keywords], plan: TagPlan
) -> TagStep | None:
    path = real_path(image.image)
    left = why_left(image.image, path)
    if left is None and options.embed and os.path.splitext(path)[1].lower() not in SUFFIXES:
        left = Left(image.image, NOT_WRITABLE)
    if left is not None:
        plan.left.append(left)
        return None
    written = _written(path if options.embed else sidecar_of(path, options.names))
    new = of_labels(image, options.top_k, options.min_score, options.rating)
    return TagStep(path, written, new, ours.get(written, Keywords()))


def _written(path: str) -> str:
    """The file that is written in the end, which a link leads to."""
    try:
        return os.path.realpath(path)
    except ValueError:  # no file can have such a name
        return path


def sidecar_of(image: str, names: SidecarNames) -> str:
    """The sidecar of an image: `a.jpg.xmp` or `a.xmp`."""
    return f"{image if names == 'darktable' else os.path.splitext(image)[0]}.xmp"


def _ours(earlier: Iterable[Journal]) -> dict[str, Keywords]:
    """What earlier runs have added to each file; the latest of them knows it all."""
    return {
        journal.steps[number]["path"]: Keywords.of(mark["added"])
        for journal in earlier
        for number, mark in journal.marks.items()
        if mark.get("done") and "added" in mark and not mark.get("undone")
    }


# --- Steps ---------------------------------------------------------------------------------------


def begin(folder: Path, asked: Record, plan: TagPlan) -> Journal:
    """Write the journal of a new run, see `journal.create`."""
    return journals.create(folder, COMMAND, asked, {}, [step.as_record() for step in plan.steps])


class _File:
    """A file as it is now; without content and digest if there is none."""

    def __init__(self, path: str) -> None:
        self.status = status(path)
        self.content = b"" if self.status is None else Path(path).read_bytes()
        self.digest = "" if self.status is None else digest(self.content)


class Tagging(Run):
    """Files that get keywords."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self._contexts = ExitStack()

    def path_of(self, number: int) -> str:
        """The image."""
        return str(self.journal.steps[number]["image"])

    def do(self, number: int) -> None:
        """Write the keywords; what the file held is in the journal before."""
        step, mark = TagStep.of(self.journal.steps[number]), self.journal.marks.get(number, {})
        file = _File(step.path)
        if "after" in mark and file.digest == mark["after"]:  # a killed run has written it
            return
        if "before" in mark and file.digest != mark["before"]:
            raise Changed(step.path)
        present = self._editor.keywords_in(file.content, step.path)
        result = merged(present, step.ours, step.new)
        if result == present:
            self.journal.mark(number, added=added(present, step.ours, result).as_record())
            return
        content = self._editor.with_keywords(file.content, step.path, result)
        self._note(number, file, content, added(present, step.ours, result))
        placing.write(step.path, content, self.partial(number, step.path), file.status)

    def _note(self, number: int, file: _File, content: bytes, ours: Keywords) -> None:
        """Write down how to get the former content back, after a check that this would succeed."""
        delta = Delta.between(file.content, content)
        if delta.former(content) != file.content:
            raise ValueError("its former content could not be kept")
        self.journal.mark(
            number,
            sync=True,
            before=file.digest,
            after=digest(content),
            delta=delta.as_record(),
            mtime=None if file.status is None else file.status.mtime,
            added=ours.as_record(),
        )

    def undo(self, number: int) -> None:
        """Give the file the bytes that it had, or remove it if there was none."""
        path, mark = self.journal.steps[number]["path"], self.journal.marks.get(number, {})
        partial = self.partial(number, path)
        placing.remove(partial)
        file = _File(path)
        if "after" not in mark or file.digest == mark["before"]:
            return
        if file.digest != mark["after"]:
            raise Changed(path)
        if not mark["before"]:
            os.unlink(path)
            return
        former = Delta.of(mark["delta"]).former(file.content)
        if digest(former) != mark["before"]:
            raise Changed(path, "the journal does not fit it")
        placing.write(path, former, partial, file.status, mark["mtime"])

    @cached_property
    def _editor(self) -> Editor:
        if self.journal.header["asked"]["embed"]:
            return self._contexts.enter_context(ExifTool())
        return Sidecars()

    def close(self) -> None:
        """Let exiftool end."""
        self._contexts.close()


class Editor(Protocol):
    """Reads and writes the keywords in the content of a file with this path; errors are `ValueError`."""

    def keywords_in(self, content: bytes, path: str) -> Keywords:
        """The keywords in a file."""

    def with_keywords(self, content: bytes, path: str, keywords: Keywords) -> bytes:
        """The file with other keywords."""


class Sidecars:
    """Sidecars are XMP packets."""

    def keywords_in(self, content: bytes, path: str) -> Keywords:
        """The keywords in a sidecar."""
        return keywords_in(content)

    def with_keywords(self, content: bytes, path: str, keywords: Keywords) -> bytes:
        """The sidecar with other keywords."""
        return with_keywords(content, keywords)
