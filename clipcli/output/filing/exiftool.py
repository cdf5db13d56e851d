"""exiftool, the program that writes metadata into image files; one process serves a whole run.

It only sees copies with names of our own: no name of a user's file can be taken for an option or spoil the
lines in which it is told what to do.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from clipcli.errors import UsageError
from clipcli.output.filing.keywords import Keywords
from clipcli.output.filing.xmp import keywords_in

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
"""The files into which keywords can be embedded."""
_PROGRAM = "exiftool"


class ExifToolError(ValueError):
    """What exiftool says of a file that it cannot write."""


def check_installed() -> None:
    """See that there is an exiftool.

    Raises:
        UsageError: there is none.
    """
    if shutil.which(_PROGRAM) is None:
        raise UsageError(
            "embedding keywords needs the program exiftool, which is not installed",
            "Install it (on Debian and Ubuntu: apt install libimage-exiftool-perl), or write sidecars.",
        )


class ExifTool:
    """A running exiftool, in a context."""

    def __enter__(self) -> ExifTool:
        check_installed()
        self._folder = tempfile.TemporaryDirectory(prefix="clipcli-")
        self._calls = 0
        self._process = subprocess.Popen(
            [_PROGRAM, "-config", "", "-stay_open", "True", "-@", "-"],
            cwd=self._folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, who let it finish the image
            preexec_fn=_end_with_us(),  # noqa: PLW1509 (one call into libc, which is loaded before)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.communicate(b"-stay_open\nFalse\n")
        self._folder.cleanup()

    def keywords_in(self, content: bytes, path: str) -> Keywords:
        """The keywords in an image.

        Args:
            content: of the file.
            path: of the file, for its suffix.

        Raises:
            ExifToolError: it cannot be read.
            NotXmp: the keywords cannot.
        """
        return self._read(self._copied(content, path))

    def with_keywords(self, content: bytes, path: str, keywords: Keywords) -> bytes:
        """An image with these keywords in place of its own; arguments and errors as in `keywords_in`."""
        copy = self._copied(content, path)
        said = self._run(*_assignments(keywords), "-overwrite_original", copy.name).decode("utf-8", "replace")
        if "1 image files updated" not in said or not _same(self._read(copy), keywords):
            raise ExifToolError(said.strip().split(" - ")[0] or "exiftool has not written the keywords")
        return copy.read_bytes()

    def _copied(self, content: bytes, path: str) -> Path:
        copy = Path(self._folder.name) / f"image{os.path.splitext(path)[1].lower()}"
        copy.write_bytes(content)
        return copy

    def _read(self, path: Path) -> Keywords:
        _, start, packet = self._run("-q", "-q", "-b", "-XMP", path.name).partition(b"<")
        return keywords_in(start + packet)

    def _run(self, *arguments: str) -> bytes:
        """What exiftool answers to some arguments, none of which has a line break."""
        self._calls += 1
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n".join([*arguments, f"-execute{self._calls}\n"]).encode())
        self._process.stdin.flush()
        answer, end = b"", f"{{ready{self._calls}}}".encode()
        while not answer.rstrip().endswith(end):
            line = self._process.stdout.readline()
            if not line:
                raise ExifToolError("exiftool has ended")
            answer += line
        return answer.rstrip().removesuffix(end)


def _end_with_us() -> Callable[[], object] | None:
    """What lets exiftool end with this process even if that is killed; else it would wait for ever."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_death_signal, signal.SIGTERM)


def _assignments(keywords: Keywords) -> list[str]:
    """Arguments that set all keywords; the first of a list clears it."""
    lists = {"XMP-dc:Subject": keywords.subjects, "XMP-lr:HierarchicalSubject": keywords.paths}
    set_lists = [f"-{tag}={text}" for tag, texts in lists.items() for text in texts or [""]]
    return [*set_lists, f"-XMP-xmp:Rating={keywords.rating}"]


def _same(one: Keywords, other: Keywords) -> bool:
    return one.rating == other.rating and all(
        set(a) == set(b) for a, b in zip(one[:2], other[:2], strict=True)
    )
