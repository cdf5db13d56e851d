"""`clipcli classify` end to end, with the bundled model and real files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from commands import clipcli
from conftest import EXAMPLES, Result
from PIL import Image

from clipcli.records import ImageFailure, Outcome

Cli = Callable[..., Result]
LABELS = ("--labels", "cat,fish,sun,house,bicycle")
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_one_row_an_image_and_rank(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "predictions.csv"
    result = run_cli("classify", pictures, *LABELS, *NANO, "--top-k", 3, "-o", output)
    assert result.code == 0, result.err
    assert result.out == ""
    frame = pd.read_csv(output)
    assert list(frame.columns) == ["image", "rank", "label", "score", "cosine", "error", "status", "margin"]
    assert frame.image.tolist() == [str(path) for path in sorted(pictures.iterdir()) for _ in range(3)]
    assert frame["rank"].tolist() == [1, 2, 3] * 12
    for _, one in frame.groupby("image"):
        assert one.score.is_monotonic_decreasing
        assert one.cosine.is_monotonic_decreasing
        assert one.label.is_unique
    assert not list(tmp_path.glob("*.partial"))


def test_the_summary_tells_what_happened(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    result = run_cli("classify", pictures, *LABELS, *NANO, "-o", tmp_path / "out.csv")
    assert "12 images in " in result.err
    assert "images/s" in result.err
    assert "labels: " in result.err
    assert f"wrote {tmp_path / 'out.csv'}" in result.err
    quiet = run_cli("classify", pictures, *LABELS, *NANO, "-o", tmp_path / "out.csv", "--quiet")
    assert quiet.err == ""


def test_the_examples_are_mostly_right(
    run_cli: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.csv"
    run_cli("classify", EXAMPLES, "--classes", EXAMPLES / "classes.txt", "--model", "nano", "-o", output)
    top = pd.read_csv(output).query("rank == 1").set_index("image")
    truth = pd.read_csv(EXAMPLES / "labels.csv").set_index("image").label
    assert len(top) == len(truth)
    right = [top.label[str(EXAMPLES / image)] == label for image, label in truth.items()]
    accuracy = sum(right) / len(right)
    with capfd.disabled():
        print(f"\ntop-1 on the {len(right)} examples: {accuracy:.1%}")  # noqa: T201
    assert accuracy >= 0.8


def test_batch_size_changes_no_byte(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    images, written = (pictures, f"{EXAMPLES}/*-1.*"), []
    for batch_size in (1, 7, 16):
        output = tmp_path / f"{batch_size}.csv"
        run_cli("classify", *images, *LABELS, *NANO, "-b", batch_size, "--no-cache", "-o", output)
        written.append(output.read_bytes())
    assert len(written[0].splitlines()) == 1 + 5 * (12 + 12)
    assert written[0] == written[1] == written[2]


def test_folder_list_file_and_stdin_give_the_same_bytes(
    run_cli: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(path) for path in sorted(pictures.iterdir())]
    (tmp_path / "list.txt").write_text("\n".join(names))
    (tmp_path / "list0.txt").write_text("\0".join(names))
    command = ("classify", *LABELS, *NANO, "--format", "csv", "--no-cache")
    folder = run_cli(*command, pictures)
    assert len(rows_of(folder.out)) == 60
    assert run_cli(*command, "--from-file", tmp_path / "list.txt").out == folder.out
    assert run_cli(*command, "--from-file", tmp_path / "list0.txt").out == folder.out
    assert run_cli(*command, f"{pictures}/*").out == folder.out
    assert run_cli(*command, *names).out == folder.out
    for arguments in (["-"], ["--from-file", "-"]):
        with (tmp_path / "list.txt").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            assert run_cli(*command, *arguments).out == folder.out


def test_a_broken_image_keeps_its_place_and_changes_no_other_row(
    run_cli: Cli, pictures: Path, tmp_path: Path
) -> None:
    good = run_cli("classify", pictures, *LABELS, *NANO, "--format", "csv").out
    broken = pictures / "05a.jpg"
    broken.write_bytes((pictures / "04.jpg").read_bytes()[:400])
    result = run_cli("classify", pictures, *LABELS, *NANO, "--format", "csv")
    assert result.code == 3
    assert "1 failed" in result.err
    assert f"{broken}: " in result.err
    lines = result.out.splitlines()
    (index,) = [number for number, line in enumerate(lines) if line.startswith(str(broken))]
    row = rows_of(result.out)[index - 1]
    assert row["error"]
    assert row["label"] == row["score"] == row["rank"] == ""
    assert lines[:index] + lines[index + 1 :] == good.splitlines()
    assert "05.png" in lines[index - 1]
    assert "06.jpg" in lines[index + 1]
    assert run_cli("classify", pictures, *LABELS, *NANO, "--format", "csv", "--allow-failures").code == 0


def test_only_broken_images_still_give_a_header_and_rows(run_cli: Cli, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"")
    result = run_cli("classify", tmp_path, *LABELS, *NANO, "--format", "csv")
    assert result.code == 3
    assert [row["error"] for row in rows_of(result.out)] == ["empty file"] * 3


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
@pytest.mark.parametrize("layout", ["long", "wide", "matrix"])
def test_every_format_and_layout_holds_the_same_scores(
    run_cli: Cli, pictures: Path, tmp_path: Path, suffix: str, layout: str
) -> None:
    path = tmp_path / f"out.{suffix}"
    result = run_cli("classify", pictures, *LABELS, *NANO, "-k", 2, "--layout", layout, "-o", path)
    assert result.code == 0, result.err
    readers = {
        "csv": pd.read_csv,
        "tsv": lambda file: pd.read_csv(file, sep="\t"),
        "jsonl": lambda file: pd.read_json(file, lines=True),
        "parquet": pd.read_parquet,
        "xlsx": pd.read_excel,
    }
    frame = readers[suffix](path)
    rows = rows_of(run_cli("classify", pictures, *LABELS, *NANO, "-k", 2, "--format", "csv").out)
    best = [float(row["score"]) for row in rows if row["rank"] == "1"]
    found = {
        "long": lambda: frame.score[::2],
        "wide": lambda: frame.score,
        "matrix": lambda: frame[["cat", "fish", "sun", "house", "bicycle"]].max(axis=1),
    }[layout]()
    assert found.tolist() == pytest.approx(best, abs=1e-12)


def test_a_workbook_is_wide_and_other_files_long_unless_a_layout_is_named(
    run_cli: Cli, pictures: Path, tmp_path: Path
) -> None:
    outputs = [option for name in ("csv", "xlsx") for option in ("-o", tmp_path / f"out.{name}")]
    assert run_cli("classify", pictures, *LABELS, *NANO, "-k", 2, *outputs).code == 0
    wide = pd.read_excel(tmp_path / "out.xlsx")
    assert list(wide.columns)[:5] == ["image", "label", "score", "label_2", "score_2"]
    assert len(wide) == 12
    long = pd.read_csv(tmp_path / "out.csv")
    assert len(long) == 24
    assert wide.label.tolist() == long.label[::2].tolist()
    assert run_cli("classify", pictures, *LABELS, *NANO, "-k", 2, *outputs, "--layout", "long").code == 0
    assert len(pd.read_excel(tmp_path / "out.xlsx")) == 24


def test_nested_json_lines(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    result = run_cli("classify", pictures, *LABELS, *NANO, "-k", 2, "--layout", "nested", "--format", "jsonl")
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [len(record["predictions"]) for record in records] == [2] * 12
    refused = run_cli("classify", pictures, *LABELS, *NANO, "--layout", "nested", "-o", tmp_path / "out.csv")
    assert_refused(refused, 2, "the layout nested is JSON, which CSV cannot hold", ".jsonl")


def test_a_workbook_tells_of_its_run_and_shows_the_images(
    run_cli: Cli, pictures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out.xlsx"
    (pictures / "broken.png").write_bytes(b"")
    arguments = ("classify", pictures, *LABELS, *NANO, "-t", "an icon of a {}.", "-o", path)
    assert run_cli(*arguments, "--thumbnails", "--provenance").code == 3
    book = openpyxl.load_workbook(path)
    sheet, summary = book.worksheets
    assert len(sheet._images) == 12
    assert [row[0].hyperlink.target for row in sheet.iter_rows(min_row=2)][:2] == [
        "pictures/00.jpg",
        "pictures/01.png",
    ]
    facts = dict(row for row in summary.iter_rows(values_only=True) if row[0])
    assert (facts["ok"], facts["error"], facts["empty file"]) == (12, 1, 1)
    assert facts["command"] == shlex.join(map(str, ["clipcli", *arguments, "--thumbnails", "--provenance"]))
    assert facts["templates"] == "an icon of a {}."
    told = json.loads((tmp_path / "out.xlsx.meta.json").read_text())
    assert facts["fingerprint"] == told["model"]["fingerprint"]
    assert told["output"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["model"]["precision"] == "fp32"
    assert told["failures"] == {"empty file": 1}
    assert sum(told["labels"].values()) == told["images"]["ok"] == 12


def test_a_run_that_is_broken_off_is_told_beside_no_output(
    run_cli: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipcli.pipeline.classify", _interrupted(KeyboardInterrupt))
    outputs = [option for name in ("csv", "html") for option in ("-o", tmp_path / f"out.{name}")]
    assert run_cli("classify", pictures, *LABELS, *NANO, *outputs, "--provenance").code == 130
    assert [found.name for found in tmp_path.glob("out*")] == ["out.csv.partial"]


def test_reports_are_told_of_too(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    outputs = [option for name in ("csv", "html") for option in ("-o", tmp_path / f"out.{name}")]
    assert run_cli("classify", pictures, *LABELS, *NANO, *outputs, "--provenance").code == 0
    for name in ("out.csv", "out.html"):
        told = json.loads((tmp_path / f"{name}.meta.json").read_text())["output"]
        assert told["sha256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_options_without_the_output_that_they_are_for(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    arguments = ("classify", pictures, *LABELS, *NANO)
    refused = run_cli(*arguments, "--thumbnails", "-o", tmp_path / "out.csv")
    assert_refused(refused, 2, "--thumbnails is for .xlsx files", "-o predictions.xlsx")
    refused = run_cli(*arguments, "--provenance")
    assert_refused(refused, 2, "--provenance is written beside an output file", "-o FILE")
    assert not list(tmp_path.glob("out*"))


def test_abstaining(run_cli: Cli, pictures: Path) -> None:
    result = run_cli("classify", pictures, *LABELS, *NANO, "--format", "csv", "--min-score", 1)
    rows = rows_of(result.out)
    assert {row["status"] for row in rows} == {"unknown"}
    assert "\n12 unknown: the best label does not reach a threshold\n" in result.err
    assert "labels: " not in result.err
    kept = run_cli(
        "classify", pictures, *LABELS, *NANO, "--format", "csv", "--min-score", 0, "--min-margin", 0
    )
    assert "unknown" not in kept.out + kept.err
    assert [row | {"status": "unknown"} for row in rows_of(kept.out)] == rows


def test_include_and_exclude(run_cli: Cli, pictures: Path) -> None:
    result = run_cli("classify", pictures, *LABELS, *NANO, "--format", "csv", "--include", "*.png", "-k", 1)
    assert len(rows_of(result.out)) == 6
    result = run_cli("classify", pictures, *LABELS, *NANO, "--format", "csv", "--exclude", "0*", "-k", 1)
    assert [Path(row["image"]).name for row in rows_of(result.out)] == ["10.jpg", "11.png"]


def test_saved_class_embeddings_give_the_same_bytes(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    saved = tmp_path / "classes.safetensors"
    assert run_cli("prompts", *LABELS, *NANO, "-o", saved).code == 0
    direct = run_cli("classify", pictures, *LABELS, *NANO, "--format", "csv")
    reused = run_cli("classify", pictures, "--class-embeddings", saved, *NANO[2:], "--format", "csv")
    assert reused.out == direct.out


# --- Wrong usage ---------------------------------------------------------------------------------


def assert_refused(result: Result, code: int, *parts: str) -> None:
    """One or two lines that say what is wrong; no traceback, no output."""
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert len(result.err.strip().splitlines()) <= 2, result.err
    assert result.err.startswith("error: ")
    assert result.out == ""
    for part in parts:
        assert part in result.err, result.err


def test_no_labels(run_cli: Cli, pictures: Path) -> None:
    assert_refused(run_cli("classify", pictures, *NANO), 2, "no labels given", "--classes FILE")


def test_no_images(run_cli: Cli, tmp_path: Path) -> None:
    assert_refused(run_cli("classify", *LABELS, *NANO), 2, "no images given")
    assert_refused(run_cli("classify", tmp_path, *LABELS, *NANO), 2, f"no images found in {tmp_path}")


def test_a_missing_folder_suggests_a_near_one(run_cli: Cli, pictures: Path) -> None:
    near = pictures.parent / "picturs"
    assert_refused(
        run_cli("classify", near, *LABELS, *NANO), 2, f"no such file or folder: {near}", str(pictures)
    )


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("nanno", ["unknown model 'nanno'", "Did you mean nano"]),
        ("vit-b-32", ["unknown model", "ViT-B-32"]),
        ("ViT-B-32", ["ViT-B-32 needs weights", "openai"]),
        ("ViT-B-32:openia", ["no weights named 'openia'", "Did you mean openai?"]),
        ("hf-hub:nothing", ["not a hub repository"]),
        ("local-dir:/nowhere", ["no such folder: /nowhere", "open_clip_config.json"]),
    ],
)
def test_an_unknown_model(run_cli: Cli, pictures: Path, model: str, parts: list[str]) -> None:
    assert_refused(run_cli("classify", pictures, *LABELS, "--model", model), 2, *parts)


def test_weights_out_of_reach_name_the_ways_out(run_cli: Cli, pictures: Path) -> None:
    result = run_cli("classify", pictures, *LABELS, "--model", "fast", "--offline")
    assert_refused(result, 1, "no weights for fast", "clipcli models pull fast", "--model nano")


def test_an_unreadable_class_file(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    bad = tmp_path / "classes.txt"
    assert_refused(run_cli("classify", pictures, "-c", bad, *NANO), 2, f"no class list or file named '{bad}'")
    bad.write_bytes(b"cat\n\xff\xfe\n")
    assert_refused(run_cli("classify", pictures, "-c", bad, *NANO), 2, f"{bad}:2: not UTF-8 text")
    bad.write_text("cat\ndog\ncat\n")
    assert_refused(
        run_cli("classify", pictures, "-c", bad, *NANO), 2, f"{bad}:3: label 'cat' is given twice", f"{bad}:1"
    )


def test_a_template_without_placeholder(run_cli: Cli, pictures: Path) -> None:
    result = run_cli("classify", pictures, *LABELS, "-t", "a photo of a cat", *NANO)
    assert_refused(result, 2, "template without a placeholder")


def test_class_embeddings_of_another_model(
    run_cli: Cli, pictures: Path, tmp_path: Path, random_model: Callable[[str], Path]
) -> None:
    saved = tmp_path / "classes.safetensors"
    run_cli("prompts", *LABELS, *NANO, "-o", saved)
    other = f"local-dir:{random_model('clip')}"
    result = run_cli("classify", pictures, "--class-embeddings", saved, "--model", other)
    assert_refused(result, 1, "were made by nano", other)


def test_class_embeddings_and_labels_together(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    result = run_cli("classify", pictures, *LABELS, "--class-embeddings", tmp_path / "x.safetensors")
    assert_refused(result, 2, "--classifier brings its own classes")


def test_the_folder_of_the_output_must_exist(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "missing" / "out.csv"
    assert_refused(
        run_cli("classify", pictures, *LABELS, *NANO, "-o", output), 2, f"no such folder: {output.parent}"
    )


def test_an_unknown_format(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    result = run_cli("classify", pictures, *LABELS, *NANO, "-o", tmp_path / "out.doc")
    assert_refused(result, 2, "cannot tell the output format", ".csv")


def test_decoding_on_a_gpu_that_is_not_there_says_so(run_cli: Cli, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg")
    result = run_cli("classify", tmp_path, *LABELS, *NANO, "--gpu-decode")
    assert result.code == 2
    assert "decoding on a GPU needs a CUDA GPU; the model runs on cpu" in " ".join(result.err.split())
    result = run_cli("classify", tmp_path, *LABELS, *NANO, "--gpu-decode", "--exact-decode")
    assert result.code == 2
    assert "exclude each other" in " ".join(result.err.split())


@pytest.mark.parametrize(
    ("option", "value"), [("--top-k", "0"), ("--batch-size", "0"), ("--workers", "-1"), ("--max-pixels", "0")]
)
def test_values_out_of_range(run_cli: Cli, pictures: Path, option: str, value: str) -> None:
    result = run_cli("classify", pictures, *LABELS, *NANO, option, value)
    assert_refused(result, 2, f"{option} must be at least 1, not {value}")


def test_a_bug_is_named_as_one(run_cli: Cli, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("for the test")

    monkeypatch.setattr("clipcli.pipeline.prefetch_map", explode)
    result = run_cli("classify", pictures, *LABELS, *NANO, "-o", pictures.parent / "out.csv")
    assert_refused(result, 1, "ZeroDivisionError", "CLIPCLI_DEBUG=1")
    assert not list(pictures.parent.glob("out.csv*"))


# --- Several outputs -----------------------------------------------------------------------------


def test_one_run_writes_several_files(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "out.csv", tmp_path / "out.xlsx"]
    options = [option for output in outputs for option in ("-o", output)]
    result = run_cli("classify", pictures, *LABELS, *NANO, *options, "-o", "-", "--layout", "long")
    assert result.code == 0, result.err
    assert result.out == outputs[0].read_text()
    assert len(rows_of(result.out)) == 5 * 12
    sheet = pd.read_excel(outputs[1])
    pd.testing.assert_frame_equal(sheet, pd.read_csv(outputs[0]), check_dtype=False)
    assert f"wrote {outputs[0]}, {outputs[1]}\n" in result.err
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.csv", "out.xlsx"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "a.csv", "-o", "./a.csv"], "a.csv is named twice"),
        (["-o", "-", "-o", "-"], "standard output is named twice"),
        (["-o", "a.csv", "-o", "b.xlsx", "--format", "csv"], "one format, csv, for 2 outputs"),
        (["-o", "a.csv", "-o", "b.doc"], "cannot tell the output format of b.doc"),
    ],
)
def test_outputs_that_do_not_go_together(
    run_cli: Cli,
    pictures: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(run_cli("classify", pictures, *LABELS, *NANO, *options), 2, message)
    assert not list(tmp_path.glob("[ab].*"))


def _interrupted(error: type[BaseException]) -> Callable[..., Iterator[Outcome]]:
    def classify(*_: object, **__: object) -> Iterator[Outcome]:
        yield ImageFailure("a.jpg", "no such file")
        raise error

    return classify


def test_an_interrupted_run_names_what_it_keeps(
    run_cli: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipcli.pipeline.classify", _interrupted(KeyboardInterrupt))
    outputs = [tmp_path / "out.csv", tmp_path / "out.parquet"]
    options = [option for output in outputs for option in ("-o", output)]
    result = run_cli("classify", pictures, *LABELS, *NANO, *options)
    partial = " and ".join(f"{output}.partial" for output in outputs)
    assert result.code == 130
    assert f"interrupted: 1 images are in {partial}; run it again to go on\n" in result.err
    assert len(rows_of(Path(f"{outputs[0]}.partial").read_text())) == 1
    assert len(pd.read_parquet(f"{outputs[1]}.partial")) == 1
    assert not any(output.exists() for output in outputs)


def test_a_reader_that_leaves_early_is_an_error_for_the_file_beside_it(
    run_cli: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipcli.pipeline.classify", _interrupted(BrokenPipeError))
    output = tmp_path / "out.csv"
    result = run_cli("classify", pictures, *LABELS, *NANO, "-o", output, "-o", "-")
    assert result.code == 1
    assert "the program that reads the output has ended before the run" in result.err
    assert f"1 images are in {output}.partial" in result.err
    assert not output.exists()
    assert run_cli("classify", pictures, *LABELS, *NANO, "-o", "-").code == 0


# --- As a process --------------------------------------------------------------------------------


def test_a_reader_that_leaves_early_is_no_error(pictures: Path) -> None:
    shutil.copytree(pictures, pictures / "more")
    command = [*clipcli(), "classify", str(pictures), *LABELS, "-m", "nano"]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    result = subprocess.run(
        ["head", "-n", "1"], stdin=writer.stdout, capture_output=True, text=True, check=True
    )
    assert writer.stdout is not None
    writer.stdout.close()
    errors = writer.communicate()[1].decode()
    assert result.stdout == "image,rank,label,score,cosine,error,status,margin\n"
    assert "error" not in errors.lower(), errors


def test_on_a_terminal_there_is_a_table_and_progress(pictures: Path) -> None:
    import pty

    screen, terminal = pty.openpty()
    command = [*clipcli(), "classify", str(pictures), *LABELS, "-m", "nano", "-k", "2"]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "160"}
    process = subprocess.Popen(command, stdout=terminal, stderr=terminal, stdin=terminal, env=environment)
    os.close(terminal)
    seen = b""
    while True:
        try:
            seen += os.read(screen, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
    os.close(screen)
    text = seen.decode()
    assert process.wait() == 0, text
    assert "loading nano" in text
    assert "12/12" in text
    assert "image " in text
    assert "1." in text
    assert "12 images in" in text
    assert "image,rank" not in text


def test_a_picture_without_suffix_named_by_the_user_is_tried(run_cli: Cli, tmp_path: Path) -> None:
    picture = tmp_path / "no-suffix"
    Image.new("RGB", (40, 30), "red").save(picture, format="PNG")
    result = run_cli("classify", picture, *LABELS, *NANO, "--format", "csv", "-k", 1)
    assert result.code == 0
    assert len(rows_of(result.out)) == 1
