"""A few of the fuzzer's cases; `python tests/fuzz.py` runs thousands."""

from __future__ import annotations

import random

import pytest
from fuzz_targets import CODES, TARGETS, prepare
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blurvid.errors import BlurvidError


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_it_is_fed_it_succeeds_or_refuses(name, tmp_path, surroundings):
    target, place = TARGETS[name], tmp_path / "place"
    prepare(place)
    ends = []

    @settings(
        max_examples=target.short,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64 - 1))
    def feed(draw):
        ends.append(target.run(place, random.Random(draw)))

    feed()
    assert set(ends) <= {"done", "refused"}
    assert len(ends) >= target.short
    assert "refused" in ends


def test_the_exit_codes_that_count_are_those_of_the_command_line():
    assert {0, *(kind.code for kind in BlurvidError.__subclasses__())} - {1} == CODES
