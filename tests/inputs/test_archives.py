"""Archives: which of their members are images, what can be read, from where, and what is told of the rest."""

from __future__ import annotations

import io
import os
import pickle
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from archive_files import (
    SUFFIXES,
    archive,
    failures,
    found,
    items,
    png,
    stored,
    tar_bytes,
    zip64_bytes,
    zip_bytes,
)

from clipcli.errors import ImageError, UsageError
from clipcli.inputs import item as item_module
from clipcli.inputs.archives import file as file_module
from clipcli.inputs.archives import samples, spool, tape
from clipcli.inputs.archives import stored as limits
from clipcli.inputs.archives.file import ArchiveFile
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.opening import item_named
from clipcli.inputs.reading import Reading
from clipcli.records import ImageFailure, Item

MEMBERS = [("cat/1.png", png(1)), ("cat/2.PNG", png(2)), ("notes.md", b"no image"), ("dog/é 日.png", png(3))]
PATHS = ["cat/1.png", "cat/2.PNG", "dog/é 日.png"]
PACKED = (".tar.gz", ".tar.zst")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(item: Item | ImageFailure) -> bytes:
    assert not isinstance(item, ImageFailure)
    content = item.read()
    assert isinstance(content, bytes)
    return content


def name_of(item: Item | ImageFailure) -> str:
    return item.image if isinstance(item, ImageFailure) else item.name


# --- All kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_images_are_read_in_the_order_of_the_archive(suffix: str, tmp_path: Path) -> None:
    archive(tmp_path / f"a{suffix}", MEMBERS)
    listed = items(f"a{suffix}")
    assert [one.name for one in listed] == [f"a{suffix}!/{path}" for path in PATHS]
    contents = dict(MEMBERS)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, reversed(listed))) == [contents[path] for path in reversed(PATHS)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_item_can_be_sent_to_another_process(suffix: str, tmp_path: Path) -> None:
    archive(tmp_path / f"a{suffix}", MEMBERS)
    listed = items(f"a{suffix}")
    sent = pickle.loads(pickle.dumps(listed))
    assert sent == listed
    assert [read(one) for one in sent] == [read(one) for one in listed]
    assert [read(one) for one in sent] == [read(one) for one in listed], "a second time"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_is_found_again_by_its_name(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / f"a{suffix}", MEMBERS)
    monkeypatch.setattr(file_module, "RACY_SECONDS", -9)  # it was made just now
    for one in items(f"a{suffix}"):
        named = item_named(one.name, {"a": 1})
        assert not isinstance(named, ImageFailure)
        assert (named.name, named.columns, named.version()) == (one.name, {"a": 1}, one.version())
        assert named.version() is not None
        assert read(named) == read(one)
        assert items(one.name) == [item_named(one.name)]
    gone = item_named(f"a{suffix}!/cat/3.png")
    assert not isinstance(gone, ImageFailure) and gone.version() is None
    with pytest.raises(ImageError, match="no such file in the archive"):
        gone.read()


def test_a_path_that_is_there_is_no_member(tmp_path: Path) -> None:
    (tmp_path / "a.zip!").mkdir()
    (tmp_path / "a.zip!/1.png").write_bytes(b"the file")
    archive(tmp_path / "a.zip", [("1.png", png(1)), ("2.png", png(2))])
    assert read(item_named("a.zip!/1.png")) == b"the file"
    assert read(item_named("a.zip!/2.png")) == png(2)
    with pytest.raises(UsageError, match="no such file or folder"):
        Inputs(("gone.zip!/1.png",))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_versions_change_with_the_archive_and_tell_members_apart(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "RACY_SECONDS", -9)
    path = archive(tmp_path / f"a{suffix}", MEMBERS)
    before = [one.version() for one in items(path)]
    assert len(set(before)) == 3 and None not in before
    assert [one.version() for one in items(path)] == before
    archive(path, [(name, data + b"\0") for name, data in MEMBERS])
    assert not {one.version() for one in items(path)} & set(before)
    monkeypatch.undo()
    assert {one.version() for one in items(path)} == {None}, "it may change again within this moment"


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_an_archive_that_changes_while_it_is_read_gives_no_other_image(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    monkeypatch.setattr(spool, "IN_FILES", 0)
    path = archive(tmp_path / f"a{suffix}", [("1.png", png(1)), ("2.png", png(2))])
    first, _ = items(path)
    archive(path, [("1.png", png(2)), ("2.png", png(1))])
    with pytest.raises(ImageError, match="was changed after it was listed"):
        first.read()


# --- Which members -------------------------------------------------------------------------------

ODD = [
    ("a.png", png(1)),
    (".hidden.png", png(2)),
    (".folder/b.png", png(3)),
    ("__MACOSX/._a.png", b"litter"),
    ("x/._a.png", b"litter"),
    ("x/.DS_Store", b"litter"),
    ("x/drafts/c.png", png(4)),
    ("x/d.jpg", png(5)),
    ("x/nested.zip", b"PK"),
    ("x/readme.txt", b"text"),
    ("../up.png", png(6)),
    ("/absolute.png", png(7)),
]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_hidden_files_and_archives_in_archives_are_left_out_and_counted(suffix: str, tmp_path: Path) -> None:
    path = archive(tmp_path / f"a{suffix}", ODD)
    inputs = Inputs((str(path),))
    names = [name_of(one).partition("!/")[2] for one in inputs]
    assert names == ["a.png", "x/drafts/c.png", "x/d.jpg", "../up.png", "/absolute.png"]
    assert inputs.left_out.reasons == {"hidden": 2, "nested": 1}
    assert inputs.left_out.suffixes == {".txt": 1}
    assert [read(one) for one in inputs] == [png(1), png(4), png(5), png(6), png(7)]
    assert not (tmp_path.parent / "up.png").exists()


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_patterns_match_the_path_in_the_archive(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    archive(tmp_path / "folder" / f"a{suffix}", ODD)
    taken = items("folder", archives=True, include=("x/**",), exclude=("drafts/",))
    assert [one.name for one in taken] == [f"folder/a{suffix}!/x/d.jpg"]
    assert [one.name for one in items(f"folder/a{suffix}", include=("*.JPG", "/a.png"))] == [
        f"folder/a{suffix}!/a.png"
    ]
    assert found("folder", archives=True, exclude=(f"*{suffix}",)) == []


def test_archives_in_folders_are_read_only_if_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    archive(tmp_path / "folder/a.zip", [("1.png", png(1))])
    archive(tmp_path / "folder/c.tar", [("2.png", png(2))])
    stored(tmp_path / "folder/b.png", png(3))
    names = ["folder/a.zip!/1.png", "folder/b.png", "folder/c.tar!/2.png"]
    assert [one.name for one in items("folder", archives=True)] == names
    inputs = Inputs(("folder",))
    assert [name_of(one) for one in inputs] == ["folder/b.png"]
    assert inputs.left_out.kinds == {"archive": 2}
    assert [one.name for one in items("folder/*.zip", "folder/*.tar")] == [names[0], names[2]]


def test_what_tells_how_a_tar_is_packed_is_its_content(tmp_path: Path) -> None:
    archive(tmp_path / "a.tar.gz", MEMBERS).rename(tmp_path / "a.tar")
    assert [read(one) for one in items("a.tar")] == [png(1), png(2), png(3)]


def test_the_names_of_a_tar_of_a_folder_have_no_dot_before_them(tmp_path: Path) -> None:
    archive(tmp_path / "a.tar", [("./b/1.png", png(1)), (".//2.png", png(2))])
    assert [one.name for one in items("a.tar")] == ["a.tar!/b/1.png", "a.tar!/2.png"]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.zst"])
def test_of_several_members_of_one_name_the_first_is_read(suffix: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name") if suffix == ".zip" else nothing():
        path = archive(tmp_path / f"a{suffix}", [("1.png", png(1)), ("1.png", png(2))])
    one, two = found(path)
    assert read(one) == png(1) == read(item_named(f"{path}!/1.png"))
    assert isinstance(two, ImageFailure)
    assert two.reason.startswith("another member of this name comes before it")


class nothing:
    """A context without effect."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    zipped = zip_bytes([("caXY.png", png(1)), ("dog.png", png(2))])
    stored(tmp_path / "a.zip", zipped.replace(b"caXY.png", "caé.png".encode()))
    stored(tmp_path / "b.zip", zipped.replace(b"caXY.png", b"ca\xff\xe9.png"))
    assert [one.name for one in items("a.zip")] == ["a.zip!/caé.png", "a.zip!/dog.png"]
    assert items("b.zip")[0].name == "b.zip!/ca" + b"\xff\xe9".decode("cp437") + ".png"
    stored(tmp_path / "c.tar", tar_bytes([("ca\udcff.png", png(1))], pax_headers={}))
    assert [one.name for one in items("c.tar")] == ["c.tar!/ca\udcff.png"]
    assert [read(item_named(one.name)) for one in items("b.zip", "c.tar")] == [png(1), png(2), png(1)]


# --- What cannot be read -------------------------------------------------------------------------


def special(kind: bytes, name: str = "link.png") -> bytes:
    """A tar with an image and a member of another kind."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name_, type_ in (("1.png", tarfile.REGTYPE), (name, kind), ("folder.png", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name_)
            member.type, member.linkname = type_, "1.png"
            member.size = len(png(1)) if type_ == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(png(1)))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "a link in an archive"),
        (tarfile.LNKTYPE, "a link in an archive"),
        (tarfile.FIFOTYPE, "not a regular file"),
        (tarfile.CHRTYPE, "not a regular file"),
    ],
)
def test_links_and_devices_in_a_tar_are_failures_and_folders_are_not(
    kind: bytes, reason: str, tmp_path: Path
) -> None:
    image, failed = found(stored(tmp_path / "a.tar", special(kind)))
    assert read(image) == png(1)
    assert isinstance(failed, ImageFailure)
    assert failed.image.endswith("a.tar!/link.png") and failed.reason.startswith(reason)
    with pytest.raises(ImageError, match=reason):
        read(item_named(failed.image))


def test_links_in_a_zip_are_failures(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        link = zipfile.ZipInfo("link.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("folder.png/", "")
    ((_, reason),) = failures(found("a.zip"))
    assert reason == "a link in an archive, which is not followed"


def test_encrypted_members_are_failures_and_others_are_read(tmp_path: Path) -> None:
    data = bytearray(zip_bytes([("1.png", png(1)), ("2.png", png(2))]))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    failed, image = found(stored(tmp_path / "a.zip", bytes(data)))
    assert isinstance(failed, ImageFailure) and failed.reason.startswith("encrypted: ")
    assert read(image) == png(2)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_all_methods_of_zip(method: int, tmp_path: Path) -> None:
    data = zip_bytes([("1.png", png(1)), ("2.png", png(2))], method)
    one, two = items(stored(tmp_path / "a.zip", data))
    assert (read(one), read(two)) == (png(1), png(2))
    damaged = bytearray(data)
    start = data.index(b"1.png") + 5 + 9
    damaged[start + 60 : start + 80] = bytes(20)
    one, two = items(stored(tmp_path / "b.zip", bytes(damaged)))
    with pytest.raises(ImageError, match="the archive is damaged"):
        one.read()
    assert read(two) == png(2)


def test_zstandard_in_zip_and_methods_that_nobody_knows(tmp_path: Path) -> None:
    from clipcli.inputs.archives.zstd import compress

    packed = compress(png(1))
    data = zip_bytes([("1.png", packed)], zipfile.ZIP_STORED)
    for method in (93, 98):
        changed = bytearray(data)
        for mark, place, crc in ((b"PK\x03\x04", 8, 14), (b"PK\x01\x02", 10, 16)):
            at = data.index(mark)
            changed[at + place : at + place + 2] = method.to_bytes(2, "little")
            changed[at + crc : at + crc + 4] = zlib.crc32(png(1)).to_bytes(4, "little")
            changed[at + crc + 8 : at + crc + 12] = len(png(1)).to_bytes(4, "little")
        stored(tmp_path / f"{method}.zip", bytes(changed))
    assert read(items("93.zip")[0]) == png(1)
    assert [reason for _, reason in failures(found("98.zip"))] == [
        "compressed by method 98, which is not supported: unpack the archive first"
    ]


NUMBERED = [(f"{number}.png", png(number, side=200)) for number in range(6)]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.97])
def test_a_truncated_archive_gives_the_members_before_the_damage_and_one_failure(
    suffix: str, part: float, tmp_path: Path
) -> None:
    whole = archive(tmp_path / f"a{suffix}", NUMBERED).read_bytes()
    stored(tmp_path / f"a{suffix}", whole[: int(len(whole) * part)])
    *images, last = found(f"a{suffix}")
    assert 0 < len(images) <= 6
    assert [read(one) for one in images] == [data for _, data in NUMBERED[: len(images)]]
    assert isinstance(last, ImageFailure) and last.image == f"a{suffix}"
    assert "truncated" in last.reason or "found without its directory" in last.reason


def test_a_truncated_zip_that_was_written_to_a_pipe(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in NUMBERED:
            zipped.writestr(name, data)
    whole = pipe.getvalue()
    assert [read(one) for one in items(stored(tmp_path / "a.zip", whole))] == [data for _, data in NUMBERED]
    *images, last = found(stored(tmp_path / "b.zip", whole[: len(whole) // 2]))
    assert [read(one) for one in images] == [data for _, data in NUMBERED[: len(images)]]
    assert len(images) == 3 and isinstance(last, ImageFailure)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_without_an_end_mark_or_with_a_damaged_header_is_told(suffix: str, tmp_path: Path) -> None:
    whole = tar_bytes(NUMBERED)
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    header = whole.index(b"3.png")
    pack = __import__("gzip").compress if suffix == ".tar.gz" else bytes
    for damaged, count in ((whole[:end], 6), (whole[:header] + b"X" * 512 + whole[header + 512 :], 3)):
        *images, last = found(stored(tmp_path / f"a{suffix}", pack(damaged)))
        assert [read(one) for one in images] == [data for _, data in NUMBERED[:count]]
        assert isinstance(last, ImageFailure)
        assert f"its first {count} members are read, and what followed is lost" in last.reason


@pytest.mark.parametrize("suffix", PACKED)
def test_a_wrong_checksum_of_a_compressed_archive_is_told(suffix: str, tmp_path: Path) -> None:
    path = archive(tmp_path / f"a{suffix}", NUMBERED)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    listed = found(stored(path, bytes(data)))
    assert isinstance(listed[-1], ImageFailure) and listed[-1].image == str(path)
    assert "damaged" in listed[-1].reason


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_archive_is_one_failure(suffix: str, tmp_path: Path) -> None:
    for content, reason in ((b"", "empty file"), (b"no archive at all" * 99, "not a .(zip|tar) file")):
        stored(tmp_path / f"a{suffix}", content)
        (failed,) = found(f"a{suffix}")
        assert isinstance(failed, ImageFailure)
        assert pytest.importorskip("re").match(reason, failed.reason), failed.reason


# --- Bombs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_a_member_that_is_too_large_is_not_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / f"a{suffix}", [("1.png", os.urandom(3000)), ("2.png", png(2))])
    monkeypatch.setattr(item_module, "MAX_BYTES", 2000)
    failed, image = found(f"a{suffix}")
    assert isinstance(failed, ImageFailure) and failed.reason.startswith("too large: ")
    assert read(image) == png(2)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.zst"])
def test_what_becomes_hundreds_of_times_larger_is_not_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(
        tmp_path / f"a{suffix}", [("1.png", png(1)), ("2.png", bytes(8_000_000)), ("3.bin", bytes(9_000_000))]
    )
    monkeypatch.setattr(limits, "FREE_BYTES", 2_000_000)
    image, failed = found(f"a{suffix}")
    assert read(image) == png(1)
    assert isinstance(failed, ImageFailure) and failed.reason.startswith("suspicious: ")
    monkeypatch.setattr(limits, "FREE_BYTES", 2**28)
    assert len(items(f"a{suffix}")) == 2


def test_a_member_that_is_larger_than_it_says_is_not_unpacked_further(tmp_path: Path) -> None:
    data = zip_bytes([("1.png", bytes(50_000_000))])
    for size in (49_999_999, 50_000_001, 100):
        changed = bytearray(data)
        for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            at = data.index(mark) + place
            changed[at : at + 4] = size.to_bytes(4, "little")
        (one,) = items(stored(tmp_path / "a.zip", bytes(changed)))
        with pytest.raises(ImageError, match="not the size that it should have"):
            one.read()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_header_as_large_as_a_bomb_is_not_read(suffix: str, tmp_path: Path) -> None:
    header = tarfile.TarInfo("@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 2**31
    data = tar_bytes([("1.png", png(1))]).rstrip(b"\0")
    data += bytes(-len(data) % 512) + header.tobuf(tarfile.GNU_FORMAT) + bytes(100_000)
    data = __import__("gzip").compress(data) if suffix == ".tar.gz" else data
    image, failed = found(stored(tmp_path / f"a{suffix}", data))
    assert read(image) == png(1)
    assert isinstance(failed, ImageFailure) and "a header of 2147 MB" in failed.reason


# --- Many members --------------------------------------------------------------------------------


@pytest.mark.long
def test_a_zip_of_100_000_members_is_zip64_and_all_are_found(tmp_path: Path) -> None:
    data = png(1)
    (tmp_path / "a.zip").write_bytes(zip64_bytes((f"{number}.png" for number in range(100_000)), data))
    listed = items("a.zip")
    assert len(listed) == 100_000
    assert [read(listed[number]) == data for number in (0, 65_536, 99_999)] == [True] * 3
    assert read(item_named("a.zip!/70000.png")) == data


def test_headers_of_64_bits_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in NUMBERED:
            with zipped.open(name, "w", force_zip64=True) as member:
                member.write(data)
    assert [read(one) for one in items("a.zip")] == [data for _, data in NUMBERED]
    whole = (tmp_path / "a.zip").read_bytes()
    *images, last = found(stored(tmp_path / "b.zip", whole[: whole.index(b"PK\x01\x02") - 10]))
    assert [read(one) for one in images] == [data for _, data in NUMBERED[:5]]
    assert isinstance(last, ImageFailure)


# --- Compressed archives -------------------------------------------------------------------------


@pytest.fixture
def unpacked_bytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many bytes were unpacked until now."""
    count = [0]
    forward = tape.Tape._forward

    def counting(self: Any, size: int) -> bytes:
        data = forward(self, size)
        count[0] += len(data)
        return data

    monkeypatch.setattr(tape.Tape, "_forward", counting)
    monkeypatch.setattr(samples, "_LOOKED_AT", 0)  # no columns are looked for
    return lambda: count[0]


MANY = [(f"{number}.png", png(number) * 10) for number in range(100)]


@pytest.mark.parametrize("suffix", PACKED)
def test_a_compressed_archive_is_unpacked_once_in_a_pass(
    suffix: str, tmp_path: Path, unpacked_bytes: Callable[[], int]
) -> None:
    archive(tmp_path / f"a{suffix}", MANY)
    size = len(tar_bytes(MANY))
    for one, (_, data) in zip(Inputs((f"a{suffix}",)), MANY, strict=True):
        assert read(one) == data
    assert unpacked_bytes() == size
    assert len([one.version() for one in Inputs((f"a{suffix}",)) if not isinstance(one, ImageFailure)]) == 100
    assert unpacked_bytes() == 2 * size


@pytest.mark.parametrize(("in_memory", "in_files"), [(20_000, 5), (0, 3), (0, 0)])
def test_who_looks_far_ahead_reads_the_archive_again(
    in_memory: int,
    in_files: int,
    tmp_path: Path,
    unpacked_bytes: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", in_memory)
    monkeypatch.setattr(spool, "IN_FILES", in_files)
    listed = items(archive(tmp_path / "a.tar.gz", MANY))
    held = [one for one in listed if getattr(one, "stored").held is not None]  # noqa: B009
    assert len(held) == in_memory // len(MANY[0][1]) + in_files
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, listed)) == [data for _, data in MANY]
    assert unpacked_bytes() <= 2 * len(tar_bytes(MANY))
    held.clear()
    assert len([one for one in items("a.tar.gz") if getattr(one, "stored").held]) > 0 or not in_files  # noqa: B009


def test_room_for_contents_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 100)
    monkeypatch.setattr(spool, "IN_FILES", 1)
    waiting = spool.Waiting()
    for _ in range(10):
        one, two, three = waiting.hold(b"x" * 100), waiting.hold(b"y" * 50), waiting.hold(b"z")
        assert one and two and three is None
        assert (one.take(), one.take()) == (b"x" * 100, None)
        del two
    assert (waiting._bytes, waiting._files) == (0, 0)


def test_the_beginning_of_an_archive_is_unpacked_no_further_than_needed(
    tmp_path: Path, unpacked_bytes: Callable[[], int]
) -> None:
    path = archive(tmp_path / "a.tar.gz", [(f"{n}.png", os.urandom(400_000)) for n in range(20)])
    listed = items(path)
    before = unpacked_bytes()
    read(pickle.loads(pickle.dumps(listed[0])))
    assert unpacked_bytes() == before, "the content travels"
    for one in listed:
        getattr(one, "stored").held.take()  # noqa: B009
    read(listed[1])
    assert 800_000 <= unpacked_bytes() - before <= 3_000_000


def test_archives_are_forgotten_in_a_process_that_was_forked_off(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", MANY)
    name = f"{path}!/5.png"
    assert read(item_named(name)) == MANY[5][1]
    child = os.fork()
    if child == 0:
        os._exit(0 if read(item_named(name)) == MANY[5][1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert read(item_named(name)) == MANY[5][1]


def test_an_archive_that_may_not_be_read(tmp_path: Path) -> None:
    (failed,) = (
        list(Inputs(("a.zip",), reading=Reading()))
        if archive(tmp_path / "a.zip", MEMBERS).unlink()
        else [ImageFailure("a.zip", "")]
    )
    assert isinstance(failed, ImageFailure)
    with pytest.raises(ImageError, match="no such file"):
        ArchiveFile.at("a.zip")
