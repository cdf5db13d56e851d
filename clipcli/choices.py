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

LayoutName: TypeAlias = Literal["long", "wide", "matrix"]
"""Which rows an image has in a table."""

FormatName: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet", "xlsx", "html"]
"""The formats that are written: tables, and the report."""

Truncated: TypeAlias = Literal["error", "ok"]
Status: TypeAlias = Literal["ok", "unknown"]
"""Whether a truncated image is refused, or what can be read of it is used."""

Loss: TypeAlias = Literal["auto", "clip", "siglip"]
"""The loss of contrastive training; `auto` is the one that the model was trained with."""
