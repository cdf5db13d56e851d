"""`clipcli` and `python -m clipcli`."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line in a process of its own."""
    gc.disable()  # until a command begins: imports leave no garbage, and looking for it takes time
    from clipcli.cli import startup
    from clipcli.cli.app import main as run

    startup.prepare()
    run()


if __name__ == "__main__":
    main()
