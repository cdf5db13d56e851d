"""Which images are found, in which order, and what is said of those that are not there."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from conftest import PEAK_MEGABYTES
from fakes import names

from clipcli.errors import UsageError
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.item import FileItem
from clipcli.records import ImageFailure

Unprivileged = Callable[[], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*paths: str, **options: tuple[str, ...]) -> list[str | ImageFailure]:
    return names(Inputs(paths, **options))  # type: ignore[arg-type]


# --- Folders -------------------------------------------------------------------------------------


def test_a_folder_is_walked_by_name_each_folder_as_a_whole() -> None:
    touch("in/b.png", "in/a.png", "in/C.png", "in/a/2.png", "in/a/10.png", "in/ä.png")
    assert found("in") == ["in/C.png", "in/a/10.png", "in/a/2.png", "in/a.png", "in/b.png", "in/ä.png"]


def test_inputs_keep_the_order_in_which_they_are_named() -> None:
    touch("in/1.png", "z.png", "a.png")
    assert found("z.png", "in", "a.png", "z.png") == ["z.png", "in/1.png", "a.png", "z.png"]


def test_the_current_folder_and_absolute_folders() -> None:
    touch("in/1.png")
    assert found(".") == ["./in/1.png"]
    assert found(str(Path.cwd())) == [str(Path.cwd() / "in/1.png")]
    assert found("in/") == ["in/1.png"]


def test_hidden_files_and_macos_litter_are_left_out() -> None:
    touch("in/.a.png", "in/._b.png", "in/.git/c.png", "in/__MACOSX/d.png", "in/e.png")
    assert found("in") == ["in/e.png"]


def test_a_hidden_folder_that_is_named_is_walked() -> None:
    touch(".photos/a.png")
    assert found(".photos") == [".photos/a.png"]


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "Jpeg", "PNG", "webp", "tif", "gif", "bmp", "avif", "JP2"])
def test_image_suffixes_in_any_case(suffix: str) -> None:
    touch(f"in/a.{suffix}")
    assert found("in") == [f"in/a.{suffix}"]


@pytest.mark.parametrize("name", ["a.txt", "a", "jpg", "a.jpg.part", "a.jpg~", "a.svg"])
def test_a_file_without_an_image_suffix_is_taken_only_when_it_is_named(name: str) -> None:
    touch(f"in/{name}")
    assert found("in") == []
    assert found(f"in/{name}") == [f"in/{name}"]


def test_names_that_look_like_globs_are_taken_as_they_are() -> None:
    touch("a[1].png", "a1.png", "in [2024]/b*.png")
    assert found("a[1].png", "in [2024]") == ["a[1].png", "in [2024]/b*.png"]


@pytest.mark.skipif(sys.platform == "darwin", reason="every name is UTF-8 there")
def test_names_that_are_not_utf8_keep_their_bytes() -> None:
    Path("in").mkdir()
    with open(b"in/caf\xe9.png", "w"):  # noqa: PTH123 (bytes)
        pass
    assert [os.fsencode(name) for name in found("in")] == [b"in/caf\xe9.png"]


# --- Include and exclude -------------------------------------------------------------------------

TREE = ("in/a.jpg", "in/b.png", "in/cats/c.jpg", "in/cats/deep/d.jpg", "in/tmp/e.jpg", "in/x/tmp/f.png")


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (("*.png",), "b.png x/tmp/f.png"),
        (("*.png", "a.*"), "a.jpg b.png x/tmp/f.png"),
        (("/*.jpg",), "a.jpg"),
        (("cats/*.jpg",), "cats/c.jpg"),
        (("cats/**/*.jpg",), "cats/c.jpg cats/deep/d.jpg"),
        (("cats/",), "cats/c.jpg cats/deep/d.jpg"),
        (("*.jpg", "!c.jpg"), "a.jpg cats/deep/d.jpg tmp/e.jpg"),
        (("[ab].*",), "a.jpg b.png"),
        (("*.JPG",), ""),
    ],
)
def test_include(globs: tuple[str, ...], names: str) -> None:
    touch(*TREE)
    assert found("in", include=globs) == [f"in/{name}" for name in names.split()]


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (("*.jpg",), "b.png x/tmp/f.png"),
        (("tmp/",), "a.jpg b.png cats/c.jpg cats/deep/d.jpg"),
        (("tmp",), "a.jpg b.png cats/c.jpg cats/deep/d.jpg"),
        (("/tmp",), "a.jpg b.png cats/c.jpg cats/deep/d.jpg x/tmp/f.png"),
        (("cats/deep",), "a.jpg b.png cats/c.jpg tmp/e.jpg x/tmp/f.png"),
        (("cats", "x"), "a.jpg b.png tmp/e.jpg"),
        (("tmp/", "!e.jpg"), "a.jpg b.png cats/c.jpg cats/deep/d.jpg"),
        (("a.jpg/",), "a.jpg b.png cats/c.jpg cats/deep/d.jpg tmp/e.jpg x/tmp/f.png"),
        (("in",), "a.jpg b.png cats/c.jpg cats/deep/d.jpg tmp/e.jpg x/tmp/f.png"),
    ],
)
def test_exclude(globs: tuple[str, ...], names: str) -> None:
    touch(*TREE)
    assert found("in", exclude=globs) == [f"in/{name}" for name in names.split()]


def test_exclude_goes_before_include() -> None:
    touch(*TREE)
    assert found("in", include=("*.jpg",), exclude=("cats",)) == ["in/a.jpg", "in/tmp/e.jpg"]


@pytest.mark.parametrize("glob", ["!", "[z-a]"])
def test_a_malformed_glob_is_named(glob: str) -> None:
    touch("a.jpg")
    with pytest.raises(UsageError, match=r"`include`: not a glob: [!\[]"):
        Inputs((".",), include=(glob,))
    with pytest.raises(UsageError, match="`exclude`"):
        Inputs((".",), exclude=(glob,))


# --- Globs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("in/*.jpg", "in/a.jpg"),
        ("in/?.*", "in/a.jpg in/b.png"),
        ("in/[!a].*", "in/b.png"),
        ("in/c*", "in/cats/c.jpg in/cats/deep/d.jpg"),
        ("in/**/*.png", "in/b.png in/x/tmp/f.png"),
        ("**/c.jpg", "in/cats/c.jpg"),
        ("in/**/tmp", "in/tmp/e.jpg in/x/tmp/f.png"),
        ("in/**", "in/a.jpg in/b.png in/cats/c.jpg in/cats/deep/d.jpg in/tmp/e.jpg in/x/tmp/f.png"),
        ("../h*/in/**/*.png", "in/b.png in/x/tmp/f.png"),
        ("in/*", "in/a.jpg in/b.png in/cats/c.jpg in/cats/deep/d.jpg in/tmp/e.jpg in/x/tmp/f.png"),
    ],
)
def test_globs_name_every_image_once(glob: str, names: str) -> None:
    touch(*TREE)
    above = "../here/" if glob.startswith("..") else ""
    assert found(glob) == [above + name for name in names.split()]


def test_a_glob_takes_files_whatever_their_suffix() -> None:
    touch("in/scan.img")
    assert found("in/*.img") == ["in/scan.img"]


@pytest.mark.parametrize("glob", ["in/cat*", "in/**"])
def test_exclude_holds_in_folders_that_a_glob_finds(glob: str) -> None:
    touch("in/cats/tmp/a.png", "in/cats/b.png")
    assert found(glob, exclude=("tmp",)) == ["in/cats/b.png"]


@pytest.mark.parametrize("glob", ["in/*.jpg", "in/**/*.jpg", "*/nowhere/**", "in/\0/*", "\0*", "in/*/\0.tar"])
def test_a_glob_without_a_match_is_an_error(glob: str) -> None:
    touch("in/a.png")
    with pytest.raises(UsageError) as error:
        Inputs((glob,))
    assert error.value.message == f"nothing matches {glob}"


def test_a_malformed_pattern_after_the_stars_is_an_error() -> None:
    with pytest.raises(UsageError, match="not a glob"):
        Inputs(("**/[z-a].png",))


# --- Links, pipes and folders that cannot be read ------------------------------------------------


def test_a_linked_folder_is_followed() -> None:
    touch("elsewhere/a.png")
    Path("in").mkdir()
    Path("in/link").symlink_to("../elsewhere")
    assert found("in") == ["in/link/a.png"]


@pytest.mark.parametrize("paths", [("in",), ("in/**/*.png",), ("in/**",)])
def test_circles_of_links_end(paths: tuple[str, ...]) -> None:
    touch("in/a.png", "in/sub/b.png")
    Path("in/sub/back").symlink_to("..")
    Path("in/self").symlink_to(".")
    assert found(*paths) == ["in/a.png", "in/sub/b.png"]


def nest(name: str, depth: int) -> None:
    """Make folders in folders, step by step: no path of them all may be needed."""
    start = Path.cwd()
    try:
        for _ in range(depth):
            Path(name).mkdir()
            os.chdir(name)
    finally:
        os.chdir(start)


def test_folders_may_be_nested_a_thousand_deep() -> None:
    nest("a", 1500)
    picture = "a/" * 1500 + "x.png"
    touch("a/b.png")
    open(picture, "w").close()  # noqa: PTH123 (pathlib would recurse)
    assert found("a") == [picture, "a/b.png"]
    subprocess.run(["rm", "-rf", "a"], check=True)  # which pytest could not


def test_a_folder_deeper_than_a_path_can_name_is_a_failure() -> None:
    name = "d" * 200
    nest(name, 25)  # past PATH_MAX, 4096 on Linux
    touch(f"{name}/z.png")
    failure, last = found(name)
    assert isinstance(failure, ImageFailure)
    assert failure.reason == "folder cannot be read: File name too long"
    assert last == f"{name}/z.png"
    subprocess.run(["rm", "-rf", name], check=True)


@pytest.mark.parametrize("count", [9, 10, 11, 20, 25])
def test_a_long_folder_is_sorted_in_parts(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number * 7 % count}-ä\n,'x.png" for number in range(count)]
    touch(*(f"in/{name}" for name in names), "in/5-/y.png")
    whole = found("in")
    monkeypatch.setattr("clipcli.inputs.walk._SORT_CHUNK", 5)
    assert found("in") == whole
    assert sorted(whole) == sorted([*(f"in/{name}" for name in names), "in/5-/y.png"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak of memory from /proc")
def test_a_folder_of_very_many_files_needs_no_memory() -> None:
    Path("in").mkdir()
    for number in range(60_000):
        os.mknod(f"in/{number * 7919 % 60_000:0240}.png")
    script = """
from clipcli.inputs import walk
from clipcli.inputs.inputs import Inputs
before, last, count = peak_megabytes(), "", 0
walk._SORT_CHUNK //= 10
for item in Inputs(("in",)):
    assert item.name > last
    last, count = item.name, count + 1
print(count, peak_megabytes() - before)
"""
    script = script.replace(
        "import resource", "import resource, clipcli.inputs.walk as s; s._SORT_CHUNK //= 10"
    )
    command = [sys.executable, "-c", PEAK_MEGABYTES + script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, grown = done.stdout.split()
    assert int(count) == 60_000
    assert float(grown) < 12, "megabytes; all the names together are 18"


def test_a_dangling_link_keeps_its_row() -> None:
    Path("in").mkdir()
    Path("in/gone.png").symlink_to("nowhere.png")
    Path("in/gone").symlink_to("nowhere")
    Path("in/self.png").symlink_to("self.png")
    assert found("in") == ["in/gone.png", "in/self.png"]
    assert found("in/gone") == ["in/gone"]


def test_devices_in_a_folder_are_skipped_but_kept_when_named() -> None:
    Path("in").mkdir()
    try:
        os.mknod("in/zero.png", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root may make a device")
    assert found("in") == []
    assert found("in/zero.png") == ["in/zero.png"]


def test_pipes_in_a_folder_are_skipped_but_kept_when_named() -> None:
    Path("in").mkdir()
    os.mkfifo("in/pipe.png")
    assert found("in") == []
    assert found("in/pipe.png") == ["in/pipe.png"]


def test_a_folder_that_vanishes_is_a_failure_and_the_walk_goes_on() -> None:
    touch("in/a/1.png", "in/b/2.png", "in/c/3.png")
    walk = iter(Inputs(("in",)))
    assert names([next(walk)]) == ["in/a/1.png"]
    Path("in/b/2.png").unlink()
    Path("in/b").rmdir()
    failure, last = names(walk)
    assert failure == ImageFailure("in/b", "folder cannot be read: No such file or directory")
    assert last == "in/c/3.png"


def test_a_folder_without_permission_is_a_failure(unprivileged: Unprivileged) -> None:
    touch("in/a/1.png", "in/b.png")
    Path("in/a").chmod(0)
    with unprivileged():
        assert found("in") == [ImageFailure("in/a", "folder cannot be read: Permission denied"), "in/b.png"]


def test_a_file_that_vanishes_keeps_its_row() -> None:
    touch("a.png")
    inputs = Inputs(("a.png",))
    Path("a.png").unlink()
    assert names(inputs) == ["a.png"]


# --- What is not there ---------------------------------------------------------------------------


def test_nothing_named() -> None:
    with pytest.raises(UsageError, match="no images given"):
        Inputs()


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("photos/holliday", "Did you mean photos/holiday?"),
        ("photo", "Did you mean photos?"),
        ("photos/holiday/imge.png", "Did you mean photos/holiday/image.png?"),
        ("zzz", ""),
        ("nowhere/a.png", ""),
        ("nul\0/a.png", ""),
        ("x" * 300, ""),
    ],
)
def test_a_missing_path_suggests_a_near_name(path: str, hint: str) -> None:
    touch("photos/holiday/image.png")
    with pytest.raises(UsageError) as error:
        Inputs((path,))
    assert error.value.message == f"no such file or folder: {path}"
    assert error.value.hint == hint


# --- Lists ---------------------------------------------------------------------------------------


def listed(content: bytes) -> list[str | ImageFailure]:
    Path("list").write_bytes(content)
    return names(Inputs(from_file="list"))


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        (b"a.png\nb c.png\n", ["a.png", "b c.png"]),
        (b"a.png\nb.png", ["a.png", "b.png"]),
        (b"a.png\r\nb.png\r\n", ["a.png", "b.png"]),
        (b"a.png\n\n  \r\nb.png\n\n", ["a.png", "b.png"]),
        (b" a.png \n", [" a.png "]),
        (b"a.png\0b\nc.png\0 \0", ["a.png", "b\nc.png", " "]),
        (b"a.png\0b.png\r\0", ["a.png", "b.png\r"]),
        (b"\xef\xbb\xbfa.png\nb.png\n", ["a.png", "b.png"]),
        (b'in, "quoted".png\n#1.png\n', ['in, "quoted".png', "#1.png"]),
        (b"", []),
        (b"\n", []),
    ],
)
def test_list_files(content: bytes, paths: list[str]) -> None:
    assert listed(content) == paths


def test_listed_names_that_are_not_utf8_keep_their_bytes() -> None:
    assert [os.fsencode(path) for path in listed(b"caf\xe9.png\nna\xc3\xafve.png\n")] == [  # type: ignore[arg-type]
        b"caf\xe9.png",
        "naïve.png".encode(),
    ]


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_a_long_list_cut_at_any_place_is_whole(separator: str) -> None:
    names = [f"folder {number % 7}/{'ü' * (number % 90)}{number}.png" for number in range(5_000)]
    content = separator.join(names).encode()
    assert len(content) > 5 * 65_536
    assert listed(content) == names


def test_a_name_longer_than_a_chunk_is_whole() -> None:
    names = ["a" * 200_000, "b.png"]
    assert listed("\n".join(names).encode()) == names


def test_a_file_without_names_is_not_read_to_its_end(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"x" * 2**21)
    os.truncate(film, 2**33)
    with pytest.raises(UsageError, match="not a list of images: a name of more than 1048576 bytes"):
        names(Inputs(from_file=str(film)))


def test_paths_come_before_the_list() -> None:
    touch("z.png")
    Path("list").write_text("a.png\n")
    assert names(Inputs(("z.png",), from_file="list")) == ["z.png", "a.png"]


@pytest.mark.parametrize("name", ["missing", "folder", "x" * 300])
def test_a_list_that_is_no_file_is_an_error(name: str) -> None:
    Path("folder").mkdir()
    with pytest.raises(UsageError, match=f"no such list file: {name}"):
        Inputs(from_file=name)


def test_a_list_without_permission_is_an_error(unprivileged: Unprivileged) -> None:
    touch("list")
    Path("list").chmod(0)
    with unprivileged(), pytest.raises(UsageError, match="list file cannot be read: list"):
        Inputs(from_file="list")


# --- Standard input and pipes --------------------------------------------------------------------


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put a pipe on standard input; each part is written when the one before has been read."""
    writers = []

    def pipe(*parts: bytes) -> None:
        reader, writer = os.pipe()
        stdin = io.TextIOWrapper(io.BufferedReader(_Stepwise(reader, writer, parts)))
        monkeypatch.setattr(sys, "stdin", stdin)
        writers.append(stdin)

    yield pipe
    for stdin in writers:
        stdin.close()


class _Stepwise(io.FileIO):
    """The reading end of a pipe that writes its own next part, so that no two parts arrive together."""

    def __init__(self, reader: int, writer: int, parts: tuple[bytes, ...]) -> None:
        super().__init__(reader)
        self.writer, self.parts = writer, list(parts)

    def readinto(self, buffer: bytearray) -> int | None:  # type: ignore[override]
        if self.parts:
            os.write(self.writer, self.parts.pop(0))
        elif self.writer >= 0:
            os.close(self.writer)
            self.writer = -1
        return super().readinto(buffer)


@pytest.mark.parametrize("inputs", [{"paths": ("-",)}, {"from_file": "-"}])
def test_paths_come_from_standard_input(inputs: dict[str, str], piped: Callable[..., None]) -> None:
    piped(b"a.png\nb", b".png\nc.png")
    assert names(Inputs(**inputs)) == ["a.png", "b.png", "c.png"]  # type: ignore[arg-type]


def test_nul_is_noticed_though_the_first_part_holds_none(piped: Callable[..., None]) -> None:
    piped(b"a", b".png", b"\0b\n", b"c.png\0")
    assert names(Inputs(("-",))) == ["a.png", "b\nc.png"]


def test_the_first_path_is_there_before_the_pipe_ends(piped: Callable[..., None]) -> None:
    piped(b"a.png\n", b"b.png\n")
    paths = iter(Inputs(("-",)))
    assert names([next(paths)]) == ["a.png"]
    assert sys.stdin.buffer.raw.parts == [b"b.png\n"]  # type: ignore[attr-defined]
    assert names(paths) == ["b.png"]


def test_a_file_named_like_standard_input_is_not_taken_for_it() -> None:
    touch("-")
    assert found("./-") == ["./-"]
    assert Inputs(("./-",)).is_read_once is False


def test_a_pipe_as_list_file_is_read_and_known_to_be_read_once() -> None:
    os.mkfifo("pipe")
    inputs = Inputs(from_file="pipe")
    assert inputs.is_read_once
    writer = threading.Thread(target=Path("pipe").write_bytes, args=(b"a.png\nb.png\n",))
    writer.start()
    assert names(inputs) == ["a.png", "b.png"]
    writer.join()


@pytest.mark.parametrize(
    ("inputs", "once"),
    [
        ({"paths": ("-",)}, True),
        ({"from_file": "-"}, True),
        ({"paths": (".",)}, False),
        ({"paths": (".",), "from_file": "list"}, False),
    ],
)
def test_standard_input_is_known_to_be_read_once(inputs: dict[str, str], once: bool) -> None:
    touch("list", "-")
    assert Inputs(**inputs).is_read_once is once  # type: ignore[arg-type]


def found_in(folder: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> set[str]:
    found = Inputs((str(folder),), include=include, exclude=exclude)
    return {Path(item.name).name for item in found if isinstance(item, FileItem)}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", {"a.PNG", "b.png", "C.Png"}),
        ("*.PNG", {"a.PNG"}),
        ("[a-b].png", {"a.PNG", "b.png"}),
        ("!*.png", set()),
        ("c.*", {"C.Png"}),
        ("é?.jpg", {"É1.JPG"}),
    ],
)
def test_patterns_in_lower_case_match_any_case(tmp_path: Path, pattern: str, names: set[str]) -> None:
    for name in ("a.PNG", "b.png", "C.Png", "d.jpg", "É1.JPG"):
        (tmp_path / name).write_bytes(b"")
    assert found_in(tmp_path, include=(pattern,)) == names


def test_a_later_pattern_takes_back_an_earlier_one_in_any_case(tmp_path: Path) -> None:
    for name in ("a.PNG", "B.png"):
        (tmp_path / name).write_bytes(b"")
    assert found_in(tmp_path, include=("*.png", "!B.*")) == {"a.PNG"}
    assert found_in(tmp_path, exclude=("*.png", "!a.*")) == {"a.PNG"}
