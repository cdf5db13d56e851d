"""`python -m clipcli`."""

from clipcli.cli.app import main

main()
