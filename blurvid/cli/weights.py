"""`blurvid weights`: checkpoints in the cache."""

from __future__ import annotations

from pathlib import Path

import click

from blurvid.cli import common
from blurvid.errors import WeightsError


@click.group()
def weights() -> None:
    """List, check, import and fetch weight sets.

    \b
    Examples:
      blurvid weights list
      blurvid weights import center_v3.pth F35_N8.pth F26_*.pth F17_*.pth
    """


@weights.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a set on stdout.")
def list_(as_json: bool) -> None:
    """List the weight sets that can be named, and where they are.

    \b
    Example:
      blurvid weights list
    """
    from blurvid.weights import list_sets

    sets = list_sets()
    if as_json:
        for entry in sets:
            common.echo_json(
                {
                    "name": entry.name,
                    "model": entry.model,
                    "score": entry.score,
                    "origin": entry.origin,
                    "path": str(entry.path),
                }
            )
        return
    for entry in sets:
        score = f"{entry.score:.2f} dB" if entry.score is not None else "no score"
        click.echo(f"{entry.name}\t{entry.model}\t{score}\t{entry.origin}\t{entry.path}")


@weights.command("import")
@click.argument("files", nargs=-1, required=True, type=common.existing, metavar="FILE...")
@click.option("--name", default="jin2018", show_default=True, help="Name of the new set.")
@click.option("--overwrite", is_flag=True, help="Replace a set of that name.")
def import_(files: tuple[Path, ...], name: str, overwrite: bool) -> None:
    """Import the four checkpoints that the paper's authors published, in any order.

    They are read without executing what is in them, and their digests are compared with the
    published files'.

    \b
    Example:
      blurvid weights import center_v3.pth F35_N8.pth F26_N9_from_F35_N8.pth \\
          F17_N9_from_F26_N9_from_F35_N8.pth
    """
    from blurvid.weights import import_authors

    report = import_authors(files, name=name, overwrite=overwrite)
    for file in report.files:
        click.echo(f"{file.path}: {file.stage}, {file.verdict}", err=True)
    click.echo(report.weight_set.path)


@weights.command()
@click.argument("url")
@click.option("--name", help="Name of the new set.  [default: its own]")
@click.option("--sha256", help="Digest that the downloaded file must have.")
def fetch(url: str, name: str | None, sha256: str | None) -> None:
    """Download a weight set into the cache. No other command uses the network.

    URL is a zip or tar archive of a set, or its set.json.

    \b
    Example:
      blurvid weights fetch https://example.org/blurvid/direct.zip
    """
    from blurvid import weights as library

    click.echo(library.fetch(url, name, sha256=sha256).path)


@weights.command()
@click.argument("name", required=False)
def verify(name: str | None) -> None:
    """Compare the files of a set, or of all sets, with their digests.

    \b
    Example:
      blurvid weights verify direct
    """
    from blurvid import weights as library

    failures = []
    for entry in [library.find(name)] if name else library.list_sets():
        try:
            library.verify(entry)
            click.echo(f"{entry.name}: ok")
        except WeightsError as error:
            common.fail(error)
            failures.append(error)
    if failures:
        click.get_current_context().exit(common.exit_code(failures[0]))


@weights.command()
@click.argument("name", required=False)
def path(name: str | None) -> None:
    """Print the folder of a set, or of the cache.

    \b
    Example:
      blurvid weights path
    """
    from blurvid import weights as library

    click.echo(library.find(name).path if name else library.cache_dir())
