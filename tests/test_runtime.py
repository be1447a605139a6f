import errno

import pytest
import torch
from torch import nn

from blurvid import runtime
from blurvid.config import CascadeSpec, RunOptions
from blurvid.errors import DeviceError, OptionError
from blurvid.models import Cascade
from blurvid.networks import DirectNet

CPU = torch.device("cpu")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
without_mps = pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is MPS here")


@pytest.mark.parametrize(
    "name",
    ["", "gpu", "CPU", "cpu:0", "cpu:", "cuda:", "cuda:x", "cuda:-1", "cuda:²", ":", "mps:0"],
)
def test_no_such_device_name(name):
    with pytest.raises(OptionError, match="no device named"):
        runtime.resolve_device(name)


def test_devices_that_are_always_there():
    assert runtime.resolve_device("cpu") == CPU
    assert runtime.resolve_device("auto").type in ("cpu", "cuda", "mps")


@without_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_that_is_not_there(name):
    with pytest.raises(DeviceError, match="no CUDA"):
        runtime.resolve_device(name)


@without_mps
def test_mps_that_is_not_there():
    with pytest.raises(DeviceError, match="no MPS"):
        runtime.resolve_device("mps")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
def test_cuda_numbers():
    assert runtime.resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="is not there"):
        runtime.resolve_device(f"cuda:{torch.cuda.device_count()}")


def test_precisions():
    assert runtime.resolve_precision("fp32", CPU) == torch.float32
    assert runtime.resolve_precision("bf16", CPU) == torch.bfloat16
    assert runtime.resolve_precision("auto", CPU) in (torch.float32, torch.bfloat16)
    assert runtime.resolve_precision("fp16", torch.device("cuda")) == torch.float16
    with pytest.raises(OptionError, match="CPU"):
        runtime.resolve_precision("fp16", CPU)
    with pytest.raises(OptionError, match="no precision named 'fp8'"):
        runtime.resolve_precision("fp8", CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_runs_convolutions_in_the_precision(dtype):
    layer = nn.Conv2d(1, 1, 1)
    with runtime.autocast(CPU, dtype), torch.no_grad():
        assert layer(torch.ones(1, 1, 2, 2)).dtype == dtype


def test_seed():
    runtime.seed_everything(3)
    first = torch.rand(2)
    runtime.seed_everything(3)
    assert torch.equal(torch.rand(2), first)


def test_running_applies_and_restores_threads():
    before = torch.get_num_threads()
    with runtime.running(RunOptions(device="cpu", precision="fp32", threads=1)) as found:
        assert found == (CPU, torch.float32)
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_running_restores_threads_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="inside"):
        with runtime.running(RunOptions(device="cpu", threads=1)):
            raise ValueError("inside")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [0, -1])
def test_running_refuses_no_threads(threads):
    before = torch.get_num_threads()
    with pytest.raises(OptionError, match="threads"):
        with runtime.running(RunOptions(device="cpu", threads=threads)):
            pass
    assert torch.get_num_threads() == before


def test_lack_of_memory_is_a_device_error():
    with pytest.raises(DeviceError, match="out of memory"):
        with runtime.running(RunOptions(device="cpu")):
            torch.empty(10**15)
    with pytest.raises(DeviceError, match="out of memory"):
        with runtime.running(RunOptions(device="cpu")):
            raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(DeviceError, match="out of memory"):
        with runtime.running(RunOptions(device="cpu")):
            raise ValueError("no reason supplied")  # what hashlib says then
    with pytest.raises(DeviceError, match="out of memory"):
        with runtime.running(RunOptions(device="cpu")):
            raise OSError(errno.ENOMEM, "Cannot allocate memory")


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="size"):
        with runtime.running(RunOptions(device="cpu")):
            torch.zeros(2) + torch.zeros(3)


def test_place_chooses_the_fast_memory_format():
    image = torch.channels_last
    direct = runtime.place(DirectNet(), CPU)
    cascade = runtime.place(Cascade(CascadeSpec(width=0.125)), CPU)
    assert direct.bottom[0].conv1.weight.is_contiguous(memory_format=image)
    assert cascade.stages["17"].refine[0][0].conv2.weight.is_contiguous()


def test_describe():
    assert "cpu" in runtime.describe(CPU)
