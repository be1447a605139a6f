"""The command line: parse, call one library function, print."""

from __future__ import annotations

import click

from blurvid import __version__
from blurvid.cli.app import app
from blurvid.cli.bench import bench
from blurvid.cli.config import config
from blurvid.cli.deblur import deblur
from blurvid.cli.doctor import doctor
from blurvid.cli.evaluate import evaluate
from blurvid.cli.extract import extract
from blurvid.cli.guide import completion, guide
from blurvid.cli.settings import SettledGroup
from blurvid.cli.synth import synth
from blurvid.cli.train import train
from blurvid.cli.weights import weights

main = SettledGroup(
    name="main",
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[
        *(extract, deblur, app, guide, synth, evaluate, train, bench, weights, doctor),
        *(config, completion),
    ],
    help="""Turn one motion-blurred photo into the seven sharp frames it was made of.

    A photo or folder in the place of a COMMAND is one for `extract`.

    \b
    Examples:
      blurvid photo.jpg                   photo.mp4
      blurvid photo.jpg -o clip.html      a player for any browser
      blurvid guide                       what else there is to know
    """,
)
click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")(main)
