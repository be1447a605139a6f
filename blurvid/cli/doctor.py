"""`blurvid doctor`: what works and what does not."""

from __future__ import annotations

import dataclasses

import click

from blurvid.cli.boundary import echo_json


@click.command(short_help="Check the install, devices, codecs, cache and weights.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def doctor(as_json: bool) -> None:
    """Check the install, devices, codecs, cache and weights; exit 1 if something is wrong.

    \b
    Example:
      blurvid doctor
    """
    from blurvid.doctor import examine

    healthy = True
    for finding in examine():
        healthy &= finding.ok
        if as_json:
            echo_json(dataclasses.asdict(finding))
        else:
            mark = "ok  " if finding.ok else "FAIL"
            click.echo(f"{mark}  {finding.name:<15} {finding.text}")
    if not healthy:
        click.get_current_context().exit(1)
