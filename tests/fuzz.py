"""Fuzzing: broken files and odd words, thousands of them, in processes of their own.

    python tests/fuzz.py --cases 20000

Every case must end in success or in a listed error, within ten seconds and a limit of memory, and
without a crash, a traceback or a stray warning. What does not is told, with the words that repeat
it, and the exit status is 1. The same seed gives the same cases. `test_fuzz.py` runs a few of them
with the other tests.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

CHUNK = 1000
"""Cases a process handles before another takes over."""
GIGABYTE = 1 << 30
WAITING = 10
"""How much longer than it may compute a case may take on a busy machine."""


def feed(target: str, number: int, cases: int, seconds: float, place: Path) -> dict[str, Any]:
    """Run cases in this process.

    Args:
        target: one of `fuzz_targets.TARGETS`.
        number: seed of the cases.
        cases: how many.
        seconds: longest time that a case may compute; with one that takes longer, the process ends.
        place: an empty folder.
    """
    from fuzz_targets import TARGETS, prepare, told

    prepare(place)
    run = TARGETS[target].run
    counts: collections.Counter[str] = collections.Counter()
    failures: dict[str, str] = {}
    slowest = 0.0

    faulthandler.register(signal.SIGPROF, all_threads=False, chain=True)

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64 - 1))
    def test(draw: int) -> None:
        nonlocal slowest
        case = f"{number}/{draw}"
        (place / "draw").write_text(case)
        # Loops end by the time they compute, on busy machines too, and waiting by the clock. Both
        # are watched from outside of Python, so that loops in C cannot keep them off.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        faulthandler.dump_traceback_later(WAITING * seconds, exit=True)
        began = time.process_time()
        try:
            counts[run(place, random.Random(case))] += 1
        except Exception as error:
            counts["failed"] += 1
            failures.setdefault(told(error), case)
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.process_time() - began)

    test()
    return {"counts": counts, "failures": failures, "slowest": slowest}


def worker(words: argparse.Namespace) -> None:
    """One process: run its cases, say on stdout what came of them."""
    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (words.memory * GIGABYTE,) * 2)
    place = Path(words.place)
    if words.repeat is not None:
        from fuzz_targets import TARGETS, prepare

        prepare(place)
        print(TARGETS[words.worker].run(place, random.Random(words.repeat)), f"({place})")
        return
    print(json.dumps(feed(words.worker, words.seed, words.cases, words.seconds, place)), flush=True)


def repeated(target: str, draw: str) -> str:
    """The words that run one case again."""
    return f"python tests/fuzz.py --worker {target!r} --repeat {draw}"


def long_run(words: argparse.Namespace) -> int:
    """Run all targets, each in processes of its own; the number of findings."""
    from fuzz_targets import TARGETS

    findings, everything = 0, 0
    for target, what in TARGETS.items():
        if words.targets and target not in words.targets.split(","):
            continue
        wanted = max(1, round(words.cases * what.share))
        counts: collections.Counter[str] = collections.Counter()
        failures: dict[str, str] = {}
        slowest, number, began = 0.0, words.seed, time.perf_counter()
        while sum(counts.values()) < wanted:
            left = min(CHUNK, wanted - sum(counts.values()))
            found = _chunk(target, number, left, words)
            counts.update(found["counts"])
            failures = dict(found["failures"]) | failures
            slowest = max(slowest, found["slowest"])
            number += 1
        everything += sum(counts.values())
        findings += len(failures)
        told = ", ".join(f"{counts[kind]} {kind}" for kind in ("done", "refused", "failed"))
        took = time.perf_counter() - began
        print(f"{target}: {told}; slowest {slowest:.1f} s, {took:.0f} s in all", flush=True)
        for failure, draw in failures.items():
            print(f"  {failure}\n    {repeated(target, draw)}", flush=True)
    print(f"{everything} cases, {findings} findings")
    return findings


def _chunk(target: str, number: int, cases: int, words: argparse.Namespace) -> dict[str, Any]:
    """Run cases in a process of their own; where it dies, the case that it died of counts."""
    with tempfile.TemporaryDirectory() as folder:
        place, log = Path(folder) / "place", Path(folder) / "log"
        command = [sys.executable, __file__, "--worker", target, "--seed", str(number)]
        command += ["--cases", str(cases), "--seconds", str(words.seconds)]
        command += ["--memory", str(words.memory), "--place", str(place)]
        with log.open("wb") as stderr:
            process = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=False)
        said = log.read_text(errors="replace").strip()
        if process.returncode == 0:
            found: dict[str, Any] = json.loads(process.stdout)
            if "Traceback" in said:  # libtiff says on stderr what it finds wrong
                found["failures"][f"a traceback on stderr: {said[-300:]!r}"] = f"{number}/?"
            return found
        case = (place / "draw").read_text() if (place / "draw").exists() else f"{number}/?"
        reason = (
            "too long"
            if process.returncode in (1, -signal.SIGPROF)
            else f"ended by {process.returncode}"
        )
        places = re.findall(r'File "[^"]*?([^"/]+)", line (\d+) in (\S+)', said)
        inner = " < ".join(f"{name}:{line} {function}" for name, line, function in places[:8])
        failure = f"{reason}: {inner or said[-300:]!r}"
        return {"counts": {"failed": 1}, "failures": {failure: case}, "slowest": 0.0}


def main() -> int:
    """Read the words and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--targets", default="", help="only these, with commas between")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="longest time that a case may compute"
    )
    parser.add_argument("--memory", type=int, default=10, help="gigabytes a process may map")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    parser.add_argument("--repeat", help="run one case of a worker again")
    words = parser.parse_args()
    if words.worker:
        with tempfile.TemporaryDirectory() as folder:
            words.place = words.place or str(Path(folder) / "place")
            worker(words)
        return 0
    return 1 if long_run(words) else 0


if __name__ == "__main__":
    sys.exit(main())
