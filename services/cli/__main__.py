"""`python -m services.cli`: the same as `tocsin`."""

from services.cli.app import main

main()
