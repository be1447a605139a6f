"""The fast 3x3 convolution against the plain one."""

import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from blurvid import runtime
from blurvid.networks import winograd
from blurvid.networks.rows import Convolved, Stored
from blurvid.networks.scratch import scratch

WIDE = 100
"""Channels from which on it is used."""


def layer(inputs=WIDE, outputs=WIDE, dilation=1, bias=False, **other):
    torch.manual_seed(0)
    made = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=bias, **other)
    return made.requires_grad_(False)


def exact(conv, x):
    """In float64, so that what differs is the error of what it is held against."""
    return conv.double()(x.double()), conv.float()


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    dilation=st.sampled_from([1, 2, 3, 4, 8]),
    bias=st.booleans(),
    batch=st.integers(1, 2),
    at_once=st.sampled_from([1, 3000, 1 << 20]),
    channels_last=st.booleans(),
)
def test_it_is_the_convolution(size, channels, dilation, bias, batch, at_once, channels_last):
    conv = layer(*channels, dilation=dilation, bias=bias)
    x = torch.randn(batch, channels[0], *size, generator=torch.Generator().manual_seed(1))
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    expected, conv = exact(conv, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "AT_ONCE", at_once)
        found = winograd.Filters(conv)(x, dilation, dilation)
    assert_close(found.double(), expected, rtol=0, atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(
    dilation=st.sampled_from([1, 2, 4]),
    step=st.integers(1, 30),
    width=st.integers(30, 40),
)
def test_strips_make_the_whole(dilation, step, width):
    conv = layer(dilation=dilation)
    x = torch.randn(1, WIDE, 35, width, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        strips = Convolved(conv, Stored(x))
        found = torch.cat([strips(*borders) for borders in strips.strips(step)], dim=-2)
        assert found.shape == x.shape
    expected, _ = exact(conv, x)
    assert_close(found.double(), expected, rtol=0, atol=3e-5)


def test_the_error_is_that_of_rounding():
    conv, x = layer(), torch.randn(1, WIDE, 60, 60).relu()
    expected, conv = exact(conv, x)
    with torch.no_grad():
        assert winograd.suits(conv, x)
        error = (winograd.convolve(conv, x) - expected).square().mean().sqrt()
    assert 0 < error < 1e-5 * expected.square().mean().sqrt()


def test_where_it_is_used():
    x, conv = torch.zeros(1, WIDE, 40, 40), layer()
    with torch.no_grad():
        assert winograd.suits(conv, x)
        assert winograd.suits(layer(64, 336), torch.zeros(1, 64, 40, 40))
        assert not winograd.suits(layer(64, 64), torch.zeros(1, 64, 40, 40))  # too narrow
        assert not winograd.suits(layer(WIDE, 16), x)
        assert not winograd.suits(conv, x[..., :20, :20])  # too few tiles
        assert not winograd.suits(layer(dilation=8), x)  # tiles of 32 px cover 64 px
        assert winograd.suits(layer(dilation=8), torch.zeros(1, WIDE, 64, 64))
        assert not winograd.suits(conv, x.bfloat16())
        assert not winograd.suits(conv, x.to("meta"))
        assert not winograd.suits(layer(stride=2), x)
        assert not winograd.suits(layer(groups=2), x)
        assert not winograd.suits(nn.Conv2d(WIDE, WIDE, 5, padding=2), x)
        with runtime.autocast(x.device, torch.bfloat16):
            assert not winograd.suits(conv, x)
    assert not winograd.suits(conv, x)  # gradients go the plain way


def test_where_it_does_not_suit_the_layer_is_asked():
    conv, x = layer(bias=True), torch.randn(1, WIDE, 40, 40)
    assert torch.equal(winograd.convolve(conv, x), conv(x))
    with torch.no_grad():
        fast = winograd.convolve(conv, x)
    assert not torch.equal(fast, conv(x))
    assert_close(fast, conv(x), rtol=0, atol=1e-4)


def test_memory_is_used_again_in_and_out_of_inference_mode():
    x = torch.randn(1, WIDE, 40, 40)
    filters = winograd.Filters(layer())
    with torch.inference_mode():
        first = filters(x, 1, 1).clone()
    with torch.no_grad():
        second = filters(x, 1, 1)
        kept = second.clone()
        filters(-x, 1, 1)
    assert torch.equal(first, second)
    assert torch.equal(second, kept)  # results are no buffers


def test_threads_do_not_share_memory():
    conv, xs = layer(), torch.randn(4, 1, WIDE, 40, 40)
    with torch.no_grad():
        expected = [winograd.convolve(conv, x) for x in xs]
    found = [None] * len(xs)

    def work(i):
        with torch.no_grad():
            for _ in range(5):
                found[i] = winograd.convolve(conv, xs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=0, atol=1e-5)


def test_multiplications_are_saved():
    conv, x = layer(144, 144), torch.zeros(1, 144, 128, 128)
    plain = runtime.count_flop(lambda: F.conv2d(x, conv.weight, padding=1))
    with torch.no_grad():
        fast = runtime.count_flop(lambda: winograd.convolve(conv, x))
    assert plain == 2 * 9 * 144 * 144 * 128 * 128
    assert fast < 0.4 * plain


def test_strips_compute_nothing_twice():
    """Rows that a strip needs beyond its own are read, not convolved."""
    conv, x = layer(8, 8, dilation=4), torch.zeros(1, 8, 40, 40)
    strips = Convolved(conv, Stored(x))
    whole = runtime.count_flop(lambda: conv(x))
    assert runtime.count_flop(lambda: [strips(*at) for at in strips.strips(8)]) == whole


@pytest.mark.parametrize("size", [(64, 64), (32, 400), (56, 3000)])
@pytest.mark.parametrize("dilation", [1, 2, 8])
def test_memory_is_predicted(size, dilation):
    conv, x = layer(dilation=dilation), torch.zeros(1, WIDE, *size)
    scratch.buffers.clear()
    with torch.no_grad():
        assert winograd.suits(conv, x)
        filters = winograd.Filters(conv)
        filters(x, dilation, dilation)
    kept, work = winograd.memory(WIDE, WIDE, size, dilation)
    assert filters.transformed.nbytes == kept
    taken = sum(buffer.nbytes for buffer in scratch.buffers.values())
    scratch.buffers.clear()
    assert 0.4 * work < taken < 1.1 * work
