"""`python -m blurvid`."""

from blurvid.cli import main

main(prog_name="blurvid")
