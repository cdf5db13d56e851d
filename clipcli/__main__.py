"""`clipcli` and `python -m clipcli`."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line."""
    gc.disable()  # until a command begins: imports leave no garbage, and looking for it takes time
    from clipcli.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
