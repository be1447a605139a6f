"""The order of the house: imports point strictly down the floors (ARCHITECTURE)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import blurvid

pytestmark = pytest.mark.quick

ROOT = Path(blurvid.__file__).parent
FLOORS = {
    "__main__": 11,
    "cli": 10,
    "lab.train": 9,
    "lab.evaluate": 9,
    "lab.bench": 9,
    "lab.data": 8,
    "lab.synth": 7,
    "lab.camera": 6.5,
    "lab.losses": 6,
    "lab.metrics": 6,
    "lab.options": 6,
    "lab": 5.5,  # its docstring
    "app": 5,
    "batch": 5,
    "planning": 3.8,
    "doctor": 5,
    "blurvid": 4.5,  # the face: blurvid/__init__.py
    "pipeline": 4,
    "recipe": 3.5,
    "media": 3,
    "weights": 3,
    "models": 2,
    "trajectory": 1.5,
    "networks": 1,
    "flow": 1,
    "atomic": 0.5,
    "runtime": 0.5,
    "exposure": 0.5,
    "targets": 0.6,
    "files": 0.6,
    "config": 0,
    "bounds": -0.5,
    "errors": -1,
}
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def room(path):
    """Name of the module or package right below blurvid, or below its lab, of a file."""
    return room_of([ROOT.name, *path.relative_to(ROOT).with_suffix("").parts])


def room_of(names):
    """The room that a dotted name, split, lies in."""
    below = [name for name in names[1:] if name != "__init__"]
    if not below:
        return "blurvid"
    return ".".join(below[:2]) if below[0] == "lab" else below[0]


def rooms_on_disk():
    return {room(path) for path in FILES} - {"blurvid"}


def imported(path):
    """Every module that a file imports, anywhere in it, by its full dotted name."""
    package = [ROOT.name, *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: one dot is the package of the file itself
                up = package[: len(package) - node.level + 1]
                base = ".".join([*up, *filter(None, [node.module])])
            if base in (ROOT.name, f"{ROOT.name}.lab", f"{ROOT.name}.cli"):
                yield from (f"{base}.{alias.name}" for alias in node.names)
            else:
                yield base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value


def imported_rooms(path):
    for name in imported(path):
        names = name.split(".")
        if names[0] == ROOT.name:
            # `from blurvid import X`: X is a module below, or else a name of the face
            found = room_of(names)
            yield found if found in rooms_on_disk() else "blurvid"


def identify(path):
    return path.relative_to(ROOT).as_posix()


def test_every_module_has_a_floor():
    assert rooms_on_disk() <= FLOORS.keys()


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_imports_point_strictly_down(path):
    me = room(path)
    wrong = {
        other
        for other in imported_rooms(path)
        if other != me and not FLOORS.get(other, 99) < FLOORS.get(me, -1)
    }
    assert not wrong, f"{identify(path)} (floor {FLOORS.get(me)}) imports {wrong}"


CORE = [path for path in FILES if room(path) != "cli" and not room(path).startswith("lab")]
LAB_COMMANDS = ("bench", "evaluate", "synth", "train")
CORE_COMMANDS = [
    path
    for path in (ROOT / "cli").glob("*.py")
    if path.stem not in (*LAB_COMMANDS, "__init__")  # which gathers both
]


@pytest.mark.parametrize("path", [*CORE, *CORE_COMMANDS], ids=identify)
def test_the_core_never_imports_the_lab(path):
    lab = (f"{ROOT.name}.lab", *(f"{ROOT.name}.cli.{name}" for name in LAB_COMMANDS))
    wrong = [name for name in imported(path) if f"{name}.".startswith(tuple(f"{x}." for x in lab))]
    assert not wrong, f"{identify(path)} imports {wrong}"


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_only_the_command_line_knows_click_and_rich(path):
    tops = {name.partition(".")[0] for name in imported(path)}
    if room(path) != "cli":
        assert not tops & {"click", "rich"}


TORCHLESS = ["atomic", "config", "errors", "files", "lab.options", "planning", "targets"]


@pytest.mark.parametrize("name", TORCHLESS)
def test_what_is_known_beforehand_knows_no_torch(name):
    files = [path for path in FILES if room(path) == name]
    tops = {top.partition(".")[0] for path in files for top in imported(path)}
    assert files
    assert not tops & {"torch", "numpy", "PIL"}


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_the_library_never_prints(path):
    if room(path) == "cli":
        return
    calls = [
        node.lineno
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    ]
    assert not calls, f"{identify(path)} prints in lines {calls}"


def test_importing_is_instant():
    modules = "blurvid, blurvid.config, blurvid.errors, blurvid.cli"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
