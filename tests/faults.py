"""Kills: commands ended at random moments, in thousands of places, and run again to their end.

    python tests/faults.py --kills 50

Each target is killed that often: by SIGKILL (alone, or with all that it started), by SIGTERM, or
by Ctrl-C; at a random moment of its run, or right before a random one of its operations on files.
After each kill no file with a final name may be half, and a polite one leaves no temporary file.
Then the command is run again, sometimes killed once more, until it is done: the end must be, byte
for byte, that of a run without interruption, with nothing left over and nothing done twice.

The commands run in forks of this process, which has imported torch already; some, with `--real`,
as processes of their own. The same seed draws the same kills. `test_faults.py` runs a few.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 300.0
"""Longest time [s] that a command may take on a busy machine."""
FILE_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
KINDS = {
    "SIGKILL": (signal.SIGKILL, False),
    "SIGKILL to all": (signal.SIGKILL, True),
    "SIGTERM": (signal.SIGTERM, False),
    "Ctrl-C": (signal.SIGINT, True),
}
"""Signals, and whether programs that were started get them, too."""
POLITE = {"SIGTERM": (128 + signal.SIGTERM, -signal.SIGTERM), "Ctrl-C": (130, -signal.SIGINT)}
"""Exit codes after kills that are asked for politely."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float
    operations: int


@dataclass
class Kill:
    """What ends a command, and when: after some seconds, or before an operation on files."""

    kind: str
    after: float | None = None
    before: int | None = None

    def __str__(self) -> str:
        when = f"after {self.after:.3f} s" if self.before is None else f"at operation {self.before}"
        return f"{self.kind} {when}"


def watch(here: Path, number: int, sent: int, group: bool, told: Path) -> None:
    """Count this process's operations on files, and end it before the one of a number."""
    count = 0
    start = f"{here}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in FILE_EVENTS:
            return
        path = arguments[0]
        if not isinstance(path, str | os.PathLike) or not os.path.abspath(path).startswith(start):  # noqa: PTH100
            return
        count += 1
        if number == 0:
            told.write_text(str(count))
        elif count == number:
            os.killpg(0, sent) if group else os.kill(os.getpid(), sent)

    sys.addaudithook(hook)


def forked(words: list[str], here: Path, number: int, kind: str, logs: Path) -> int:
    """Start a command in a fork of this process; its process number."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(here)
        os.environ["BLURVID_HOME"] = str(here / "home")
        for target, name in ((0, None), (1, "out"), (2, "err")):
            path = os.devnull if name is None else str(logs / name)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, target)
        sent, group = KINDS[kind]
        watch(here, number, sent, group, logs / "count")
        from blurvid.cli import main

        try:
            main(words, prog_name="blurvid")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def started(words: list[str], here: Path, logs: Path) -> int:
    """Start a command as a process of its own."""
    with (logs / "out").open("wb") as out, (logs / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--child", *words],
            cwd=here, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            env=os.environ | {"BLURVID_HOME": str(here / "home"), "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
    process.returncode = 0  # it is waited for below
    return process.pid


def run(words: list[str], here: Path, kill: Kill | None = None, real: bool = False) -> Ended:
    """Run a command to its end, or to that which a kill gives it."""
    kind = kill.kind if kill else "SIGKILL"
    sent, group = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        begun = time.monotonic()
        if real:
            child = started(words, here, logs)
        else:
            child = forked(words, here, (kill and kill.before) or 0, kind, logs)
        due = begun + kill.after if kill and kill.after is not None else None
        status = None
        while status is None:
            found, ended = os.waitpid(child, os.WNOHANG)
            now = time.monotonic()
            if found:
                status = ended
            elif due is not None and now >= due:
                due = None
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if group else os.kill)(child, sent)
            elif now - begun > PATIENCE:
                os.killpg(child, signal.SIGKILL)
                raise AssertionError(f"blurvid {' '.join(words)}: no end")
            else:
                time.sleep(0.0005 if not real else 0.01)
        seconds = time.monotonic() - begun
        _wait_for_group(child)
        count = logs / "count"
        return Ended(
            os.waitstatus_to_exitcode(status),
            (logs / "out").read_text(errors="replace") if (logs / "out").exists() else "",
            (logs / "err").read_text(errors="replace") if (logs / "err").exists() else "",
            seconds,
            int(count.read_text() or 0) if count.exists() else 0,
        )


def _wait_for_group(child: int) -> None:
    """Wait until the programs have ended that a killed process had started."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            os.killpg(child, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.002)
    raise AssertionError("a program goes on without the process that started it")


class Trials:
    """Kills of one target."""

    def __init__(self, name: str, place: Path, rng: random.Random, short: bool = False):
        from fault_targets import TARGETS, files_in

        self.name, self.place, self.rng = name, place, rng
        self.spec = TARGETS[name]
        self.target = self.spec.make()
        self.inputs = place / name
        self._prepare()
        self.whole, self.usual = [], []
        self.ways = 1 if short else len(self.target.ways)
        for way in range(self.ways):
            here = self._folder(f"whole {way}")
            words = self.target.command(self.inputs, way, here)
            ended = run(words, here)
            assert ended.code == 0, f"{' '.join(words)}: {ended.code}, {ended.err}"
            self.whole.append(files_in(here))
            self.usual.append(ended)
            if short:
                continue
            again = self._folder(f"again {way}")
            words = self.target.unlike(self.target.command(self.inputs, way, again))
            run(words, again)
            self.target.after_all(again, self.whole[way], set(), "")

    def _prepare(self) -> None:
        """Make the inputs in a fork, so that no fork is made beside threads.

        A thread is joined before the system has ended it. MKL frees its memory then, under a lock
        that a fork made at that moment would wait for without end.
        """
        make = multiprocessing.get_context("fork").Process(
            target=self.target.prepare, args=(self.inputs,)
        )
        make.start()
        make.join()
        assert make.exitcode == 0, f"{self.name} cannot be prepared"

    def _folder(self, name: str) -> Path:
        here = self.place / name
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir()
        return here

    def kill(self, way: int, kind: str, clock: bool, seconds: float | None = None) -> Kill:
        """Draw when to kill."""
        if clock:
            return Kill(kind, after=self.rng.uniform(0, seconds or self.usual[way].seconds))
        return Kill(kind, before=self.rng.randint(1, max(self.usual[way].operations, 1)))

    def trial(self, number: int, real: float | None = None) -> list[str]:
        """Kill once or twice, go on to the end, and look; what was done.

        Args:
            number: of the trial; it chooses the command.
            real: None runs forks; the seconds that a process of its own takes otherwise.
        """
        way = number % self.ways
        here, whole = self._folder("killed"), self.whole[way]
        kinds = list(KINDS)
        kind = kinds[number // self.ways % len(kinds)]
        kills = [self.kill(way, kind, real is not None or self.rng.random() < 0.5, real)]
        if self.rng.random() < 0.3:
            kills.append(self.kill(way, self.rng.choice(kinds), self.rng.random() < 0.5, real))
        story = [f"way {way}"]
        try:
            for kill in kills:
                story.append(str(kill))
                words = self.target.command(self.inputs, way, here)
                earlier = _hidden(here)
                ended = run(words, here, kill, real is not None)
                self._look(ended, kill, here, whole, earlier)
            before = self.target.done(here, whole)
            stamps = self._stamps(way, here, before)
            words = self.target.command(self.inputs, way, here)
            ended = run(words, here)
            story.append(f"{len(before)} of {max(len(whole), 1)} done before")
            twice = self.spec.twice if before else ()
            assert ended.code in (0, *twice), f"{ended.code}: {ended.err}"
            assert "Traceback" not in ended.err, ended.err
            self._steps(before, ended)
            assert self._stamps(way, here, before) == stamps, "done twice"
            self.target.after_all(here, whole, before, ended.out)
        except AssertionError as error:
            raise AssertionError(f"{'; '.join(story)}: {error}") from error
        return [kill.kind for kill in kills]

    def _stamps(self, way: int, here: Path, names: set[str]) -> dict[str, tuple[int, int]]:
        from fault_targets import stamps_of

        if self.name == "train" or self.target.ways[way] == "replace":
            return {}
        return stamps_of(here, names)

    def _steps(self, before: set[str], ended: Ended) -> None:
        """Steps of the checkpoint are not taken again."""
        if self.name == "train":
            steps = [line for line in ended.err.splitlines() if line.startswith("{")]
            assert len(steps) + len(before) == self.target.steps, "steps taken twice or left out"

    def _look(
        self, ended: Ended, kill: Kill, here: Path, whole: dict[str, bytes], earlier: set[str]
    ) -> None:
        """What must be true after a kill; `earlier` was left by the one before."""
        polite = POLITE.get(kill.kind)
        killed = polite if polite else (-signal.SIGKILL,)
        finished = (0, *self.spec.twice)
        assert ended.code in (*killed, *finished), f"exit code {ended.code}: {ended.err}"
        if polite:
            assert "Traceback" not in ended.err, ended.err
            left = _hidden(here) - earlier
            assert not left, f"left over after {kill.kind}: {left}"
        self.target.after_kill(here, whole)


def _hidden(here: Path) -> set[str]:
    from fault_targets import files_in, is_hidden

    return {name for name in files_in(here) if is_hidden(name)}


def long_run(words: argparse.Namespace) -> int:
    """Kill all targets; the number of findings."""
    import torch

    torch.set_num_threads(1)
    _import_all()
    from fault_targets import TARGETS, slim_import

    slim_import()
    findings = 0
    for name in TARGETS:
        if words.targets and name not in words.targets.split(","):
            continue
        began, failures = time.monotonic(), 0
        counts: collections.Counter[str] = collections.Counter()
        rng = random.Random(f"{words.seed}/{name}")
        with tempfile.TemporaryDirectory() as folder:
            trials = Trials(name, Path(folder).resolve(), rng, words.short)
            number, alone = 0, 0.0
            while sum(counts.values()) < words.kills:
                real = None
                if sum(counts.values()) >= words.kills - words.real:
                    alone = alone or _alone(trials)
                    real = alone
                try:
                    counts.update(trials.trial(number, real))
                except AssertionError as error:
                    failures += 1
                    counts["failed"] += 1
                    print(f"  {name}, seed {words.seed}, trial {number}: {error}", flush=True)
                number += 1
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        took = time.monotonic() - began
        print(f"{name}: {told}; {failures} findings, {took:.0f} s", flush=True)
        findings += failures
    return findings


def _alone(trials: Trials) -> float:
    """Seconds that a process of its own takes."""
    here = trials._folder("alone")
    ended = run(trials.target.command(trials.inputs, 0, here), here, real=True)
    assert ended.code == 0, ended.err
    trials.target.after_all(here, trials.whole[0], set(), "")
    return ended.seconds


def _import_all() -> None:
    """Import what the commands need, so that forks begin at once."""
    import rich.progress  # noqa: F401
    import torch._dynamo  # noqa: F401

    from blurvid import batch, cli, pipeline, weights  # noqa: F401
    from blurvid.lab import data, train  # noqa: F401


def main() -> int:
    """Read the words and run."""
    if sys.argv[1:2] == ["--child"]:
        try:
            if sys.argv[2:3] == ["weights"]:  # of a small cascade
                from fault_targets import slim_import

                slim_import()
            from blurvid.cli import main as blurvid
        except KeyboardInterrupt:  # this file's own start, not blurvid's
            return 130
        blurvid(sys.argv[2:], prog_name="blurvid")
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="of each target")
    parser.add_argument("--targets", default="", help="only these, with commas between")
    parser.add_argument("--real", type=int, default=4, help="of them with processes of their own")
    parser.add_argument("--short", action="store_true", help="only one command of each target")
    parser.add_argument("--seed", type=int, default=0)
    findings = long_run(parser.parse_args())
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
