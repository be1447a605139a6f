"""The command line: parse, call one library function, print."""

from blurvid.cli.bench import bench
from blurvid.cli.boundary import main
from blurvid.cli.deblur import deblur
from blurvid.cli.doctor import doctor
from blurvid.cli.evaluate import evaluate
from blurvid.cli.extract import extract
from blurvid.cli.guide import guide
from blurvid.cli.synth import synth
from blurvid.cli.train import train
from blurvid.cli.weights import weights

__all__ = ["main"]

for command in (extract, deblur, guide, synth, evaluate, train, bench, weights, doctor):
    main.add_command(command)
