"""The words that options take, each list in one place, for the command line and for Python."""

from __future__ import annotations

from typing import Literal, TypeAlias

Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16", "int8"]
"""In which precision a model encodes."""

TrainPrecision: TypeAlias = Literal["auto", "fp32", "bf16"]
"""In which precision a model is trained."""

Activation: TypeAlias = Literal["softmax", "sigmoid"]
"""How a model turns logits into probabilities."""

Score: TypeAlias = Literal["auto", "softmax", "sigmoid", "cosine"]
"""What the score of a label is; `auto` is the activation that the model was trained with."""

LayoutName: TypeAlias = Literal["long", "wide", "matrix", "nested"]
"""Which rows an image has in a table; `nested` is one JSON object."""

FormatName: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet", "xlsx", "html"]
"""The formats that are written: tables, and the report."""

TableFormatName: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet", "xlsx"]
"""The formats of tables."""

FeatureType: TypeAlias = Literal["float32", "float16"]
"""How features are stored in files for other tools."""

Truncated: TypeAlias = Literal["error", "ok"]
"""Whether a truncated image is refused, or what can be read of it is used."""

Status: TypeAlias = Literal["ok", "unknown"]
"""Whether the best label of an image reaches all thresholds."""

Loss: TypeAlias = Literal["auto", "clip", "siglip"]
"""The loss of contrastive training; `auto` is the one that the model was trained with."""

SortMode: TypeAlias = Literal["link", "hardlink", "copy", "move"]
"""What becomes of images that are sorted into folders."""

SidecarNames: TypeAlias = Literal["darktable", "lightroom"]
"""How the sidecar of `a.jpg` is called: `a.jpg.xmp`, as in darktable, or `a.xmp`, as in Lightroom."""

ProbeMethod: TypeAlias = Literal["gda", "linear", "prototype"]
"""What is fitted to a few examples of each class."""

ProbeChoice: TypeAlias = Literal["auto", "gda", "linear", "prototype"]
"""The same; `auto` is what does best on examples held out."""

RejectMethod: TypeAlias = Literal["msp", "mcm", "energy", "negatives"]
"""By which score an image is told that shows none of the labels."""

WeightMethod: TypeAlias = Literal["carprt", "zpe"]
"""How prompts get their weights from images without labels."""

PerVideo: TypeAlias = Literal["mean", "max"]
"""What a video has of its frames: the mean of their features, or the largest score of each label."""

Prefer: TypeAlias = Literal["jpeg", "raw"]
"""Which file to use of a pair that shows the same photograph."""

Engine: TypeAlias = Literal["local", "ray"]
"""What runs the stages: threads of this process, or Ray."""
