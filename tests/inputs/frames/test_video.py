"""Which frames are taken of a video, and that each is the one that a player shows at its time."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import PEAK_MEGABYTES
from media_files import SIZE, frame_pixels, number_of, write_sound, write_video
from PIL import Image

from clipcli.errors import ImageError
from clipcli.inputs.frames import video, video_decoder
from clipcli.inputs.frames.parts import PartItem, part_of
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.item import BytesItem, FileItem
from clipcli.inputs.opening import item_named
from clipcli.inputs.reading import Reading
from clipcli.records import ImageFailure


def taken(path: Path, **options: float) -> list[PartItem]:
    items = list(Inputs((str(path),), reading=Reading(**options)))  # type: ignore[arg-type]
    assert all(isinstance(item, PartItem) for item in items), items
    return items  # type: ignore[return-value]


def times(path: Path, **options: float) -> list[str]:
    return [item.name.partition("#t=")[2] for item in taken(path, **options)]


def image(item: PartItem) -> Image.Image:
    found = item.read()
    assert isinstance(found, Image.Image)
    return found


def numbers(path: Path, **options: float) -> list[int]:
    return [number_of(image(item)) for item in taken(path, **options)]


def at(path: Path, seconds: float) -> PartItem:
    return part_of(FileItem(str(path)), "t", round(seconds * 1_000_000))


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    video._VIDEOS.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of ten frames each; a keyframe every twelve frames, with references across them."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, options={"g": "12", "bf": "3", "x264-params": "open-gop=1"})


# --- Which frames --------------------------------------------------------------------------------


def test_eight_frames_of_a_named_video_in_the_middle_of_equal_parts(clip: Path) -> None:
    assert times(clip) == ["0.375", "1.125", "1.875", "2.625", "3.375", "4.125", "4.875", "5.625"]
    assert numbers(clip) == [3, 11, 18, 26, 33, 41, 48, 56]


def test_a_number_of_frames(clip: Path) -> None:
    assert times(clip, frames=2) == ["1.5", "4.5"]
    assert numbers(clip, frames=2) == [15, 45]


def test_a_frame_every_so_often_from_the_start_and_before_the_end(clip: Path) -> None:
    assert times(clip, every=1) == ["0.0", "1.0", "2.0", "3.0", "4.0", "5.0"]
    assert numbers(clip, every=1) == [0, 10, 20, 30, 40, 50]
    assert times(clip, every=0.7)[:3] == ["0.0", "0.7", "1.4"]


def test_no_more_frames_than_there_are(tmp_path: Path) -> None:
    path = write_video(tmp_path / "short.mp4", frames=3)
    assert numbers(path) == [0, 1, 2]
    assert numbers(write_video(tmp_path / "one.mp4", frames=1)) == [0]


def test_names_are_unique_and_stable_and_times_short_of_a_millisecond_are_told_apart(clip: Path) -> None:
    found = times(clip, every=0.0004)
    assert len(set(found)) == len(found) == 15000
    assert found[:3] == ["0.0", "0.0004", "0.0008"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mpeg4"),
        ("a.mts", "libx264"),
        ("a.flv", "flv1"),
        ("a.wmv", "wmv2"),
        ("a.mov", "libx265"),
    ],
)
def test_kinds_of_files(name: str, codec: str, tmp_path: Path) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else None
    path = write_video(tmp_path / name, codec=codec, options=quiet)
    assert numbers(path, every=0.7) == [0, 7, 14, 21, 28, 35, 42, 49, 56]
    assert len(taken(path)) == 8


def test_frames_that_come_at_any_time_are_shown_until_the_next(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slides.webm", 5, codec="libvpx-vp9", times=[0, 100, 2000, 2100, 9000])
    assert numbers(path, every=1) == [0, 1, 2, 3, 3, 3, 3, 3, 3, 4]


def test_sound_that_goes_on_gives_no_frames(tmp_path: Path) -> None:
    assert len(taken(write_video(tmp_path / "a.mkv", sound=9), every=1)) == 6
    assert len(taken(write_video(tmp_path / "a.mp4", sound=9), every=1)) == 6


def test_a_video_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", sound=9, options={"g": "12"})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"DURATION", b"durations"[:8]).replace(b"\x44\x89\x88", b"\xec\x8a\x88"))
    with av.open(str(path)) as container:
        assert not container.streams.video[0].metadata.get("DURATION")
    assert numbers(path, every=1) == [0, 10, 20, 30, 40, 50]


# --- The frame of a time -------------------------------------------------------------------------


def test_any_order_gives_the_frames_of_reading_on(clip: Path) -> None:
    with av.open(str(clip)) as container:
        expected = [np.asarray(frame.to_image()) for frame in container.decode(video=0)]
    order = [n for n in range(60) for _ in range(2)]
    random.Random(0).shuffle(order)
    for number in order:
        item = replace(at(clip, number / 10 + 0.05), is_last=False)
        assert np.array_equal(np.asarray(image(item)), expected[number]), number


def test_frames_in_order_are_decoded_once(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, opened = [], []
    advance, open_ = video_decoder.VideoDecoder._advance, video_decoder.VideoDecoder._open
    monkeypatch.setattr(
        video_decoder.VideoDecoder, "_advance", lambda self: (decoded.append(1), advance(self))[1]
    )
    monkeypatch.setattr(video_decoder.VideoDecoder, "_open", lambda self: (opened.append(1), open_(self))[1])
    items = taken(clip, every=0.1)
    decoded.clear(), opened.clear()
    assert [number_of(image(item)) for item in items] == list(range(60))
    assert len(opened) == 1
    assert len(decoded) < 70


def test_a_frame_far_ahead_is_not_decoded_up_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 240, options={"g": "12"})
    decoded = []
    advance = video_decoder.VideoDecoder._advance
    monkeypatch.setattr(
        video_decoder.VideoDecoder, "_advance", lambda self: (decoded.append(1), advance(self))[1]
    )
    assert numbers(path, frames=2) == [60, 180]
    assert len(decoded) < 60


def test_threads_that_want_frames_of_one_video_get_theirs(clip: Path) -> None:
    items = taken(clip, every=0.1)
    with ThreadPoolExecutor(8) as pool:
        assert [number_of(one) for one in pool.map(image, items)] == list(range(60))


def test_more_videos_at_once_than_stay_open(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", frames=10 + n) for n in range(7)]
    items = [item for path in paths for item in taken(path, every=0.5)]
    random.Random(1).shuffle(items)
    with ThreadPoolExecutor(8) as pool:
        found = [number_of(one) for one in pool.map(image, items)]
    assert found == [item.position // 100_000 for item in items]
    assert len(video._VIDEOS._slots) <= 4


def test_a_video_is_closed_after_its_last_frame(clip: Path) -> None:
    for item in taken(clip):
        item.read()
    assert not video._VIDEOS._slots


def test_a_video_that_was_changed_is_opened_anew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=10)
    assert number_of(image(replace(at(path, 0.5), is_last=False))) == 5
    (write_video(tmp_path / "b.mp4", frames=40, rate=40)).replace(path)
    assert number_of(image(at(path, 0.5))) == 20


def test_an_item_goes_to_another_process(clip: Path) -> None:
    item = taken(clip)[3]
    again = pickle.loads(pickle.dumps(item))
    assert again == item
    assert number_of(image(again)) == 26


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_child_of_a_fork_opens_its_own_file(clip: Path) -> None:
    item = replace(at(clip, 2), is_last=False)
    item.read()  # open, with the threads of a decoder
    child = os.fork()
    if child == 0:
        os._exit(number_of(image(replace(at(clip, 3), is_last=False))))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 30
    assert number_of(image(at(clip, 4))) == 40


def test_a_video_in_memory(clip: Path) -> None:
    item = part_of(BytesItem("clip.mp4", clip.read_bytes()), "t", 2_000_000)
    assert number_of(image(item)) == 20


# --- Pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_video_is_shown_upright(degrees: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", 3, codec="mpeg4", rotation=degrees)
    found = image(at(path, 0))
    back = found.rotate(-degrees, expand=True)  # by the matrix it is turned counterclockwise
    assert (found.size == SIZE) == (degrees == 180)
    assert np.abs(np.asarray(back).astype(int) - frame_pixels(0)).mean() < 20


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 3, aspect=Fraction(2))
    assert image(at(path, 0)).size == (2 * SIZE[0], SIZE[1])


# --- Names ---------------------------------------------------------------------------------------


def test_the_name_of_an_output_leads_to_the_frame(clip: Path) -> None:
    for item in taken(clip):
        again = item_named(item.name)
        assert again == item
        assert again.version() == item.version()


def test_a_frame_may_be_an_input_itself(clip: Path) -> None:
    for time, name in (("3", "3.0"), ("3.00", "3.0"), ("2.125", "2.125")):
        (item,) = Inputs((f"{clip}#t={time}",))
        assert isinstance(item, PartItem)
        assert item.name == f"{clip}#t={name}"
        assert number_of(image(item)) == int(float(time) * 10)


def test_a_file_of_that_very_name_comes_first(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4#t=1.0"
    Image.new("RGB", (8, 8), "red").save(path, "PNG")
    assert item_named(str(path)) == FileItem(str(path))


def test_the_version_is_that_of_the_file_and_the_time(clip: Path) -> None:
    os.utime(clip, (1e9, 1e9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipcli.inputs.item.RACY_SECONDS", -1e12)
        one, other = at(clip, 1).version(), at(clip, 2).version()
        assert one is not None and other is not None
        assert one != other and one == at(clip, 1).version()
        os.utime(clip, (1e9, 2e9))
        assert at(clip, 1).version() != one


def test_columns_and_truth_are_those_of_the_file(clip: Path) -> None:
    found = next(video.frames_of(FileItem(str(clip), {"site": "A"}, "fox"), Reading()))
    assert isinstance(found, PartItem)
    assert (found.columns, found.truth) == ({"site": "A"}, "fox")
    assert replace(found, truth="owl").truth == "owl"


# --- Damage --------------------------------------------------------------------------------------


def failure(path: Path) -> str:
    (found,) = Inputs((str(path),))
    assert isinstance(found, ImageFailure)
    assert found.image == str(path)
    return found.reason


def test_an_empty_file_a_text_and_a_video_cut_off_before_its_index(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert failure(tmp_path / "empty.mp4") == "empty file"
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    assert failure(tmp_path / "text.mp4").startswith("damaged video: Invalid data")
    content = clip.read_bytes()
    index = content.rindex(b"moov")
    told = []
    for size in range(index - 100, len(content), 25):  # before the index, and within it
        (tmp_path / "cut.mp4").write_bytes(content[:size])
        found = Inputs((str(tmp_path / "cut.mp4"),))
        told += [one.reason for one in found if isinstance(one, ImageFailure)]
    assert len(told) > 20
    assert all(reason.startswith("damaged video") for reason in told), set(told)


def test_sound_only(tmp_path: Path) -> None:
    assert failure(write_sound(tmp_path / "a.mp4")) == "no frames in this video: it holds sound only"


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "song.mp4", 1, codec="mjpeg", sound=1)
    assert len(taken(path)) == 1
    path = write_video(tmp_path / "cover.mp4", 1, codec="mjpeg", sound=1, is_cover=True)
    assert failure(path) == "no frames in this video: it holds sound only"


def test_a_list_of_other_files_is_not_followed(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {clip}\n")
    assert failure(path).startswith("damaged video")
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{clip}\n#EXT-X-ENDLIST\n")
    assert failure(path).startswith("damaged video")


def outcomes(items: list[PartItem]) -> list[int | str]:
    found: list[int | str] = []
    for item in items:
        try:
            found.append(number_of(image(item)))
        except ImageError as error:
            found.append(error.message)
    return found


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_of_a_video_that_is_cut_off_there_are_the_frames_until_then(name: str, tmp_path: Path) -> None:
    """Its beginning says how long it was: a row for each frame that is gone."""
    path = write_video(tmp_path / name, options={"g": "12"}, container_options={"movflags": "faststart"})
    content = path.read_bytes()
    begin = max(content.find(b"mdat"), 0)
    path.write_bytes(content[: begin + (len(content) - begin) * 6 // 10])
    found = outcomes(taken(path, every=1))
    assert len(found) == 6
    good = [one for one in found if isinstance(one, int)]
    assert good == [0, 10, 20, 30, 40, 50][: len(good)]
    assert 2 <= len(good) <= 4
    assert all(str(one).startswith("damaged video: ") for one in found[len(good) :])


def test_of_a_cut_off_video_whose_length_only_the_file_states(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", options={"g": "12"})
    content = path.read_bytes().replace(b"DURATION", b"duration")
    path.write_bytes(content[: len(content) * 6 // 10])
    found = outcomes(taken(path, every=1))
    assert len(found) == 6
    assert str(found[-1]).startswith("damaged video: it ends after ")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_damage_in_the_middle_costs_the_frames_there(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, 120, options={"g": "10", "sc_threshold": "0"})
    content = bytearray(path.read_bytes())
    middle = content.find(b"mdat") + 2000 if name == "a.mp4" else len(content) // 2
    content[middle : middle + 60] = bytes(60)
    path.write_bytes(bytes(content))
    found = outcomes(taken(path, every=0.1))
    lost = [n for n, one in enumerate(found) if isinstance(one, str)]
    assert [one for one in found if isinstance(one, int)] == [n for n in range(120) if n not in lost]
    assert all(str(found[n]).startswith("damaged video: ") for n in lost)
    assert lost and lost[0] > 0 and lost[-1] < 110
    if name == "a.mp4":  # whose index tells where the next keyframe is
        assert len(lost) <= 20


def test_a_time_behind_the_end(clip: Path) -> None:
    with pytest.raises(ImageError, match=r"damaged video: it ends after 6\.0 s"):
        at(clip, 60).read()


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        at(tmp_path / "gone.mp4", 0).read()


# --- Memory --------------------------------------------------------------------------------------

PEAK = f"""
import sys
{PEAK_MEGABYTES}
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.reading import Reading
for item in Inputs((sys.argv[1],), reading=Reading(every=float(sys.argv[2]))):
    item.read()
print(peak_megabytes())
"""


@pytest.mark.long
def test_memory_is_that_of_a_few_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 250, rate=25)
    few, many = (
        float(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(path), step], capture_output=True, text=True, check=True
            ).stdout
        )
        for step in ("0.01", "0.001")
    )
    assert many < few + 15
