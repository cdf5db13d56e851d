"""clipcli in each of its precisions, as `child.py` serves it beside `peers.py`."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does, before torch is imported
import torch
from child import AbsentError, Job, Run, serve

from clipcli import __version__, build_classifier, load_model
from clipcli.errors import ClipcliError
from clipcli.images.decode import DecodeOptions
from clipcli.inputs.item import FileItem
from clipcli.pipeline import EngineOptions, classify


def clipcli(job: Job, precision: Any, exact: bool = False) -> tuple[Run, str]:
    """The whole pipeline, without its cache."""
    torch.set_num_threads(job.threads)
    try:
        encoder = load_model(f"local-dir:{job.model}", device="cpu", precision=precision, offline=True)
    except ClipcliError as error:
        raise AbsentError(f"{error.message}; {error.hint}") from None
    classifier = build_classifier(encoder, job.labels, job.template)
    options = EngineOptions(batch_size=job.batch, decoding=DecodeOptions(exact=exact))

    def run() -> list[int]:
        outcomes = classify(map(FileItem, job.paths), encoder, classifier, options=options)
        return [int(outcome.scores.argmax()) for outcome in outcomes if hasattr(outcome, "scores")]

    return run, f"clipcli {__version__}, {encoder.precision}, torch {torch.__version__}"


if __name__ == "__main__":
    serve(
        {
            "fp32_exact": partial(clipcli, precision="fp32", exact=True),
            "fp32": partial(clipcli, precision="fp32"),
            "auto": partial(clipcli, precision="auto"),
            "int8": partial(clipcli, precision="int8"),
        }
    )
