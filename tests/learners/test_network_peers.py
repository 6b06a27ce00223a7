"""Networks against PyTorch's own modules with the same weights, in float64, on shapes drawn at test time."""

from random import SystemRandom

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.build import build_network
from learners.networks.block_network import BlockNetwork
from learners.networks.resnet import NormedConv, ResidualConvBlock
from learners.networks.transformer import EncoderBlock, patches, waves
from learners.streams import Streams
from specs.architecture import Architecture
from specs.networks.resnet import ResnetSpec
from specs.networks.transformer import TransformerSpec
from specs.signature import DataSignature

random = SystemRandom()
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def made(spec: Architecture, shape: tuple[int, ...]) -> BlockNetwork:
    signature = DataSignature(task="classification", input_shape=shape, outputs=random.randint(2, 5), rows_train=4)
    return build_network(spec, signature, Streams(random.getrandbits(40)), dtype=torch.float64)


def with_other_weights(network: BlockNetwork) -> BlockNetwork:
    """Weights away from ones and zeros, so that no part of the network can be left out unseen."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return network


def same_function(ours: nn.Module, peer: nn.Module, x: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Equal outputs, and equal gradients of every weight in ``pairs`` (ours, the peer's) and of the input."""
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [ours(inputs[0]), peer(inputs[1])]
    outputs[0] = outputs[0][0] if isinstance(outputs[0], tuple) else outputs[0]
    torch.testing.assert_close(*outputs, **CLOSE)
    weighted = torch.randn_like(outputs[0])
    found = torch.autograd.grad(outputs[0], [a for a, _ in pairs] + inputs[:1], weighted)
    expected = torch.autograd.grad(outputs[1], [b for _, b in pairs] + inputs[1:], weighted)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.reshape(a.shape), **CLOSE)


def copied(ours: Tensor, peer: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        peer.copy_(ours)
    return ours, peer


class HandMadeBlock(nn.Module):
    """A basic block (He et al. 2016, figure 2 with equation 2) from PyTorch's modules."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs or stride > 1:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))) + self.skip(x))


def _copied_conv(ours: NormedConv, conv: nn.Module, norm: nn.Module) -> list[tuple[Tensor, Tensor]]:
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and ours.norm is not None
    return [
        copied(ours.synapse.weight, conv.weight),
        *(copied(a, b) for a, b in zip(ours.norm.parameters(), norm.parameters(), strict=True)),
    ]


def test_a_residual_block_is_that_of_the_paper() -> None:
    channels = (random.randint(2, 5), random.randint(6, 8))
    network = with_other_weights(made(ResnetSpec(channels=channels, blocks_per_stage=2), (3, 10, 12)))
    blocks = network.stages[1 : len(network.blocks)]
    strides = []
    for block, shape in zip(blocks, network.shapes(), strict=False):
        assert isinstance(block, ResidualConvBlock)
        inputs, outputs = block.first.synapse.weight.shape[1], block.first.synapse.weight.shape[0]
        strides.append(block.first.synapse.stride)
        peer = HandMadeBlock(inputs, outputs, strides[-1]).double()
        pairs = _copied_conv(block.first, peer.conv1, peer.norm1) + _copied_conv(block.second, peer.conv2, peer.norm2)
        if block.skip is not None:
            assert isinstance(peer.skip, nn.Sequential)
            pairs += _copied_conv(block.skip, *peer.skip)
        x = torch.randn(5, *shape, dtype=torch.float64)
        block.train()
        with network.passing(0, 0, (0, 5, 5), "batch"):
            same_function(block, peer, x, pairs)
        changed = network.passing(0, 0, (0, 5, 5), "batch")
        with changed, torch.no_grad():
            peer.conv2.weight[0, 0, 0, 0] += 0.1
            assert not torch.allclose(block(x)[0], peer(x))
    assert strides == [1, 1, 2, 1]


def test_a_residual_network_ends_with_the_channels_means() -> None:
    network = with_other_weights(made(ResnetSpec(channels=(3, 5), blocks_per_stage=1), (2, 9, 7))).eval()
    x = torch.randn(4, 2, 9, 7, dtype=torch.float64)
    last = network.activities(x, detach=True)[-2]
    assert last.shape == (4, 5, 5, 4)
    synapse = network.stages[-1].synapse
    assert isinstance(synapse, nn.Module)
    expected = F.adaptive_avg_pool2d(last, 1).flatten(1) @ synapse.weight.T + synapse.bias
    torch.testing.assert_close(network(x), expected, **CLOSE)


def _peer_of(block: EncoderBlock, spec: TransformerSpec) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """PyTorch's encoder layer with the block's weights, and the weights in pairs."""
    layer = nn.TransformerEncoderLayer(
        spec.width, spec.heads, spec.feedforward, 0.0, "gelu", batch_first=True, norm_first=True
    ).double()
    attention, theirs = block.attention, layer.self_attn
    projections = list(zip(("query", "key", "value"), theirs.in_proj_weight.split(spec.width), strict=True))
    with torch.no_grad():
        theirs.in_proj_bias.zero_()  # keys have none
        for (name, weight), bias in zip(projections, theirs.in_proj_bias.split(spec.width), strict=True):
            synapse = getattr(attention, name)
            weight.copy_(synapse.weight)
            if synapse.bias is not None:
                bias.copy_(synapse.bias)
    pairs = [
        copied(attention.output.weight, theirs.out_proj.weight),
        copied(attention.output.bias, theirs.out_proj.bias),  # type: ignore[arg-type]
        copied(block.first.weight, layer.linear1.weight),
        copied(block.second.weight, layer.linear2.weight),
        copied(block.second.bias, layer.linear2.bias),  # type: ignore[arg-type]
        copied(block.norm_attention.weight, layer.norm1.weight),
        copied(block.norm_attention.bias, layer.norm1.bias),
        copied(block.norm_perceptron.weight, layer.norm2.weight),
        copied(block.norm_perceptron.bias, layer.norm2.bias),
    ]
    copied(block.first.bias, layer.linear1.bias)  # type: ignore[arg-type]
    return layer, pairs


def test_an_encoder_block_is_pytorchs_encoder_layer() -> None:
    heads = random.randint(1, 4)
    spec = TransformerSpec(
        width=heads * random.randint(2, 5), heads=heads, layers=2, feedforward=random.randint(3, 9), init="xavier"
    )
    steps = random.randint(3, 7)
    network = with_other_weights(made(spec, (steps, 3)))
    x = torch.randn(4, steps, spec.width, dtype=torch.float64)
    for block in network.stages[1:3]:
        assert isinstance(block, EncoderBlock)
        layer, pairs = _peer_of(block, spec)
        peer = nn.Sequential(layer)
        if block.norm_output is not None:
            norm = nn.LayerNorm(spec.width).double()
            pairs += [copied(a, b) for a, b in zip(block.norm_output.parameters(), norm.parameters(), strict=True)]
            peer.append(norm)
        same_function(block, peer, x, pairs)
        projections = [p.weight for p in (block.attention.query, block.attention.key, block.attention.value)]
        weighted = torch.randn_like(x)
        found = torch.autograd.grad(block(x)[0], projections, weighted)
        (expected,) = torch.autograd.grad(peer(x), [layer.self_attn.in_proj_weight], weighted)  # type: ignore[union-attr,list-item]
        torch.testing.assert_close(torch.cat(found), expected, **CLOSE)
        with torch.no_grad():
            layer.self_attn.in_proj_bias[spec.width] += 1  # type: ignore[union-attr,operator]
            torch.testing.assert_close(block(x)[0], peer(x), **CLOSE)  # the softmax does not see a bias of the keys
            layer.self_attn.in_proj_bias[0] += 1  # type: ignore[union-attr,operator]
            assert not torch.allclose(block(x)[0], peer(x))


def test_patches_are_those_of_unfold() -> None:
    size, channels = random.randint(1, 4), random.randint(1, 3)
    x = torch.randn(2, channels, 3 * size, 2 * size)
    assert torch.equal(patches(x, size), F.unfold(x, size, stride=size).transpose(1, 2))


def test_positions_follow_elapsed_time() -> None:
    network = made(TransformerSpec(width=8, heads=2, layers=1, feedforward=8, readout="mean"), (5, 3)).eval()
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    dt = torch.rand(4, 5, dtype=torch.float64) + 0.1
    assert torch.equal(network(x), network(x, torch.ones_like(dt)))
    assert not torch.allclose(network(x), network(x, dt))
    # The order of steps matters, and only by their times.
    order = torch.tensor([2, 0, 4, 1, 3])
    assert not torch.allclose(network(x[:, order]), network(x))
    blind = made(TransformerSpec(width=8, heads=2, layers=1, positions="none", readout="mean"), (5, 3)).eval()
    torch.testing.assert_close(blind(x[:, order]), blind(x), **CLOSE)
    assert torch.equal(blind(x, dt), blind(x))


def test_position_waves_are_the_papers() -> None:
    time, features = torch.rand(2, 3, dtype=torch.float64) * 100, 2 * random.randint(1, 8)
    found = waves(time, features)
    for i in range(features // 2):
        angle = time / 10_000 ** (2 * i / features)
        torch.testing.assert_close(found[:, :, i], angle.sin(), **CLOSE)
        torch.testing.assert_close(found[:, :, features // 2 + i], angle.cos(), **CLOSE)
    assert waves(time, features - 1).shape == (2, 3, features - 1)


def test_a_transformer_reads_what_its_patch_size_says() -> None:
    assert TransformerSpec().misfit((4, 3)) is None
    assert "patch_size" in (TransformerSpec().misfit((1, 8, 8)) or "")
    assert TransformerSpec(patch_size=4).misfit((1, 8, 8)) is None
    assert "3 x 3" in (TransformerSpec(patch_size=3).misfit((1, 8, 8)) or "")
    assert "not sequences" in (TransformerSpec(patch_size=4).misfit((4, 3)) or "")
    assert TransformerSpec().misfit((5,)) is not None
