"""`clipcli tag`: keywords in sidecars and images, which exiftool reads back; and the former bytes again."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result
from filing_runs import Commands, Held, held, predictions
from PIL import Image

from clipcli.output.filing.xmp import keywords_in

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="names of POSIX")
Cli = Callable[..., Result]
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")

SIDECAR = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmp:Rating="2"
    crs:Exposure2012="+0.50">
   <dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject>
   <dc:creator><rdf:Seq><rdf:li>Zoë</rdf:li></rdf:Seq></dc:creator>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


class Place:
    """A folder with photos and predictions of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.photos, self.table = folder, folder / "photos", folder / "predictions.csv"
        self.photos.mkdir()
        self.journal = folder / "clipcli-tag-1.jsonl"

    def add(self, name: str) -> Path:
        """A real image."""
        path = self.photos / name
        pixels = np.random.default_rng(len(name)).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        os.utime(path, ns=(1_500_000_000_123_456_789,) * 2)
        return path

    def predict(self, labels: dict[str, str], **columns: Any) -> None:
        for name in labels:
            if not (self.photos / name).exists():
                self.add(name)
        predictions(self.table, {self.photos / name: label for name, label in labels.items()}, **columns)

    def keywords(self, sidecar: str) -> tuple[Any, ...]:
        return tuple(keywords_in((self.photos / sidecar).read_bytes()))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def tag(run_cli: Cli, place: Place) -> Cli:
    """Tag by the predictions of `place`."""
    return lambda *options: run_cli("tag", place.table, *options)


def read_by_exiftool(path: Path, *tags: str) -> dict[str, Any]:
    command = ["exiftool", "-j", "-G1", *(f"-{one}" for one in tags), str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[0]
    del found["SourceFile"]
    return found


# --- Sidecars ------------------------------------------------------------------------------------


def test_without_apply_nothing_is_changed(tag: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "cat", "c.jpg": "unknown"})
    before = held(place.folder)
    result = tag()
    assert result.code == 0
    assert list(csv.reader(io.StringIO(result.out))) == [["keyword", "images"], ["cat", "2"]]
    assert "1 images have no label that would be written" in result.err
    assert held(place.folder) == before


@pytest.mark.parametrize(("names", "sidecar"), [("darktable", "a.jpg.xmp"), ("lightroom", "a.xmp")])
def test_labels_become_keywords_and_all_else_is_kept(
    names: str, sidecar: str, tag: Cli, run_cli: Cli, place: Place
) -> None:
    place.predict({"a.jpg": "cat", "new.jpg": "dog"}, group="animal")
    (place.photos / sidecar).write_text(SIDECAR)
    before = held(place.folder)
    assert tag("--sidecars", names, "--rating", "--apply").code == 0
    assert place.keywords(sidecar) == (("holiday", "cat"), ("animal|cat",), "2")
    assert place.keywords(sidecar.replace("a.", "new.", 1)) == (("dog",), ("animal|dog",), "5")
    assert 'crs:Exposure2012="+0.50"' in (place.photos / sidecar).read_text()
    assert held(place.photos)[b"a.jpg"] == before[b"photos/a.jpg"]
    assert run_cli("tag", "--undo", place.journal).code == 0
    assert held(place.folder) == before


def test_the_best_labels_above_a_score_are_used(tag: Cli, place: Place) -> None:
    image = place.add("a.jpg")
    with place.table.open("w") as file:
        file.write("image,rank,label,score,cosine,error,status,margin\n")
        for rank, (label, score) in enumerate([("cat", 0.5), ("a | b", 0.3), ("dog", 0.2)], 1):
            file.write(f"{image},{rank},{label},{score},0.1,,ok,0.2\n")
    assert "cat" in tag().out and "dog" not in tag().out
    assert tag("-k", 3, "--min-score", 0.25, "--apply").code == 0
    assert place.keywords("a.jpg.xmp") == (("cat", "a | b"), (), "")


def test_a_bar_in_a_label_is_no_level(tag: Cli, place: Place) -> None:
    place.predict({"a.jpg": "a|b"}, group="x|y")
    assert tag("--apply").code == 0
    assert place.keywords("a.jpg.xmp") == (("a|b",), ("x/y|a/b",), "")


def test_keywords_of_an_earlier_run_are_replaced(tag: Cli, run_cli: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "dog"})
    (place.photos / "a.jpg.xmp").write_text(SIDECAR)
    (place.photos / "b.jpg.xmp").write_text(SIDECAR.replace("holiday", "dog"))
    before = held(place.photos)
    assert tag("--apply").code == 0
    first = held(place.photos)
    place.predict({"a.jpg": "holiday", "b.jpg": "unknown"})
    assert tag("--apply").code == 0
    assert place.keywords("a.jpg.xmp")[0] == ("holiday",)
    assert place.keywords("b.jpg.xmp")[0] == ("dog",), "the user's own"
    assert run_cli("tag", "--undo", place.folder / "clipcli-tag-2.jsonl").code == 0
    assert held(place.photos) == first
    assert run_cli("tag", "--undo", place.journal).code == 0
    assert held(place.photos) == before


def test_what_has_changed_since_is_left_and_told(tag: Cli, run_cli: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "cat"})
    assert tag("--apply").code == 0
    edited = place.photos / "a.jpg.xmp"
    edited.write_text(edited.read_text().replace("cat", "lynx"))
    result = run_cli("tag", "--undo", place.journal)
    assert result.code == 3
    assert f"it has changed since: {edited}" in result.err
    assert "lynx" in edited.read_text()
    assert not (place.photos / "b.jpg.xmp").exists()
    assert place.journal.exists()


def test_what_cannot_be_tagged_is_told_and_left(tag: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat", "a.png": "dog", "b.jpg": "cat", "c.jpg": "!"})
    (place.photos / "b.xmp").write_text(f"<!DOCTYPE x>{SIDECAR[SIDECAR.index('<x:') :]}")
    with place.table.open("a") as file:
        file.write("gone.jpg,1,cat,0.9,0.3,\ns3://bucket/x.jpg,1,cat,0.9,0.3,\n")
    before = held(place.photos)
    result = tag("--sidecars", "lightroom", "--apply")
    assert result.code == 3
    for message in (
        "2 left where they are: another image has the same sidecar",
        "1 left where they are: it declares a document type",
        "1 left where they are: no such file: gone.jpg",
        "1 left where they are: not a file of its own on this computer: s3://bucket/x.jpg",
        "1 left where they are: it could not be read",
    ):
        assert message in result.err
    assert held(place.photos) == before


def test_a_sidecar_that_changes_while_it_is_written_is_left(
    tag: Cli, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipcli.output.filing import tagging

    place.predict({"a.jpg": "cat"})
    sidecar = place.photos / "a.jpg.xmp"
    real = tagging.with_keywords

    def meanwhile(*arguments: Any) -> bytes:
        sidecar.write_text(SIDECAR)
        return real(*arguments)

    monkeypatch.setattr(tagging, "with_keywords", meanwhile)
    assert tag("--apply").code == 3
    assert sidecar.read_text() == SIDECAR
    assert [path.name for path in place.photos.iterdir() if "partial" in path.name] == []


def test_a_sidecar_that_is_a_link_stays_one(tag: Cli, place: Place, tmp_path: Path) -> None:
    place.predict({"a.jpg": "cat"})
    (tmp_path / "real.xmp").write_text(SIDECAR)
    (tmp_path / "real.xmp").chmod(0o600)
    (place.photos / "a.jpg.xmp").symlink_to(tmp_path / "real.xmp")
    assert tag("--apply").code == 0
    assert (place.photos / "a.jpg.xmp").is_symlink()
    assert keywords_in((tmp_path / "real.xmp").read_bytes()).subjects == ("holiday", "cat")
    assert (tmp_path / "real.xmp").stat().st_mode & 0o777 == 0o600


@needs_exiftool
def test_exiftool_reads_sidecars_back_and_finds_all_else_the_same(tag: Cli, place: Place) -> None:
    place.predict({"a.jpg": 'Straße & <b> "q" 日本', "b.jpg": "2019"}, group="things")
    (place.photos / "a.jpg.xmp").write_text(SIDECAR)
    before = read_by_exiftool(place.photos / "a.jpg.xmp", "xmp:all")
    assert tag("--rating", "--apply").code == 0
    after = read_by_exiftool(place.photos / "a.jpg.xmp", "xmp:all")
    assert after.pop("XMP-dc:Subject") == ["holiday", 'Straße & <b> "q" 日本']
    assert after.pop("XMP-lr:HierarchicalSubject") == 'things|Straße & <b> "q" 日本'
    del before["XMP-dc:Subject"]
    assert after == before
    new = read_by_exiftool(place.photos / "b.jpg.xmp", "xmp:all")
    assert new["XMP-dc:Subject"] == 2019
    assert new["XMP-xmp:Rating"] == 5


# --- Embedded ------------------------------------------------------------------------------------


@pytest.fixture
def embedded(place: Place) -> Held:
    """Images of every kind, one of which has tags of its own."""
    names = ["a.jpg", "b.JPEG", "c.png", "d.tif", "new\nline.jpg", "-all= x.jpg", os.fsdecode(b"caf\xe9.png")]
    for name in names:
        place.add(name)
    if shutil.which("exiftool"):
        tags = ["-XMP-dc:Subject=holiday", "-XMP-dc:Creator=Zoë", "-EXIF:Artist=Zoe", "-IPTC:City=Rome"]
        subprocess.run(["exiftool", "-q", "-overwrite_original", *tags, place.photos / "a.jpg"], check=True)
    place.table = place.table.with_suffix(".jsonl")
    with place.table.open("w") as file:
        for name in names:
            row = {
                "image": f"photos/{name}",
                "rank": 1,
                "label": "cat\n-all=",
                "score": 0.9,
                "group": "animal",
            }
            file.write(json.dumps(row) + "\n")
    return held(place.photos)


@needs_exiftool
def test_keywords_are_embedded_and_the_former_bytes_come_back(
    tag: Cli, run_cli: Cli, place: Place, embedded: Held
) -> None:
    tags = read_by_exiftool(place.photos / "a.jpg", "xmp:all", "exif:all", "iptc:all")
    pixels = {path.name: np.asarray(Image.open(path)) for path in place.photos.iterdir()}
    result = tag("--embed", "--rating", "--apply")
    assert result.code == 0, result.err
    assert set(held(place.photos)) == set(embedded)
    command = ["exiftool", "-j", "-G1", "-xmp:all", str(place.photos)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert len(found) == len(embedded)
    for one in found:
        subjects = one["XMP-dc:Subject"]
        assert subjects == (["holiday", "cat -all="] if one["SourceFile"].endswith("/a.jpg") else "cat -all=")
        assert (one["XMP-lr:HierarchicalSubject"], one["XMP-xmp:Rating"]) == ("animal|cat -all=", 5)
    for path in place.photos.iterdir():
        assert (np.asarray(Image.open(path)) == pixels[path.name]).all()
    after = read_by_exiftool(place.photos / "a.jpg", "xmp:all", "exif:all", "iptc:all")
    assert {name: after[name] for name in tags if name not in ("XMP-dc:Subject", "XMP-x:XMPToolkit")} == {
        name: tag for name, tag in tags.items() if name not in ("XMP-dc:Subject", "XMP-x:XMPToolkit")
    }
    size = sum(path.stat().st_size for path in place.photos.iterdir())
    assert place.journal.stat().st_size < size, "not the images, only what differs"
    assert run_cli("tag", "--undo", place.journal).code == 0
    assert held(place.photos) == embedded


@needs_exiftool
def test_a_second_run_replaces_what_the_first_embedded(tag: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat"})
    assert tag("--embed", "--apply").code == 0
    place.predict({"a.jpg": "dog"})
    assert tag("--embed", "--apply").code == 0
    assert read_by_exiftool(place.photos / "a.jpg", "Subject") == {"XMP-dc:Subject": "dog"}


@needs_exiftool
def test_what_is_no_such_image_is_told_and_left(tag: Cli, place: Place) -> None:
    for name in ("a.webp", "b.jpg", "c.png"):
        place.add(name)
    (place.photos / "b.jpg").write_text("no JPEG")
    place.predict({"a.webp": "cat", "b.jpg": "cat", "c.png": "cat"})
    before = held(place.photos)
    result = tag("--embed", "--apply")
    assert result.code == 3
    assert "keywords can only be embedded into .jpg" in result.err
    assert "1 left where they are: Error: Not a valid JPG" in result.err
    after = held(place.photos)
    assert {name: after[name] for name in (b"a.webp", b"b.jpg")} == {
        name: before[name] for name in (b"a.webp", b"b.jpg")
    }


def test_without_exiftool_the_error_says_what_to_install(
    tag: Cli, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.predict({"a.jpg": "cat"})
    monkeypatch.setenv("PATH", "")
    result = tag("--embed", "--apply")
    assert result.code == 2
    assert "apt install libimage-exiftool-perl" in result.err


@needs_exiftool
def test_an_image_and_a_link_to_it_are_one(tag: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "dog"})
    (place.photos / "b.jpg").unlink()
    (place.photos / "b.jpg").symlink_to("a.jpg")
    result = tag("--embed", "--apply")
    assert "1 left where they are: named more than once" in result.err
    assert (place.photos / "b.jpg").is_symlink()
    assert read_by_exiftool(place.photos / "a.jpg", "Subject") == {"XMP-dc:Subject": "cat"}


def test_names_that_no_file_can_have_are_told(tag: Cli, place: Place, run_cli: Cli) -> None:
    place.table = place.table.with_suffix(".jsonl")
    names = ["half \ud83d/a.jpg", "half \ud83d.jpg"]
    place.table.write_text(
        "".join(json.dumps({"image": name, "rank": 1, "label": "cat"}) + "\n" for name in names)
    )
    for result in (tag(), tag("--embed"), run_cli("sort", place.table, "--into", place.folder / "out")):
        assert result.code == 3, result.err
        assert "left where they are" in result.err


# --- Kills ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with Commands() as commands:
        yield commands


def _orphans() -> list[int]:
    """Processes of exiftool whose parent is gone."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = status.read_text().rpartition(")")
            if "(exiftool" in name and rest.split()[1] == "1":
                found.append(int(status.parent.name))
    return found


@pytest.mark.parametrize("options", [(), pytest.param(("--embed",), marks=needs_exiftool)])
def test_a_run_is_killed_at_any_line_goes_on_and_is_undone(
    options: tuple[str, ...], commands: Commands, place: Place
) -> None:
    place.predict({f"{number}.jpg": f"label {number}" for number in range(6)})
    for number in range(3):
        (place.photos / f"{number}.jpg.xmp").write_text(SIDECAR.replace("holiday", f"mine {number}"))
    before, chance = held(place.photos), random.Random(5)
    command = ["tag", place.table, *options, "--apply", "-q"]
    kills = 0
    while kills < 3 and commands.killed_at(chance.randrange(1, 900), command):
        kills += 1
    commands.run(command)
    until = time.monotonic() + 20
    while _orphans() and time.monotonic() < until:
        time.sleep(0.05)
    assert not _orphans(), "an exiftool that nobody will ever tell to end"
    tagged = {name: one[0] for name, one in held(place.photos).items()}
    changed = [name for name, content in tagged.items() if before.get(name, ("",))[0] != content]
    assert sorted(changed) == [f"{number}.jpg{'' if options else '.xmp'}".encode() for number in range(6)]
    kills = 0
    while kills < 3 and commands.killed_at(chance.randrange(1, 500), ["tag", "--undo", place.journal, "-q"]):
        kills += 1
    if place.journal.exists():
        commands.run(["tag", "--undo", place.journal, "-q"])
    assert held(place.photos) == before
