"""Parquet and Arrow files with the images in a column."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipcli.errors import ImageError, UsageError
from clipcli.inputs import item as item_module
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.opening import item_named
from clipcli.inputs.tables import cells, columnar
from clipcli.inputs.tables.cells import CellItem
from clipcli.records import ImageFailure

FILES = Path(__file__).parent.parent / "files"
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


IMAGES = [png(number) for number in range(40)]


def write_stream(table: pa.Table, path: str) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


def write_feather(table: pa.Table, path: str, compression: str = "lz4") -> None:
    pa.feather.write_feather(table, path, compression=compression, chunksize=7)


WRITERS: dict[str, Callable[[pa.Table, str], None]] = {
    "a.parquet": lambda table, path: pq.write_table(table, path, row_group_size=7),
    "one-group.parquet": pq.write_table,
    "stream.arrow": write_stream,
    "a.feather": write_feather,
    "plain.ipc": lambda table, path: write_feather(table, path, "uncompressed"),
}
KINDS: dict[str, Callable[[list[bytes]], pa.Array]] = {
    "struct": lambda images: pa.array([{"bytes": one, "path": None} for one in images], STRUCT),
    "binary": lambda images: pa.array(images, pa.binary()),
    "large_binary": lambda images: pa.array(images, pa.large_binary()),
    "dictionary": lambda images: pa.array(images).dictionary_encode(),
    "large struct": lambda images: pa.array(
        [{"bytes": one} for one in images], pa.struct([("bytes", pa.large_binary())])
    ),
}


def items_of(*paths: str, **options: Any) -> list[CellItem]:
    found = list(Inputs(paths, **options))
    assert all(isinstance(one, CellItem) for one in found)
    return found  # type: ignore[return-value]


def refused(path: str, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        list(Inputs((path,), **options))
    return caught.value


def aged(path: str) -> str:
    """A file that was not changed just now, so that it has a version."""
    long_ago = time.time() - 60
    os.utime(path, (long_ago, long_ago))
    return path


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files have a version at once."""
    monkeypatch.setattr(item_module, "RACY_SECONDS", -1)


# --- What is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_image_is_that_of_its_row(name: str, kind: str) -> None:
    table = pa.table({"sku": range(40), "image": KINDS[kind](IMAGES)})
    WRITERS[name](table, name)
    found = items_of(name)
    assert [one.name for one in found] == [f"{name}#{row}" for row in range(1, 41)]
    assert [one.columns["sku"] for one in found] == list(range(40))
    assert [one.read() for one in found] == IMAGES
    shuffled = random.Random(0).sample(range(40), 40)
    assert [found[row].read() for row in shuffled] == [IMAGES[row] for row in shuffled]
    assert item_named(f"{name}#17").read() == IMAGES[16]  # type: ignore[union-attr]
    assert [one.columns for one in Inputs(from_file=name)] == [one.columns for one in found]


def test_fixed_size_binary() -> None:
    images = [IMAGES[0], IMAGES[0][::-1]]
    pq.write_table(pa.table({"image": pa.array(images, pa.binary(len(images[0])))}), "a.parquet")
    assert [one.read() for one in items_of("a.parquet")] == images


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_what_the_datasets_library_writes(suffix: str) -> None:
    inputs = Inputs((str(FILES / f"hugging_face.{suffix}"),))
    assert inputs.columns == {"image": str, "label": str, "score": float, "objects": str}
    found = list(inputs)
    assert [one.columns["label"] for one in found] == ["cat", "sea bird", "dog", None, "cat"]
    assert [one.columns["image"] for one in found] == [f"photo {number}.png" for number in range(5)]
    assert [one.columns["score"] for one in found] == [0.1, 0.2, 0.3, None, 0.5]
    assert [one.columns["objects"] for one in found] == ["[1]", "[]", "[2,3]", "[4]", "[5]"]
    sizes = [Image.open(io.BytesIO(one.read())).size for one in found]  # type: ignore[union-attr, arg-type]
    assert sizes == [(24, 16 + number) for number in range(5)]


def test_paths_of_classes_that_are_none() -> None:
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "n": {"_type": "ClassLabel"}}
    schema = pa.schema(
        {"image": pa.binary(), "label": pa.int32(), "n": pa.int64()},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    columns = [IMAGES[:4], [1, None, -1, 2], [0, 1, 2, 3]]
    pq.write_table(pa.table(columns, schema=schema), "a.parquet")
    found = items_of("a.parquet")
    assert [one.columns["label"] for one in found] == ["dog", None, None, "2"]
    assert [one.columns["n"] for one in found] == [0, 1, 2, 3], "classes without names stay numbers"


@pytest.mark.parametrize(
    "metadata", [b"", b"{", b"[]", b'{"info": 3}', b'{"info": {"features": [1]}}', b"\xff"]
)
def test_metadata_that_make_no_sense_change_nothing(metadata: bytes) -> None:
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()}, metadata={"huggingface": metadata})
    pq.write_table(pa.table([IMAGES[:1], [1]], schema=schema), "a.parquet")
    (found,) = items_of("a.parquet")
    assert found.columns == {"label": 1}


def test_cells_without_bytes_mean_their_paths(unhurried: None) -> None:
    Path("shop").mkdir()
    for name, image in (("shop/a.png", IMAGES[0]), ("b.png", IMAGES[1])):
        Path(name).write_bytes(image)
    rows = [
        {"bytes": None, "path": "a.png"},
        {"bytes": None, "path": "b.png"},
        {"bytes": IMAGES[2], "path": "a.png"},
        {"bytes": None, "path": "none.png"},
        {"bytes": None, "path": None},
        None,
    ]
    pq.write_table(pa.table({"image": pa.array(rows, STRUCT)}), "shop/t.parquet")
    found = items_of("shop/t.parquet")
    assert [one.read() for one in found[:3]] == IMAGES[:3]
    assert [one.columns["image"] for one in found] == ["a.png", "b.png", "a.png", "none.png", None, None]
    for one, reason in (
        (found[3], "no such file"),
        (found[4], "no image in row 5"),
        (found[5], "no image in row 6"),
    ):
        with pytest.raises(ImageError) as caught:
            one.read()
        assert caught.value.message == reason
    again = [item_named(one.name) for one in found]
    assert again == [replace(one, columns={}) for one in found]
    before = [one.version() for one in found]
    Path("b.png").write_bytes(IMAGES[3])
    assert [one.version() != version for one, version in zip(found, before, strict=True)] == [
        *(False, True, False),
        *(False, False, False),
    ]


def test_a_table_of_paths_is_an_input_too() -> None:
    Path("b.png").write_bytes(IMAGES[0])
    pq.write_table(pa.table({"path": ["b.png"], "x": [1.5]}), "a.parquet")
    (found,) = Inputs(("a.parquet",))
    assert (found.name, found.columns) == ("b.png", {"x": 1.5})  # type: ignore[union-attr]


def test_several_tables_are_one_input() -> None:
    Path("data").mkdir()
    for number in range(3):
        columns = {"image": IMAGES[number : number + 1], "n": [number]}
        columns |= {"extra": ["x"]} if number == 1 else {}
        pq.write_table(pa.table(columns), f"data/train-{number:05}-of-00003.parquet")
    names = [f"data/train-{number:05}-of-00003.parquet#1" for number in range(3)]
    expected = [{"n": 0, "extra": None}, {"n": 1, "extra": "x"}, {"n": 2, "extra": None}]
    for pattern in ("data/*.parquet", "data/train-{00000..00002}-of-00003.parquet"):
        inputs = Inputs((pattern,))
        assert inputs.columns == {"n": int, "extra": str}
        assert [one.name for one in inputs] == names  # type: ignore[union-attr]
        assert [dict(one.columns) for one in inputs] == expected
    kept = Inputs(("data/*.parquet",), keep=("extra",))
    assert [dict(one.columns) for one in kept] == [{"extra": None}, {"extra": "x"}, {"extra": None}]
    with pytest.raises(UsageError, match="no column 'extr'"):
        Inputs(("data/*.parquet",), keep=("extr",))


def test_columns_of_a_table_and_files_beside_it() -> None:
    Path("b.png").write_bytes(IMAGES[1])
    pq.write_table(pa.table({"image": IMAGES[:1], "n": [7]}), "a.parquet")
    Path("list.csv").write_text("path,m\nb.png,x\n")
    inputs = Inputs(("a.parquet", "b.png"), from_file="list.csv", keep=("m", "n"))
    assert [dict(one.columns) for one in inputs] == [
        {"m": None, "n": 7},
        {"m": None, "n": None},
        {"m": "x", "n": None},
    ]


# --- Which column --------------------------------------------------------------------------------


def test_the_only_column_with_images_is_found_whatever_its_name() -> None:
    columns = {"file_name": ["a.png"], "checksum": [b"\x01\x02"], "photo": [IMAGES[0]]}
    pq.write_table(pa.table(columns), "a.parquet")
    (found,) = items_of("a.parquet")
    assert found.read() == IMAGES[0]
    assert found.columns == {"file_name": "a.png", "checksum": "\x01\x02"}


def test_of_two_columns_one_must_be_named() -> None:
    images = [{"bytes": IMAGES[0], "path": "a"}]
    columns = {"image": pa.array(images, STRUCT), "mask": [IMAGES[1]], "n": [1]}
    pq.write_table(pa.table(columns), "a.parquet")
    error = refused("a.parquet")
    assert error.message == "a.parquet: several columns hold images: image, mask"
    assert "`image_column`" in error.hint
    (image,), (mask,) = (items_of("a.parquet", image_column=name) for name in ("image", "mask"))
    assert (image.read(), mask.read()) == (IMAGES[0], IMAGES[1])
    assert (image.name, mask.name) == ("a.parquet#image=1", "a.parquet#mask=1")
    assert image.columns == mask.columns == {"image": "a", "n": 1}, "no bytes in an output"
    for one in (image, mask):
        assert item_named(one.name) == replace(one, columns={})
    (kept,) = items_of("a.parquet", image_column="mask", keep=("n",))
    assert kept.columns == {"n": 1}
    assert "no column 'mask'" in refused("a.parquet", image_column="image", keep=("mask",)).message


def test_lists_of_images_are_not_one_image_a_row() -> None:
    columns = {"images": pa.array([[{"bytes": IMAGES[0], "path": "a"}]], pa.list_(STRUCT)), "n": [1]}
    pq.write_table(pa.table(columns), "a.parquet")
    assert refused("a.parquet").message == "a.parquet: no image column"
    assert "lists of images" in refused("a.parquet", image_column="images").message
    pq.write_table(pa.table({**columns, "cover": [IMAGES[1]]}), "b.parquet")
    (found,) = items_of("b.parquet")
    assert (found.read(), found.columns) == (IMAGES[1], {"n": 1})


def test_structs_with_more_than_bytes_and_a_path() -> None:
    rows = [{"bytes": IMAGES[0], "path": None, "width": 5}]
    pq.write_table(pa.table({"photo": rows}), "a.parquet")
    (found,) = items_of("a.parquet")
    assert (found.read(), found.columns) == (IMAGES[0], {})


def test_sound_beside_an_image_is_no_candidate() -> None:
    features = {"image": {"_type": "Image"}, "audio": {"_type": "Audio"}}
    schema = pa.schema(
        {"image": STRUCT, "audio": STRUCT},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [[{"bytes": IMAGES[0], "path": None}], [{"bytes": b"RIFF", "path": "a.wav"}]]
    pq.write_table(pa.table(rows, schema=schema), "a.parquet")
    (found,) = items_of("a.parquet")
    assert (found.read(), found.columns) == (IMAGES[0], {"image": None})


def test_a_column_named_image_column_without_a_table_is_refused() -> None:
    Path("a.png").write_bytes(IMAGES[0])
    assert refused("a.png", image_column="x").message == "columns are named, but no table"
    assert refused("a.png", keep=("x",)).message == "columns are named, but no table"


def test_columns_whose_names_have_dots() -> None:
    struct = pa.array([{"bytes": IMAGES[0], "path": "right"}], STRUCT)
    columns = {"img.x": struct, "img.x.bytes": [1], "img.x.path": ["wrong"]}
    pq.write_table(pa.table(columns), "a.parquet")
    (found,) = items_of("a.parquet", image_column="img.x")
    assert found.read() == IMAGES[0]
    assert found.columns == {"img.x": "right", "img.x.bytes": 1, "img.x.path": "wrong"}


# --- Hostile -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_a_truncated_file(name: str) -> None:
    WRITERS[name](pa.table({"image": IMAGES, "n": range(40)}), name)
    content = Path(name).read_bytes()
    for size in (0, 3, 12, len(content) // 2, len(content) - 20):
        Path(name).write_bytes(content[:size])
        error = refused(name)
        assert error.message.startswith(name), size
        assert "can be read" in error.message, size


def test_feather_of_the_first_version_is_refused() -> None:
    Path("a.feather").write_bytes(b"FEA1" + bytes(40) + b"FEA1")
    assert "Feather's first version" in refused("a.feather").message


def test_an_encrypted_file() -> None:
    import pyarrow.parquet.encryption as pe

    class Vault(pe.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key: bytes, master: str) -> str:
            return key.hex()

        def unwrap_key(self, wrapped: str, master: str) -> bytes:
            return bytes.fromhex(wrapped)

    factory = pe.CryptoFactory(lambda config: Vault())
    table = pa.table({"image": IMAGES[:3], "n": [1, 2, 3]})
    for plaintext_footer in (False, True):
        config = pe.EncryptionConfiguration(
            footer_key="k", column_keys={"k": ["image"]}, plaintext_footer=plaintext_footer
        )
        properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
        with pq.ParquetWriter("a.parquet", table.schema, encryption_properties=properties) as writer:
            writer.write_table(table)
        assert refused("a.parquet").message == "a.parquet is encrypted"


def test_damage_in_one_row_group_is_that_of_its_rows_only() -> None:
    incompressible = [*IMAGES[:3], bytes(random.Random(0).randbytes(5000)), *IMAGES[4:9]]
    table = pa.table({"image": incompressible, "n": range(9)})
    pq.write_table(table, "a.parquet", row_group_size=3, compression="snappy", use_dictionary=False)
    content = bytearray(Path("a.parquet").read_bytes())
    start = pq.read_metadata("a.parquet").row_group(1).column(0).data_page_offset
    content[start : start + 60] = bytes(60)
    Path("a.parquet").write_bytes(content)
    found = items_of("a.parquet")
    assert [one.columns["n"] for one in found] == list(range(9))
    begin = columnar.ParquetFile._cells
    with mock.patch.object(columnar.ParquetFile, "_cells", autospec=True, side_effect=begin) as opened:
        for row, one in enumerate(found):
            if 3 <= row < 6:
                with pytest.raises(ImageError, match="damaged"):
                    one.read()
            else:
                assert one.read() == incompressible[row]
    assert opened.call_count == 3, "each row group was begun once"


def test_cells_that_are_no_images_are_told_when_they_are_decoded() -> None:
    pq.write_table(pa.table({"image": [b"", b"text", None]}), "a.parquet")
    found = items_of("a.parquet")
    assert [one.read() for one in found[:2]] == [b"", b"text"]
    with pytest.raises(ImageError, match="no image in row 3"):
        found[2].read()


def test_a_giant_cell_is_refused_before_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MAX_BYTES", len(IMAGES[0]))
    pq.write_table(pa.table({"image": [IMAGES[0], IMAGES[0] + b"1"]}), "a.parquet")
    sound, giant = items_of("a.parquet")
    assert sound.read() == IMAGES[0]
    with pytest.raises(ImageError, match="too large"):
        giant.read()


def test_no_rows_and_no_columns() -> None:
    pq.write_table(pa.table({"image": pa.array([], STRUCT)}), "a.parquet")
    assert items_of("a.parquet") == []
    pq.write_table(pa.table({"image": IMAGES[:2]}), "b.parquet")
    assert [(one.read(), one.columns) for one in items_of("b.parquet")] == [
        (image, {}) for image in IMAGES[:2]
    ]
    pq.write_table(pa.table({}), "c.parquet")
    assert refused("c.parquet").message == "c.parquet is empty"


def test_other_columns_of_all_types() -> None:
    columns = {
        "image": IMAGES[:2],
        "half": pa.array(np.array([0.1, np.nan], dtype=np.float16)),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
        "nested": [{"a": [1]}, None],
        "raw": [b"\xff", b"x"],
    }
    WRITERS["a.feather"](pa.table(columns), "a.feather")
    one, other = items_of("a.feather")
    assert one.columns == {
        "half": pytest.approx(0.1, rel=1e-3),
        "kind": "a",
        "nested": '{"a":[1]}',
        "raw": "\\xff",
    }
    assert other.columns == {"half": None, "kind": "b", "nested": None, "raw": "x"}


def test_a_row_is_an_input_by_its_name() -> None:
    pq.write_table(pa.table({"image": IMAGES[:3], "n": [1, 2, 3]}), "a.parquet")
    Path("list.txt").write_text("a.parquet#3\na.parquet#1\n")
    found = list(Inputs(("a.parquet#2",), from_file="list.txt"))
    assert [one.read() for one in found] == [IMAGES[1], IMAGES[2], IMAGES[0]]  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no such file or folder"):
        Inputs(("b.parquet#2",))


def test_names_that_only_look_like_rows() -> None:
    Path("a.parquet#1").write_bytes(IMAGES[0])
    pq.write_table(pa.table({"image": IMAGES[1:2]}), "a.parquet")
    assert item_named("a.parquet#1").read() == IMAGES[0]  # type: ignore[union-attr]
    with pytest.raises(ImageError, match="no row 2 in its table"):
        item_named("a.parquet#2").read()  # type: ignore[union-attr]
    for name in ("a.parquet#0", "a.parquet#x=1", "none.parquet#1", "a.parquet#"):
        with pytest.raises(ImageError, match="no such file"):
            item_named(name).read()  # type: ignore[union-attr]


# --- Items, and how they are read ----------------------------------------------------------------


def test_a_version_is_that_of_the_file_and_the_row(unhurried: None) -> None:
    pq.write_table(pa.table({"image": IMAGES[:2], "n": [1, 2]}), "a.parquet")
    one, other = items_of("a.parquet")
    assert one.version() == items_of(str(Path.cwd() / "a.parquet"))[0].version()
    assert one.version() != other.version()
    assert one.read() == IMAGES[0]
    before = one.version()
    pq.write_table(pa.table({"image": IMAGES[2:4], "n": [1, 2]}), "a.parquet")
    assert one.version() != before
    assert one.read() == IMAGES[2], "a file that has changed is opened again"


def test_a_file_changed_just_now_has_no_version() -> None:
    pq.write_table(pa.table({"image": IMAGES[:1]}), "a.parquet")
    assert items_of("a.parquet")[0].version() is None


def test_a_file_that_is_gone() -> None:
    pq.write_table(pa.table({"image": IMAGES[:1]}), "a.parquet")
    (one,) = items_of("a.parquet")
    Path("a.parquet").unlink()
    assert one.version() is None
    with pytest.raises(ImageError, match="no such file"):
        one.read()


def read_pickled(pickled: bytes) -> bytes:
    return pickle.loads(pickled).read()  # type: ignore[no-any-return]


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_items_travel_to_other_processes_and_are_small() -> None:
    pq.write_table(pa.table({"image": IMAGES}), "a.parquet")
    found = items_of("a.parquet")
    assert found[0].read() == IMAGES[0], "the file is open when the process is forked"
    assert max(len(pickle.dumps(one)) for one in found) < 400
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(read_pickled, map(pickle.dumps, found)) == IMAGES
    assert [one.read() for one in found] == IMAGES


@pytest.mark.parametrize("name", WRITERS)
def test_threads_in_any_order_read_each_chunk_about_once(name: str) -> None:
    WRITERS[name](pa.table({"image": IMAGES}), name)
    found = items_of(name)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(CellItem.read, found)) == IMAGES


def test_rows_that_were_passed_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_KEPT_ROWS", 2)
    monkeypatch.setattr(columnar, "_BATCH_BYTES", 1)
    pq.write_table(pa.table({"image": IMAGES}), "a.parquet")
    found = items_of("a.parquet")
    for row in (39, 0, 38, 1, 20, 19, 21, 39):
        assert found[row].read() == IMAGES[row]


def test_large_cells_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_KEPT_BYTES", 3 * max(map(len, IMAGES)))
    monkeypatch.setattr(columnar, "_BATCH_BYTES", 1)
    pq.write_table(pa.table({"image": IMAGES}), "a.parquet")
    found = items_of("a.parquet")
    assert [one.read() for one in found] == IMAGES
    (cursor,) = cells._cells_of(found[0].column)._cursors
    assert len(cursor._kept) < 5


def test_few_files_are_open_at_once() -> None:
    for number in range(12):
        pq.write_table(pa.table({"image": IMAGES[number : number + 1]}), f"{number:02}.parquet")
    found = items_of("*.parquet")
    assert [one.read() for one in found] == IMAGES[:12]
    assert len(cells._open) <= 4


def test_listing_reads_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("parquet", "arrow"):
        rows = [{"bytes": image, "path": "x"} for image in IMAGES]
        table = pa.table({"image": pa.array(rows, STRUCT), "n": range(40)})
        WRITERS["a.parquet" if suffix == "parquet" else "stream.arrow"](table, f"a.{suffix}")
        with mock.patch.object(cells, "_cells_of", side_effect=AssertionError):
            assert len(items_of(f"a.{suffix}")) == 40
    read: list[Any] = []
    iterate = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda self, *a, **options: read.append(options["columns"]) or iterate(self, *a, **options),
    )
    assert all(not isinstance(one, ImageFailure) for one in Inputs(("a.parquet",), keep=("n",)))
    assert read == [["image.path", "n"]]
    pq.write_table(pa.table({"image": IMAGES, "n": range(40)}), "b.parquet")
    inputs = Inputs(("b.parquet",))  # the first cells are looked at: they might be no images
    read.clear()
    assert len(list(inputs)) == 40
    assert read == [["n"]]
