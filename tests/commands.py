"""`clipcli` as a process: forked where a test is about what a process does, and not about how it starts."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FORK_SERVER = Path(__file__).parent / "fork_server.py"
PROCESS = (sys.executable, "-m", "clipcli")
CAN_FORK = sys.platform == "linux"  # elsewhere libraries may not be forked; commands start as usual
_ENVIRONMENT = dict(os.environ)  # as conftest.py has made it; a test may have changed it since
OPEN_CLIP = ("torch", "open_clip")  # pandas and scikit-learn bring pyarrow, which starts a thread
TORCH = ("torch",)
"""For an environment of its own in what the hub's client reads when it is imported."""


@functools.cache
def _server(modules: tuple[str, ...]) -> str:
    """The socket of a server that has imported these modules; it ends with this process."""
    path = str(Path(tempfile.mkdtemp(prefix="clipcli-fork-"), "socket"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)  # clients may come while it imports
        command = [sys.executable, FORK_SERVER, "serve", str(listener.fileno()), *modules]
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=_ENVIRONMENT
        )
    atexit.register(_stop, server, path)
    return path


def _stop(server: subprocess.Popen[bytes], path: str) -> None:
    server.communicate()
    Path(path).unlink()
    Path(path).parent.rmdir()


def clipcli(modules: tuple[str, ...] = OPEN_CLIP, pid_to: int | None = None) -> list[str]:
    """The words that run `clipcli` when its arguments follow."""
    if not CAN_FORK:
        return list(PROCESS)
    client = [sys.executable, "-I", "-S", str(FORK_SERVER), "run", _server(modules)]
    return [*client, "-" if pid_to is None else str(pid_to)]


class Command(subprocess.Popen[Any]):
    """A running `clipcli`, as `subprocess.Popen` has it: signals reach the command.

    Args:
        arguments: of `clipcli`.
        modules: what is imported already.
        options: of `subprocess.Popen`.
    """

    def __init__(self, *arguments: object, modules: tuple[str, ...] = OPEN_CLIP, **options: Any) -> None:
        reader, writer = os.pipe()
        try:
            words = [*clipcli(modules, writer), *map(str, arguments)]
            super().__init__(words, pass_fds=[writer], **options)
        finally:
            os.close(writer)
        with os.fdopen(reader) as answer:
            self.command = int(answer.read() or self.pid)

    def send_signal(self, sig: int) -> None:
        """Send a signal to the command, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.command, sig)
