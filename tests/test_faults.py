"""Faults: kills, full and read-only disks, what vanishes, clocks, two processes, little memory.

`python tests/faults.py` kills in the long run. What else is promised when something fails is held
by test_cli_errors.py and test_cli_process.py (batches), test_memory.py (memory of a device).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fault_targets import QUICK, TARGETS, files_in, is_hidden
from fuzz_seeds import weight_set
from helpers import invoke, plan

from blurvid import atomic, media, planning, weights
from blurvid.errors import InputError, OutputError, WeightsError
from blurvid.lab.data import write_windows
from blurvid.lab.options import SynthOptions
from blurvid.lab.train.state import load_state, save_state
from blurvid.planning import Plan
from blurvid.weights import store

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 300  # [s]; a busy machine takes long to import torch
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Inputs of commands that take a moment, by target."""
    place = tmp_path_factory.mktemp("prepared")
    made = {}
    for name in ("extract", "synth", "train"):
        made[name] = TARGETS[name].make()
        made[name].prepare(place / name)
    return place, made


@pytest.fixture
def command(prepared, here):
    """Words of a target's command, as it is begun or gone on with in a folder."""
    place, made = prepared
    return lambda name, way=0: made[name].command(place / name, way, here)


def refused(result, code):
    """One clear line, and a code."""
    assert result.exit_code == code, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith("Error: ")
    return line


# Kills


@posix
def test_killed_at_random_moments_nothing_is_half_or_done_twice():
    found = subprocess.run(
        [sys.executable, REPOSITORY / "tests" / "faults.py", "--kills=2", "--real=0", "--short"],
        env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=2 * PATIENCE, check=False,
    )  # fmt: skip
    said = found.stdout.decode()
    assert found.returncode == 0, said
    assert said.count("; 0 findings") == len(TARGETS)


def test_a_set_is_the_old_one_until_the_new_one_is_whole(surroundings):
    place = weights.cache_dir() / "weights" / "mine"
    weight_set(place)
    before = files_in(place)
    (place / "direct-00000000.safetensors").touch()  # before its set.json, a kill came
    (place / f".blurvid-{atomic._HOST}-1-{'0' * 8}-1.json").touch()
    weights.find("mine").verify()
    found = weights.find("mine")
    about = {key: found.info[key] for key in ("name", "recipe", "data", "scores", "licence")}
    store.save(store.load(found), place, **about, overwrite=True)
    left = {n: data for n, data in files_in(place).items() if not is_hidden(n)}
    assert left.keys() == before.keys()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit(143)])
def test_an_interrupt_within_a_write_of_torch_stays_one(tmp_path, interrupt, monkeypatch):
    save_state({"step": 1}, tmp_path / "state.pt")

    class Broken:
        """A file whose write is interrupted, as the system's may be."""

        def __init__(self, path):
            self.path, self.count = path, 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, data):
            self.count += 1
            if self.count == 2:
                raise interrupt
            return len(data)

        def flush(self):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: Broken(path))
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            save_state({"x": torch.zeros(1 << 20)}, tmp_path / "state.pt")
    assert load_state(tmp_path / "state.pt") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


# Two processes at once


HOLDER = """
import sys, time
from pathlib import Path
from blurvid import atomic
with atomic.locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(300)
"""


@contextlib.contextmanager
def held(path):
    """Let another process hold a lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def lock_of_batch(jobs):
    with Plan(jobs).alone():
        (path,) = Path().rglob("*.lock")
    return path


LOCKS = {"synth": "out/.blurvid.lock", "train": "run/.blurvid.lock"}


@posix
@pytest.mark.parametrize("name", ["extract", "synth", "train"])
def test_a_second_process_in_one_output_folder_is_refused(name, command, here, prepared):
    words = command(name)
    lock = here / LOCKS.get(name, "")
    if name == "extract":
        jobs = plan([prepared[0] / "extract" / "in"], Path("out"), "png")
        lock = here / lock_of_batch(jobs)
    with held(lock) as other:
        line = refused(invoke(*words), 6)
        folder = "run" if name == "train" else "out"
        assert line == f"Error: {folder}: another blurvid process is writing here; wait for its end"
        assert files_in(here).keys() == {str(lock.relative_to(here))}
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert lock.exists()  # the file stays and locks nobody out
        assert invoke(*words).exit_code == 0
    assert not [path for path in files_in(here) if is_hidden(path)]


def test_other_photos_may_go_to_the_same_folder_at_once(command, here, prepared):
    photos = prepared[0] / "extract" / "in"
    first = plan([photos / "0"], Path("out"), "png")
    shares = [plan([photos], Path("out"), "png")[i::2] for i in (0, 1)]
    with Plan(first).alone(), Plan(shares[0]).alone():
        with Plan(shares[1]).alone():
            pass
        with pytest.raises(OutputError, match="another blurvid process"), Plan(first).alone():
            pass
        assert invoke(*command("extract"), "--shard", "2/2").exit_code == 0
    assert not [path for path in files_in(here) if is_hidden(path)]


@posix
def test_a_second_process_waits_for_a_place_in_the_cache(here, monkeypatch):
    monkeypatch.setattr(store, "PATIENCE", 0.0)
    place = weights.cache_dir() / "weights" / "direct"
    with held(place / atomic.LOCK_FILE):
        with pytest.raises(OutputError, match="another blurvid process"):
            weight_set(place)
        assert {path.name for path in place.parent.rglob("*")} == {"direct", atomic.LOCK_FILE}
        monkeypatch.setattr(store, "PATIENCE", 60.0)
        subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {_child()}"]).wait()
        weight_set(place)
    with pytest.raises(OutputError, match="exists already"):
        weight_set(place)
    assert [path.name for path in place.parent.iterdir()] == ["direct"]


def _child():
    import psutil

    return psutil.Process().children()[0].pid


# Disks


@pytest.fixture
def disk(here):
    """A file system of its own, to fill and to make read-only."""
    place = here / "disk"
    place.mkdir()
    made = shutil.which("mount") and not os.system(
        f"mount -t tmpfs -o size=4m tmpfs '{place}' 2>/dev/null"
    )
    if not made:
        pytest.skip("no file system may be mounted")

    def change(options):
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)

    yield place, change
    subprocess.run(["umount", "-l", str(place)], check=True)


FOLDERS = {"extract": "out", "synth": "out", "train": "run"}


def on_disk(place, name):
    """Have a command's output on the disk, though it is asked for in this folder."""
    (place / "output").mkdir()
    Path(FOLDERS[name]).symlink_to(place / "output")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_full_disk_keeps_what_was_whole_and_can_be_gone_on_with(name, disk, here, command):
    place, _ = disk
    words = command(name)
    on_disk(place, name)
    free = {"extract": 60, "synth": 80, "train": 40}[name]
    filler = place / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    os.truncate(filler, filler.stat().st_size - free * 1024)

    result = invoke(*words)
    assert result.exit_code == 6
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert errors
    assert len(errors) == 1 or name == "extract"
    said = result.stderr.lower()
    assert "full" in said or "no space" in said or "cannot write the checkpoint" in said
    left = files_in(place / "output")
    assert not [path for path in left if is_hidden(path)]

    filler.unlink()
    if left:
        words = command(name)
    assert invoke(*words).exit_code == 0
    whole = files_in(place / "output")
    for path, data in left.items():
        if path.endswith((".png", ".gif")):  # complete as far as it was there
            assert whole[path] == data


@pytest.mark.parametrize("name", FOLDERS)
def test_a_read_only_folder_is_one_line(name, disk, here, command):
    place, change = disk
    words = command(name)
    on_disk(place, name)
    change("ro")
    try:
        result = invoke(*words, "-q") if name == "synth" else invoke(*words)
        assert result.exit_code == 6
        said = result.stderr.lower()
        assert "read-only" in said or "permission denied" in said
        assert "Traceback" not in result.stderr
        assert files_in(place) == {}
    finally:
        change("rw")


# What vanishes


def test_photos_that_vanish_between_the_plan_and_their_turn(here, prepared):
    place, _ = prepared
    shutil.copytree(place / "extract" / "in", "in")
    words = ["extract", "in", "-o", "out", "--weights", place / "extract" / "tiny", *QUICK]
    plan = planning.plan

    def late(*arguments, **options):
        jobs = plan(*arguments, **options)
        Path("in/0/2.png").unlink()
        return jobs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "plan", late)
        result = invoke(*words, "-q")
    assert refused(result, 3) == "Error: in/0/2.png: no such file or folder"
    assert len(result.stdout.splitlines()) == 3


def test_frames_that_vanish_while_windows_are_made(here, prepared):
    shutil.copytree(prepared[0] / "synth" / "clips", "clips")
    failed = []

    def vanish(record):
        shutil.rmtree("clips/b", ignore_errors=True)

    summary = write_windows(
        [Path("clips")], Path("out"), SynthOptions(), jobs=1, on_window=vanish,
        on_error=lambda clip, error: failed.append((clip.name, error)),
    )  # fmt: skip
    assert (summary.failed, [name for name, _ in failed]) == (1, ["b"])
    assert isinstance(failed[0][1], InputError)
    assert summary.written == 4
    assert not [path for path in files_in(here) if is_hidden(path)]


def test_windows_that_are_incomplete_are_found_before_a_run_begins(here, prepared, command):
    place = here / "windows"
    shutil.copytree(prepared[0] / "train" / "windows", place)
    words = [str(place) if word.endswith("/windows") else word for word in command("train", 1)]
    for path in place.rglob("sharp_3.png"):
        path.unlink()
    line = refused(invoke(*words), 3)
    assert "sharp_3.png: no such file or folder" in line
    assert not (here / "run" / "state.pt").exists()
    shutil.copytree(prepared[0] / "train" / "windows", place, dirs_exist_ok=True)
    assert invoke(*words, "--resume").exit_code == 0


# Clocks


def test_a_clock_that_goes_back_changes_nothing(here, command, monkeypatch):
    expected = {}
    for clock in (time.time, lambda start=[2e9]: start.append(start[-1] - 86400) or start[-1]):
        monkeypatch.setattr(time, "time", clock)
        for name in ("extract", "train"):
            words = command(name)
            if name == "train":  # a budget in time, too
                assert invoke(*words).exit_code == 0
                words[words.index("--steps") : words.index("--steps") + 2] = ["--minutes", "0.0005"]
                words[words.index("run")] = "timed"
            assert invoke(*words).exit_code == 0
        whole = {n: d for n, d in files_in(here).items() if n.endswith((".png", ".safetensors"))}
        whole = {name: data for name, data in whole.items() if not name.startswith("timed")}
        assert expected in ({}, whole)
        expected = whole
        for folder in ("out", "run", "timed"):
            shutil.rmtree(folder)


# Memory


CHILD = """
import json, resource, sys
import numpy.random, torch._dynamo  # which take more than is left below
from click.testing import CliRunner
from blurvid import batch, pipeline
from blurvid.cli import main
from blurvid.lab import train
from blurvid.lab.data import windows
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)
for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(main, words)
    print(json.dumps([result.exit_code, result.stderr, repr(result.exception)]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux does")
def test_too_little_memory_is_one_line_and_the_small_photos_are_done(here, prepared):
    from PIL import Image

    place, _ = prepared
    Path("clip").mkdir()
    Image.effect_noise((4000, 3000), 50).convert("RGB").save("clip/0.png", compress_level=0)
    for number in range(1, 7):
        Path(f"clip/{number}.png").hardlink_to("clip/0.png")
    small = [str(path) for path in sorted((place / "extract" / "in" / "0").iterdir())]
    net = ["--weights", str(place / "extract" / "tiny"), *QUICK]
    commands = [
        ["extract", "clip/0.png", *small, "-o", "out", "--format", "png", "-q", *net],
        ["synth", "clip", "-o", "windows", "--jobs", "1", "-q"],
        ["synth", "--stills", "clip", "-o", "simulated", "--jobs", "1", "-q"],
        ["train", "--data", "clip", "--out", "run", "--steps", "1", *QUICK],
    ]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(commands)], env=os.environ | ENVIRONMENT,
        capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr.decode()
    for line, words in zip(child.stdout.decode().splitlines(), commands, strict=True):
        code, err, problem = json.loads(line)
        assert code == 5, (words, err, problem)
        assert all(re.fullmatch("Error: .*memory.*", line) for line in err.splitlines()), err
        assert len(err.splitlines()) == 1 or "--stills" in words, err  # one for each source
    assert len(files_in(here / "out")) == 7 * len(small)
    assert not [path for path in files_in(here) if is_hidden(path)]


# The same bytes


def _to(words, output):
    """The same command with another output."""
    at = words.index("-o")
    return [*words[: at + 1], output, *words[at + 2 :]]


SAME = """
import json, os, sys
from click.testing import CliRunner
from blurvid.cli import main
os.chdir(sys.argv[1])
for words in json.loads(sys.argv[2]):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, (words, result.stderr, result.exception)
"""
KINDS = ("png", "tiff", "jpg", "webp-frames", "gif", "webp", "mp4", "html")


def test_the_same_input_gives_the_same_bytes_in_every_process(here, prepared, command, monkeypatch):
    place, _ = prepared
    photo = str(place / "extract" / "in" / "0" / "0.png")
    net = ["--weights", str(place / "extract" / "tiny"), *QUICK]
    commands = [["extract", photo, "-o", f"{kind}", "--format", kind, *net] for kind in KINDS]
    commands[0] += ["--flow", "a.flo", "--flow", "a.npy", "--flow", "a.png"]
    commands += [["deblur", photo, "-o", "sharp.png", "--middle", net[1], *QUICK]]
    steps = ["--steps", "3"]
    commands += [command("synth"), [*_to(command("synth", 2), "simulated"), "--count", "1"]]
    commands += [[*command("train"), *steps]]
    for number in (1, 2):
        (here / str(number)).mkdir()
    child = subprocess.run(
        [sys.executable, "-c", SAME, str(here / "1"), json.dumps(commands)],
        env=os.environ | ENVIRONMENT | {"PYTHONHASHSEED": "1"},
        capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr.decode()
    monkeypatch.chdir(here / "2")
    for words in commands:
        jobs = ["--jobs", "3"] if words[0] in ("extract", "synth") else []
        assert invoke(*words, *jobs).exit_code == 0
    assert invoke(*command("train"), *steps, "--out", "../other", "--seed", "1").exit_code == 0
    trees = [files_in(here / str(number)) for number in (1, 2)]
    timed = ("log.jsonl", "state.pt", "set.json")  # the seconds that a run took
    first, second = (
        {name: data for name, data in tree.items() if not name.endswith(timed)} for tree in trees
    )
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert {Path(name).parts[0] for name in first} >= {*KINDS, "a.flo", "out", "simulated", "run"}
    networks = {path.name for path in (here / "other" / "weights").glob("*.safetensors")}
    assert not networks & {Path(name).name for name in first}


def test_another_seed_makes_other_windows(here, command):
    for seed in (0, 1):
        words = [*_to(command("synth", 2), str(seed)), "--seed", str(seed), "--count", "1", "-q"]
        assert invoke(*words).exit_code == 0
    first, second = (files_in(here / str(seed)) for seed in (0, 1))
    assert first.keys() == second.keys()
    changed = {name for name in first if first[name] != second[name]}
    assert changed == first.keys()


def test_names_of_sets_that_no_file_can_have(surroundings):
    for name in ("a" * 300, "a\0b"):
        with pytest.raises(WeightsError, match="neither a directory nor a set"):
            weights.find(name)


def test_a_lock_that_nobody_holds_is_removed_with_other_leftovers(tmp_path):
    free, other = tmp_path / f".blurvid-{'0' * 16}.lock", tmp_path / "mine.lock"
    for path in (free, other):
        path.touch()
    with atomic.locked(tmp_path / atomic.LOCK_FILE, tmp_path):
        assert media.remove_stale(tmp_path) == [free]
        assert (tmp_path / atomic.LOCK_FILE).exists()
    assert list(tmp_path.iterdir()) == [other]
