"""`clipcli` and `python -m clipcli`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line in a process of its own."""
    gc.disable()  # until a command begins: imports leave no garbage, and looking for it takes time
    from clipcli.cli import startup
    from clipcli.cli.app import main as run

    startup.prepare()
    try:
        run()
    except SystemExit as end:
        _end_at_once_if_asked(end)
        raise


def _end_at_once_if_asked(end: SystemExit) -> None:
    """After a second signal, do not wait for threads: the signal may have come while their lock was held."""
    from clipcli.cli.interrupts import StopOnSignal

    if StopOnSignal.ended_at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)


if __name__ == "__main__":
    main()
