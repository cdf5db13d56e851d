"""The options of runs on several machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from clipcli import choices
from clipcli.errors import UsageError

PANEL = "Several machines"

Engine = Annotated[
    choices.Engine,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help="What runs the work: this process, or Ray, on one machine or many. Ray needs"
        " `pip install 'clipcli[ray]'`, and does not use the cache.",
        rich_help_panel=PANEL,
    ),
]
Parts = Annotated[
    str | None,
    typer.Option(
        "--parts",
        metavar="DIR|URL",
        help="Write the results as a folder of many files, in place of -o: each process writes its own, and a"
        " run that was interrupted goes on. An address such as s3://bucket/out is possible. Needs --engine"
        " ray.",
        rich_help_panel=PANEL,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDRESS",
        envvar="RAY_ADDRESS",
        help="A Ray that runs already: auto for that of this machine, or ray://HOST:10001. [default: one is"
        " started here for this run]",
        rich_help_panel=PANEL,
    ),
]
NumGpus = Annotated[
    int | None,
    typer.Option(
        "--num-gpus",
        help="How many GPUs to use, each with a model of its own. [default: all that Ray has]",
        rich_help_panel=PANEL,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        help="How many copies of the model encode at the same time. [default: one for each GPU, otherwise"
        " for each --cpus-per-encoder]",
        rich_help_panel=PANEL,
    ),
]
CpusPerEncoder = Annotated[
    int | None,
    typer.Option(
        "--cpus-per-encoder",
        help="How many cores a copy of the model uses, without GPUs. [default: those of one machine]",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True)
class OnRay:
    """Whether Ray runs the work, where, and where its results go."""

    engine: Engine = "local"
    parts: Parts = None
    ray_address: RayAddress = None
    num_gpus: NumGpus = None
    concurrency: Concurrency = None
    cpus_per_encoder: CpusPerEncoder = None

    @property
    def is_chosen(self) -> bool:
        """Whether Ray is to be used."""
        return self.engine == "ray"

    @property
    def places(self) -> list[str]:
        """The folder that is written, if there is one."""
        return [] if self.parts is None else [self.parts]

    def check(self) -> None:
        """Refuse options for Ray in a run without it.

        Raises:
            UsageError: there is one.
        """
        given = {
            **{"--parts": self.parts, "--num-gpus": self.num_gpus, "--concurrency": self.concurrency},
            "--cpus-per-encoder": self.cpus_per_encoder,
        }
        for option, value in given.items():
            if value is not None and not self.is_chosen:
                raise UsageError(f"{option} is for --engine ray", "Add it, or leave the option out.")
