import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import Recorder
from plain import plain
from torch import nn
from torch.testing import assert_close

from blurvid.config import STAGES, CascadeSpec, DirectSpec
from blurvid.errors import OptionError
from blurvid.lab.losses import VGGFeatures
from blurvid.lab.train.objective import PatchCritic
from blurvid.models import Cascade, build, parts
from blurvid.networks import CORE_SPEC, MIDDLE_SPEC, OUTER_SPEC, DirectNet, FrameNet
from blurvid.networks.blocks import InstanceNorm
from blurvid.networks.restore import NafBlock

TINY = DirectSpec(factor=2, channels=(8, 12), blocks=(1, 1))
PARAMETERS = {"middle": 4_972_032, "35": 7_868_928, "26": 2_686_208, "17": 2_686_208}


@pytest.fixture(scope="module")
def untrained():
    return Cascade()


@pytest.fixture(scope="module")
def narrow():
    """All layers, few channels."""
    return Cascade(CascadeSpec(width=0.125))


@pytest.fixture(scope="module")
def awake(narrow):
    """A cascade whose heads do something, as after some training."""
    torch.manual_seed(1)
    return wake(copy.deepcopy(narrow))


def wake(module):
    for net in module.modules():
        if isinstance(net, FrameNet):
            nn.init.orthogonal_(net.head[-1].weight)
        if isinstance(net, DirectNet):
            nn.init.normal_(net.head.weight, std=0.1)
    return module


def count(module):
    return sum(p.numel() for p in module.parameters())


def images(*numbers, size=(20, 20), batch=1):
    return {i: torch.rand(batch, 3, *size) for i in numbers}


# The cascade


@pytest.mark.parametrize("stage", STAGES)
def test_parameter_counts_of_the_supplement(untrained, stage):
    assert count(untrained.stages[stage]) == PARAMETERS[stage]


def test_parts_hold_everything(untrained):
    assert list(parts(untrained)) == list(STAGES)
    assert (
        count(untrained) == sum(PARAMETERS.values()) == sum(map(count, parts(untrained).values()))
    )
    net = DirectNet(TINY)
    assert parts(net) == {"direct": net}


def test_build():
    assert build("direct", TINY).spec == TINY
    assert build("cascade", CascadeSpec(width=0.0625)).spec.width == 0.0625
    with pytest.raises(OptionError, match="no model named 'both'"):
        build("both")
    with pytest.raises(OptionError, match="a DirectSpec is not the shape of the cascade model"):
        build("cascade", TINY)


def test_the_width_of_the_cascade():
    assert Cascade(CascadeSpec(width=0.0625)).size_multiple == Cascade.size_multiple
    assert MIDDLE_SPEC.scaled(1.0) is MIDDLE_SPEC
    half = CORE_SPEC.scaled(0.5)
    assert (half.extract, half.head) == ((32, 16, 16), 16)
    assert (half.factor, half.groups) == (CORE_SPEC.factor, CORE_SPEC.groups)
    least = OUTER_SPEC.scaled(0.001)
    assert (least.extract, least.head) == ((4, 4, 4), 4)


@pytest.mark.parametrize("size", [(20, 20), (20, 60), (40, 20)])
@torch.no_grad()
def test_an_untrained_cascade_returns_the_photo_seven_times(narrow, size):
    y = torch.rand(2, 3, *size)
    frames = narrow(y)
    assert frames.shape == (2, 7, 3, *size)
    assert torch.equal(frames, y.unsqueeze(1).expand_as(frames))


@torch.no_grad()
def test_untrained_networks_return_their_anchor(untrained):
    y, context, anchor = images(1, 2, 3).values()
    assert torch.equal(untrained.stages["middle"](y), y)
    for net in (untrained.stages["35"]["3"], untrained.stages["35"]["5"]):
        assert torch.equal(net(y, context, anchor), anchor)
    for stage in ("26", "17"):
        assert torch.equal(untrained.stages[stage](y, context, anchor), anchor)


@pytest.mark.parametrize("size", [(8, 8), (12, 20), (20, 16)])
@torch.no_grad()
def test_the_middle_network_needs_multiples_of_4_only(awake, size):
    y = torch.rand(1, 3, *size)
    assert awake.stages["middle"](y).shape == y.shape


def test_size_multiple_is_the_least_that_all_factors_divide():
    assert Cascade.size_multiple == 20
    assert (MIDDLE_SPEC.factor, CORE_SPEC.factor) == (4, 5)
    assert (MIDDLE_SPEC.channels, CORE_SPEC.channels) == (144, 128)


def test_initialization_is_orthogonal(untrained):
    heads = {net.head[-1] for net in untrained.modules() if isinstance(net, FrameNet)}
    layers = {m for m in untrained.modules() if isinstance(m, nn.Conv2d)} - heads
    assert len(heads) == 5
    for layer in layers:
        w = layer.weight.detach().flatten(1)
        gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        assert_close(gram, torch.eye(len(gram)), atol=1e-4, rtol=0)


def test_convolutions_have_no_bias_and_norms_no_running_statistics(untrained):
    convolutions = [m for m in untrained.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.bias is None for m in convolutions)
    assert not list(untrained.buffers())
    assert not [key for key in untrained.state_dict() if "running" in key or "batches" in key]


def test_dilations_keep_the_size_and_follow_the_supplement(untrained):
    def dilations(group):
        return [(block.conv2.dilation[0], block.conv3.dilation[0]) for block in group]

    plain = (1, 1)
    middle = [dilations(group) for group in untrained.stages["middle"].refine]
    assert middle == [
        [plain] * 3,
        [(1, 2), (2, 4), (4, 8)],
        [(8, 4), (4, 2), (2, 1)],
        [plain] * 3,
    ]
    bowl = [(1, 2), (4, 8), (8, 4), (2, 1)]
    for net, ends in (
        (untrained.stages["35"]["3"], 4),
        (untrained.stages["35"]["5"], 4),
        (untrained.stages["26"], 2),
        (untrained.stages["17"], 2),
    ):
        assert [dilations(g) for g in net.refine] == [[plain] * ends, bowl, [plain] * ends]
        assert [layer.out_channels for layer in net.extract] == [64, 32, 32]


@pytest.mark.parametrize("training", [True, False])
def test_instance_norm_is_that_of_torch(training):
    norm = InstanceNorm(5).train(training)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 3 * torch.randn(2, 5, 6, 7) + 1
    expected = F.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=1e-5)
    assert_close(norm(x), expected)


@torch.no_grad()
def test_an_image_does_not_depend_on_others_in_its_batch(awake):
    y = torch.rand(3, 3, 20, 20)
    y[1:] *= 5
    found = awake.eval()(y)
    assert_close(found[:1], awake(y[:1]), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_cascade_gives_what_it_gives_as_published(awake):
    """Each colour, each frame and each step by itself."""
    y = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = plain(awake).eval()(y), awake.eval()(y)
    assert (expected - y[:, None]).abs().mean() > 0.05  # there is something to compare
    assert_close(found, expected, rtol=0, atol=1e-4)


def test_training_and_use_are_the_same(awake):
    y = torch.rand(1, 3, 20, 20)
    net = awake.stages["middle"]
    assert torch.equal(net.train()(y), net.eval()(y))


@pytest.mark.parametrize("stage", ["middle", "26"])
def test_colours_are_handled_alone_before_the_head(awake, stage):
    net = awake.stages[stage]
    seen = []
    hook = net.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    inputs = [torch.rand(2, 3, 20, 20) for _ in net.extract]
    order = [2, 0, 1]
    net(*inputs)
    net(*(x[:, order] for x in inputs))
    inputs[0][:, 1] += 0.5  # and one colour of y changes that colour only
    net(*inputs)
    hook.remove()
    plain, permuted, changed = seen
    assert_close(permuted, plain[:, order], atol=1e-4, rtol=1e-4)
    assert_close(changed[:, [0, 2]], plain[:, [0, 2]], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(changed[:, 1], plain[:, 1], atol=1e-2)


def test_what_each_stage_sees(untrained):
    cascade = copy.copy(untrained)
    cascade._modules = dict(untrained._modules)
    third, fifth = Recorder(300), Recorder(500)
    nets = {"middle": Recorder(400), "26": Recorder(2000), "17": Recorder(1000)}
    cascade.stages = nn.ModuleDict({"35": nn.ModuleDict({"3": third, "5": fifth}), **nets})
    y, frames = torch.tensor(-1.0), {i: torch.tensor(float(i)) for i in range(1, 8)}

    found = {}
    for stage in STAGES:
        found |= {i: x.item() for i, x in cascade.predict(stage, y, frames).items()}

    assert nets["middle"].seen == [(-1,)]
    assert third.seen == [(-1, 4, 4)]
    assert fifth.seen == [(-1, found[3], 4)]  # phi_5 sees what phi_3 chose
    assert nets["26"].seen == [(-1, 4, 3), (-1, 4, 5)]
    assert nets["17"].seen == [(-1, 3, 2), (-1, 5, 6)]
    expected = {4: 410, 3: 310, 5: 510, 2: 2010, 6: 2020, 1: 1010, 7: 1020}
    assert found == expected


@pytest.mark.parametrize(
    ("stage", "uses"),
    [
        ("35", {3: {4}, 5: {4}}),
        ("26", {2: {3, 4}, 6: {4, 5}}),
        ("17", {1: {2, 3}, 7: {5, 6}}),
    ],
)
@torch.no_grad()
def test_a_changed_frame_changes_only_what_leans_on_it(awake, stage, uses):
    y, *_ = images(0).values()
    frames = images(*range(1, 8))
    before = awake.predict(stage, y, frames)
    assert before.keys() == uses.keys()
    for number in frames:
        noisy = {**frames, number: torch.rand(1, 3, 20, 20)}
        after = awake.predict(stage, y, noisy)
        changed = {i for i in after if not torch.equal(after[i], before[i])}
        assert changed == {i for i in uses if number in uses[i]}


@pytest.mark.parametrize("stage", ["26", "17"])
@torch.no_grad()
def test_outer_stages_treat_both_sides_alike(awake, stage):
    y, *_ = images(0).values()
    frames = images(*range(1, 8))
    forth = awake.predict(stage, y, frames)
    back = awake.predict(stage, y, {8 - i: x for i, x in frames.items()})
    for i, frame in forth.items():
        assert torch.equal(back[8 - i], frame)


@torch.no_grad()
def test_the_cascade_feeds_each_stage_with_those_before_it(awake):
    y = torch.rand(1, 3, 20, 20)
    frames = {}
    for stage in STAGES:
        frames |= awake.predict(stage, y, frames)
    expected = torch.stack([frames[i] for i in range(1, 8)], dim=1)
    assert torch.equal(awake(y), expected)


@torch.no_grad()
def test_another_deblurrer_can_give_the_middle_frame(awake):
    y = torch.rand(1, 3, 20, 20)
    frames = awake(y, middle=lambda image: 1 - image)
    assert torch.equal(frames[:, 3], 1 - y)
    assert not torch.equal(frames[:, 0], awake(y)[:, 0])


def gradients_reach(module, loss):
    module.zero_grad()
    loss.backward()
    missing = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    module.zero_grad()
    return missing


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_reach_every_parameter(awake, stage):
    y, *_ = images(0).values()
    frames = awake.predict(stage, y, images(*range(1, 8)))
    loss = sum(frame.square().mean() for frame in frames.values())
    assert not gradients_reach(awake.stages[stage], loss)


def test_gradients_of_a_new_cascade_reach_its_heads(untrained):
    net = copy.deepcopy(untrained.stages["17"])
    loss = net(*images(1, 2, 3).values()).square().mean()
    loss.backward()
    assert net.head[-1].weight.grad.any()


@torch.no_grad()
def test_half_precision_features_leave_the_image_alone(awake):
    y = torch.rand(1, 3, 20, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = awake.stages["middle"](y)
    assert found.dtype == torch.float32
    change = awake.stages["middle"](y) - y
    assert (found - y - change).abs().mean() < 0.05 * change.abs().mean()


# The direct network


def test_parameter_count_of_the_direct_network():
    assert count(DirectNet()) == 5_870_928


@pytest.mark.parametrize(
    ("spec", "multiple"),
    [(TINY, 4), (DirectSpec(4, (8,), (1,)), 4), (DirectSpec(2, (4, 6, 8), (1, 0, 2)), 8)],
)  # fmt: skip
@torch.no_grad()
def test_an_untrained_direct_network_returns_the_photo_seven_times(spec, multiple):
    net = DirectNet(spec)
    assert net.size_multiple == multiple
    for size in ((multiple, multiple), (3 * multiple, 5 * multiple)):
        y = torch.rand(2, 3, *size)
        frames = net(y)
        assert frames.shape == (2, 7, 3, *size)
        assert torch.equal(frames, y.unsqueeze(1).expand_as(frames))
    assert DirectNet().size_multiple == 16


@torch.no_grad()
def test_the_direct_network_moves_with_the_photo():
    net = wake(DirectNet(TINY))
    down, right = 2 * net.size_multiple, net.size_multiple
    photo = torch.rand(1, 3, 96, 96)
    whole = net(photo[..., :80, :80])
    moved = net(photo[..., down : down + 80, right : right + 80])
    inner = 28  # px, beyond the reach of the borders
    assert_close(
        whole[..., inner + down : 80 - inner + down, inner + right : 80 - inner + right],
        moved[..., inner : 80 - inner, inner : 80 - inner],
        atol=1e-5,
        rtol=1e-4,
    )
    assert (whole - photo[..., :80, :80].unsqueeze(1)).abs().mean() > 1e-3


@torch.no_grad()
def test_one_pixel_of_the_photo_reaches_no_farther_than_the_convolutions():
    # What lies beyond would be a statistic of the image: crops, tiles and photos would differ.
    block = NafBlock(4, 5)
    x = torch.rand(1, 4, 11, 11)
    changed = x.clone()
    changed[..., 5, 5] += 1
    reached = (block(changed) != block(x)).any(dim=1)[0].nonzero()
    assert (reached.min(0).values.tolist(), reached.max(0).values.tolist()) == ([3, 3], [7, 7])


def test_gradients_reach_every_parameter_of_the_direct_network():
    net = wake(DirectNet(TINY))
    assert not gradients_reach(net, net(torch.rand(1, 3, 16, 16)).square().mean())


@torch.no_grad()
def test_the_direct_network_in_half_precision():
    net = wake(DirectNet(TINY)).to(memory_format=torch.channels_last)
    y = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(y)
    assert found.dtype == torch.float32
    change = net(y) - y.unsqueeze(1)
    assert (found - y.unsqueeze(1) - change).abs().mean() < 0.05 * change.abs().mean()


# The others


@torch.no_grad()
def test_vgg_features():
    vgg = VGGFeatures()
    shallow, deep = vgg(torch.rand(2, 3, 16, 24))
    assert shallow.shape == (2, 128, 8, 12)
    assert deep.shape == (2, 256, 4, 6)
    assert min(shallow.min(), deep.min()) == 0  # after the rectifier


def test_vgg_is_frozen_and_named_like_the_layers():
    vgg = VGGFeatures()
    assert not any(p.requires_grad for p in vgg.parameters())
    layers = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3"]
    expected = {f"conv{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert vgg.state_dict().keys() == expected


@torch.no_grad()
def test_vgg_expects_imagenet_colours():
    vgg = VGGFeatures()
    for layer in vgg.children():
        nn.init.zeros_(layer.bias)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert all(features.abs().max() == 0 for features in vgg(mean))


@pytest.mark.parametrize(("size", "expected"), [((16, 24), (2, 3)), ((20, 31), (2, 3))])
@torch.no_grad()
def test_critic_judges_patches(size, expected):
    y = torch.rand(2, 3, *size)
    critic = PatchCritic(width=4)
    assert critic(y, y).shape == (2, 1, *expected)
    assert not torch.equal(critic(y, y), critic(y, 1 - y))
