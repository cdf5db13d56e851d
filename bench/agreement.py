"""How far from fp32 with exact decoding the faster ways come out: cosine of the features, best label."""

from __future__ import annotations

import numpy as np
from child import Job

from clipcli import build_classifier
from clipcli.errors import ClipcliError
from clipcli.images.decode import DecodeOptions
from clipcli.inputs.item import FileItem
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.locate import ModelFiles
from clipcli.pipeline import EngineOptions, encode


def features(encoder: OpenClipEncoder, paths: list[str], exact: bool) -> np.ndarray:
    """(N, D) of images that all can be read."""
    options = EngineOptions(decoding=DecodeOptions(exact=exact))
    return np.concatenate([batch.features for batch in encode(map(FileItem, paths), encoder, options)])


def agreement(files: ModelFiles, job: Job) -> None:
    """Print mean and lowest cosine, and the share of images with the same best label."""
    exact = OpenClipEncoder(files, "cpu", "fp32")
    classes = build_classifier(exact, job.labels, job.template).class_embeddings  # (C, D)
    expected = features(exact, job.paths, exact=True)
    print(f"\nagreement with fp32 and exact decoding, {len(job.paths)} images, {len(job.labels)} labels")
    rows = [("fp32, reduced decode", exact, False)]
    for precision in ("bf16", "int8"):
        try:
            encoder = OpenClipEncoder(files, "cpu", precision)
        except ClipcliError as error:
            print(f"  {precision}: left out, {error.message}")
            continue
        rows.append((f"{precision}, exact decode", encoder, True))
    for name, encoder, decode_exactly in rows:
        found = features(encoder, job.paths, decode_exactly)
        cosines = np.sum(expected * found, axis=1)
        same = np.mean((expected @ classes.T).argmax(axis=1) == (found @ classes.T).argmax(axis=1))
        figures = f"cosine {cosines.mean():.5f} (lowest {cosines.min():.5f})"
        print(f"  {name:<34} {figures}, top-1 {same:.1%} the same")
