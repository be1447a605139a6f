import pytest
import torch

from blurvid import runtime

# One thread: on a machine that is busy, threads that wait for each other make small matrices
# a hundred times slower.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    """Start every test from the same random numbers, whatever ran before it."""
    runtime.seed_everything(0)
