"""The options that every command with a model has: which model, how images are encoded, what is told."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipcli.cli import options

if TYPE_CHECKING:
    from clipcli.cli.session import Session
    from clipcli.images.decode import DecodeOptions
    from clipcli.models.request import ModelRequest
    from clipcli.pipeline import EngineOptions


@dataclass(frozen=True)
class ModelChoice:
    """Which model is asked for, and where it runs."""

    model: options.Model = None
    pretrained: options.Pretrained = None
    device: options.Device = "auto"
    precision: options.Precision = "auto"
    offline: options.Offline = False

    @property
    def named(self) -> dict[str, str | None]:
        """What says which model it is, by the names of the options."""
        return {"model": self.model, "pretrained": self.pretrained}

    def request(self, known: str | None = None) -> ModelRequest:
        """The model that the command line names.

        Args:
            known: the model if none is named, such as a classifier's own; None is the default.

        Raises:
            UsageError: as `ModelRequest` raises it.
        """
        from clipcli.models.registry import DEFAULT_MODEL
        from clipcli.models.request import ModelRequest

        name = self.model or known or DEFAULT_MODEL
        return ModelRequest(name, self.pretrained, self.device, self.precision, self.offline)


@dataclass(frozen=True)
class Encoding:
    """How images are read and encoded, and where their features are kept."""

    max_pixels: options.MaxPixels = None
    exact_decode: options.ExactDecode = False
    gpu_decode: options.GpuDecode = False
    truncated: options.Truncated = "error"
    batch_size: options.BatchSize = None
    workers: options.Workers = None
    cache: options.Cache = None
    no_cache: options.NoCache = False
    verify: options.Verify = False

    @property
    def decoding(self) -> DecodeOptions:
        """How image files are read.

        Raises:
            UsageError: as `DecodeOptions` raises it.
        """
        from clipcli.images.decode import MAX_PIXELS, DecodeOptions

        limit = MAX_PIXELS if self.max_pixels is None else self.max_pixels
        return DecodeOptions(limit, self.exact_decode, self.truncated, self.gpu_decode)

    @property
    def engine(self) -> EngineOptions:
        """How the work is cut up.

        Raises:
            UsageError: as `EngineOptions` raises it.
        """
        from clipcli.pipeline import EngineOptions

        return EngineOptions(self.batch_size, self.workers, self.decoding)

    def opened(self, request: ModelRequest) -> AbstractContextManager[Session]:
        """A session with a model, and with the cache."""
        from clipcli.cli import session

        return session.opened(request, self.cache, self.no_cache, self.verify)


@dataclass(frozen=True)
class Messages:
    """What is told while a command runs."""

    quiet: options.Quiet = False
    verbose: options.Verbose = False
    log: options.Log = None

    def begin(self) -> None:
        """Let messages be as the options say from now on."""
        from clipcli.cli import console

        console.begin(self.quiet, self.verbose, self.log)
