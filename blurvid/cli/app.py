"""`blurvid app`: a page for people who do not type commands."""

from __future__ import annotations

import threading
import webbrowser

import click

from blurvid.cli import options, values
from blurvid.config import RunOptions


@click.command()
@click.option(
    "--no-browser", is_flag=True, help="Only print the address; open it in a browser yourself."
)
@options.memory_option
@options.run_options
@values.takes(run=RunOptions)
def app(no_browser: bool, run: RunOptions) -> None:
    """Open a page in the browser: photos in, frames out.

    The page comes from this machine and can be reached from it alone, at the address that is
    printed; nothing leaves the machine. Closing its window ends the work and deletes its files.

    \b
    Examples:
      blurvid app
      blurvid app --no-browser
    """
    from blurvid.app import serve  # torch loads here, so that --help stays instant

    def ready(address: str) -> None:
        click.echo(address)
        if not no_browser:
            # Browsers of a terminal would keep the page from being served.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve(run, ready)
