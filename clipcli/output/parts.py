"""A table in parts: a folder whose files together are one table, written by several processes.

    out/run.json                what the run is; a run that goes on must be the same
    out/part-0000-000000000000.csv   the rows of some consecutive images of one source, in order
    out/_parts/part-….json      what was counted in it; a part without this is not finished
    out/_SUCCESS                the whole run; written last

Names sort in the order of the images. Each file appears complete or not at all, so that a run that was killed
goes on where it stopped: finished parts are kept, others are made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipcli.errors import ClipcliError, UsageError
from clipcli.files import write_errors
from clipcli.inputs.tables.parted import PREFIX, SUCCESS
from clipcli.output.counts import Counts
from clipcli.records import Columns, ImageFailure, ImageFeatures, Item, Outcome

RUN, FINISHED = "run.json", "_parts"


@dataclass(frozen=True)
class Part:
    """Some consecutive images of one source.

    `digest` identifies their names and columns; two parts with the same one have the same images.
    """

    source: int
    first: int
    count: int
    digest: str

    @property
    def name(self) -> str:
        """What its file is called, without a suffix."""
        return f"{PREFIX}{self.source:04}-{self.first:012}"


class Digest:
    """Identifies images by their names and columns, one after the other."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, one: Item | ImageFailure) -> None:
        """Take the next item in."""
        self._add(one.image if isinstance(one, ImageFailure) else one.name, one.columns)

    def add_outcome(self, outcome: Outcome | ImageFeatures) -> None:
        """Take in what became of the next item."""
        self._add(outcome.image, outcome.columns)

    def _add(self, name: str, columns: Columns) -> None:
        record = [os.fsencode(name).hex(), sorted((key, repr(value)) for key, value in columns.items())]
        self._hash.update(json.dumps(record).encode())

    def hexdigest(self) -> str:
        """Of all so far."""
        return self._hash.hexdigest()[:32]


@dataclass(frozen=True)
class PartFolder:
    """The folder of a table in parts.

    Args:
        path: a folder of this machine, or an address that fsspec knows, such as `s3://bucket/out`.
        suffix: of the parts: `.csv`, `.jsonl` or `.parquet`.
    """

    path: str
    suffix: str

    def begin(self, run: Mapping[str, Any]) -> list[Part]:
        """Make the folder, or go on in it; remove what is not finished.

        Args:
            run: what must be the same for a run that goes on. It must be JSON.

        Returns:
            The parts that are finished.

        Raises:
            UsageError: it holds a finished run, another run, or other files.
            OutputError: it cannot be written.
        """
        with write_errors(self.path):
            self._files.makedirs(self._at(FINISHED), exist_ok=True)
            names = set(self._listed())
            self._check(names - {FINISHED}, run)
            self._write(self._at(RUN), json.dumps(run, indent=2, sort_keys=True))
            finished = self.finished()
            known = {part.name + self.suffix for part in finished}
            for name in names:
                if name.startswith(PREFIX) and name not in known:
                    self._files.rm_file(self._at(name))
        return finished

    def finished(self) -> list[Part]:
        """The parts that are finished, in the order of their images."""
        return [self._read(name) for name in self._told()]

    def drop(self, part: Part) -> None:
        """Remove a finished part whose images have changed, unless it has been made again since."""
        place = self._at(FINISHED, f"{part.name}.json")
        with write_errors(self.path), contextlib.suppress(FileNotFoundError):
            if self._read(f"{part.name}.json") == part:
                self._files.rm_file(place)
                self._files.rm_file(self._at(part.name + self.suffix))

    def add(self, part: Part, file: Path, counts: Counts) -> None:
        """Put a file into its place, and then what was counted in it.

        Raises:
            OutputError: that cannot be done.
        """
        with write_errors(self.path):
            self._put(file, self._at(part.name + self.suffix))
            told = {
                **{"source": part.source, "first": part.first, "count": part.count, "digest": part.digest},
                **{"unknown": counts.unknown, "labels": counts.labels, "reasons": counts.reasons},
            }
            self._write(self._at(FINISHED, f"{part.name}.json"), json.dumps(told))

    def counts(self) -> Counts:
        """What was counted in all finished parts."""
        counts = Counts()
        for name in self._told():
            with contextlib.suppress(FileNotFoundError):  # dropped meanwhile
                told = json.loads(self._files.cat_file(self._at(FINISHED, name)))
                counts.images += told["count"]
                counts.unknown += told["unknown"]
                counts.labels += Counter(told["labels"])
                counts.reasons += Counter(told["reasons"])
        return counts

    def settle(self, made: Collection[Part], kept: Collection[Part]) -> None:
        """Keep what a run made, and what it found finished; remove what an earlier one wrote meanwhile.

        The processes of a command that was killed may go on for a moment.

        Args:
            made: the parts of this run.
            kept: those that were finished before it.

        Raises:
            ClipcliError: images are missing, or stand in two parts.
        """
        mine = {(part.source, part.first): part for part in [*kept, *made]}
        for part in self.finished():
            if mine.get((part.source, part.first)) != part:
                self.drop(part)
        ends: dict[int, int] = {}
        for part in sorted(self.finished(), key=lambda one: (one.source, one.first)):
            if part.first != ends.get(part.source, 0):
                raise ClipcliError(f"{self.path}: images are missing before {part.name}", "Run it again.")
            ends[part.source] = part.first + part.count

    def finish(self, about: Mapping[str, Any]) -> None:
        """Mark the run as finished; `about` tells of it."""
        with write_errors(self.path):
            self._write(self._at(SUCCESS), json.dumps(about, indent=2))

    @property
    def _files(self) -> Any:
        """The file system that the address names."""
        from fsspec.core import url_to_fs

        return url_to_fs(self.path)[0]

    def _at(self, *names: str) -> str:
        from fsspec.core import url_to_fs

        return "/".join([url_to_fs(self.path)[1].rstrip("/"), *names])

    @property
    def _is_local(self) -> bool:
        return "file" in self._files.protocol

    def _told(self) -> list[str]:
        return [name for name in self._listed(FINISHED) if name.endswith(".json")]

    def _listed(self, *below: str) -> list[str]:
        paths = self._files.ls(self._at(*below), detail=False, refresh=True)
        names = (path.rstrip("/").rpartition("/")[2] for path in paths)
        return sorted(name for name in names if not name.startswith("."))

    def _read(self, name: str) -> Part:
        told = json.loads(self._files.cat_file(self._at(FINISHED, name)))
        return Part(told["source"], told["first"], told["count"], told["digest"])

    def _check(self, names: set[str], run: Mapping[str, Any]) -> None:
        if SUCCESS in names:
            raise UsageError(f"{self.path} holds a finished run", "Name another folder, or remove it.")
        if names and RUN not in names:
            raise UsageError(f"{self.path} is not empty", "Name a new folder.")
        if not names:
            return
        before = json.loads(self._files.cat_file(self._at(RUN)))
        now = json.loads(json.dumps(run))
        other = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        if other:
            raise UsageError(
                f"{self.path} holds parts of another run: {', '.join(sorted(other))} differ",
                "Name another folder, or remove it.",
            )

    def _put(self, file: Path, place: str) -> None:
        """A local file there, whole or not at all."""
        if not self._is_local:
            self._files.put_file(str(file), place)
            return
        partial = f"{place}.{os.getpid()}.partial"
        shutil.copyfile(file, partial)
        Path(partial).replace(place)

    def _write(self, place: str, text: str) -> None:
        if not self._is_local:
            self._files.pipe_file(place, text.encode())
            return
        partial = f"{place}.{os.getpid()}.partial"
        Path(partial).write_text(text, encoding="utf-8")
        Path(partial).replace(place)
