"""Options that several commands share, each declared once. Nothing else lives here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipcli import choices
from clipcli.cli import completion, values

CLASSES, IMAGES, MODEL, SCORES, COMPARISONS, OUTPUT, DECODING, RUN = (
    *("Classes", "Images", "Model", "Scores", "Comparisons", "Output", "Decoding"),
    "How to run",
)

# --- Classes -------------------------------------------------------------------------------------

Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", "-l", metavar="A,B,C", help="The labels, separated by commas.", rich_help_panel=CLASSES
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="LABEL",
        help="One label, which may contain commas. Can be given several times.",
        rich_help_panel=CLASSES,
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        "-c",
        metavar="FILE|NAME",
        autocompletion=completion.class_lists,
        help="A class list: a .txt, .csv, .json or .yaml file, or the name of a list that comes with clipcli"
        " (see `clipcli classes list`).",
        rich_help_panel=CLASSES,
    ),
]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--templates",
        "-t",
        metavar="NAME|FILE|TEXT",
        autocompletion=completion.templates,
        help="A set of templates (see `clipcli templates list`), a file with one template per line, or a"
        " template such as 'a photo of a {}.'. Can be given several times. [default: imagenet7]",
        rich_help_panel=CLASSES,
    ),
]
Concept = Annotated[
    str,
    typer.Option(
        "--concept",
        metavar="TEXT",
        help="What all classes have in common, such as 'a type of pet'. It is added to every template.",
        rich_help_panel=CLASSES,
    ),
]

# --- Images --------------------------------------------------------------------------------------

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Image files, folders (searched with all their subfolders), globs, and Parquet or Arrow files"
        " with images. A single - reads a list of paths from standard input.",
    ),
]
FromFile = Annotated[
    str | None,
    typer.Option(
        "--from-file",
        "-f",
        metavar="LIST|TABLE",
        help="A list of image paths, separated by newlines or NUL; or a .csv, .tsv, .jsonl, .parquet, .arrow,"
        " .feather or .xlsx table with a column of image paths. A file, or an address such as"
        " s3://bucket/list.csv. Use - for standard input.",
        rich_help_panel=IMAGES,
    ),
]
ImageColumn = Annotated[
    str | None,
    typer.Option(
        "--image-column",
        metavar="NAME",
        help="The column of tables that holds the images or their paths."
        " [default: the only one with images, or else the one named image, path, file, filename, …]",
        rich_help_panel=IMAGES,
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(
        "--keep",
        metavar="A,B,C",
        help="The columns of the table, or of other inputs that have columns, to copy to the output, in this"
        " order. [default: all]",
        rich_help_panel=IMAGES,
    ),
]
Truth = Annotated[
    str | None,
    typer.Option(
        "--truth",
        metavar="FILE",
        help="A .csv, .tsv, .jsonl, .parquet or .xlsx table of true labels, with the columns image and label."
        " Several labels of one image are separated by |. Without INPUT, its images are measured."
        " [default: the folder of an image is its label]",
        rich_help_panel=IMAGES,
    ),
]
TruthColumn = Annotated[
    str | None,
    typer.Option(
        "--truth-column",
        metavar="NAME",
        autocompletion=completion.columns,
        help="The column with the true labels: of the --truth table, otherwise of the inputs that have"
        " columns, such as the --from-file table, a Parquet file with images or WebDataset shards."
        " [default in --truth: the one named label, labels, class or truth]",
        rich_help_panel=IMAGES,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="In folders, only use images that match this pattern. Can be given several times.",
        rich_help_panel=IMAGES,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="In folders, leave out files and subfolders that match this pattern."
        " Can be given several times.",
        rich_help_panel=IMAGES,
    ),
]

# --- Model ---------------------------------------------------------------------------------------

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        autocompletion=completion.models,
        envvar="CLIPCLI_MODEL",
        help="A preset: nano (bundled; small, for everyday things and drawings), fast, balanced,"
        " multilingual, accurate or best. Or ARCHITECTURE:TAG, hf-hub:org/repo, or a folder with a model (see"
        " `clipcli models list`). [default: balanced]",
        rich_help_panel=MODEL,
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        metavar="TAG|FILE",
        autocompletion=completion.tags,
        help="The weights to use, if --model names an architecture without a tag.",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        autocompletion=completion.devices,
        help="Where the model runs: auto, cpu, cuda (all GPUs), cuda:1, cuda:0,cuda:2 or mps."
        " auto uses GPUs if there are any.",
        rich_help_panel=MODEL,
    ),
]
Precision = Annotated[
    choices.Precision,
    typer.Option(
        "--precision",
        metavar="TYPE",
        help="The number format of the model: auto, fp32, bf16, fp16 or int8. auto is bf16 where the hardware"
        " supports it, fp16 on other GPUs, and fp32 otherwise. int8 is for CPUs and needs"
        " `pip install 'clipcli[int8]'`.",
        rich_help_panel=MODEL,
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        envvar="HF_HUB_OFFLINE",
        help="Do not use the network.",
        callback=values.offline,
        rich_help_panel=MODEL,
    ),
]

# --- Decoding ------------------------------------------------------------------------------------

MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="Refuse images with more pixels than this. [default: 268 million]",
        rich_help_panel=DECODING,
    ),
]
ExactDecode = Annotated[
    bool,
    typer.Option(
        "--exact-decode",
        help="Decode large JPEGs at full size, for the same pixels as open_clip. This is slower.",
        rich_help_panel=DECODING,
    ),
]
GpuDecode = Annotated[
    bool,
    typer.Option(
        "--gpu-decode",
        help="Decode JPEGs on the GPU that runs the model. This needs CUDA and"
        " `pip install 'clipcli[gpu-decode]'`.",
        rich_help_panel=DECODING,
    ),
]
Truncated = Annotated[
    choices.Truncated,
    typer.Option(
        "--truncated",
        metavar="CHOICE",
        help="What to do with truncated images: error reports them as failed, ok uses what can be read.",
        rich_help_panel=DECODING,
    ),
]

# --- How to run ----------------------------------------------------------------------------------

BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        help="The number of images to encode together. [default: what suits the device]",
        rich_help_panel=RUN,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-j",
        metavar="N",
        help="The number of threads that read and decode images. [default: one per core]",
        rich_help_panel=RUN,
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar="CLIPCLI_CACHE",
        help="The folder that stores image and text features for later runs."
        " [default: clipcli in your cache folder]",
        rich_help_panel=RUN,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Neither read features from the cache nor store new ones.", rich_help_panel=RUN
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Read all images and weights again, to be sure that none has changed since its features were"
        " stored. Without it, a file with the same size, times and inode is taken to be the same.",
        rich_help_panel=RUN,
    ),
]
AllowFailures = Annotated[
    bool,
    typer.Option(
        "--allow-failures",
        help="Exit with code 0 instead of 3 if some images could not be read.",
        rich_help_panel=RUN,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Show no progress and no summary. Warnings and errors are still shown.",
        rich_help_panel=RUN,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Show more: which model is loaded from where, the classes, the cache.",
        rich_help_panel=RUN,
    ),
]
Log = Annotated[
    Path | None,
    typer.Option(
        "--log",
        metavar="FILE",
        help="Append all messages to this file, with their times; also those that --quiet hides.",
        rich_help_panel=RUN,
    ),
]
