"""A list of layers is the network that one would write by hand; what does not fit is said with its place."""

from random import SystemRandom
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from learners.build import DoesNotFit, build_network
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from specs.architecture import Architecture
from specs.compatibility import refusal
from specs.networks.blocks import BlocksSpec
from specs.networks.cnn import CnnSpec
from specs.networks.mlp import MlpSpec
from specs.signature import DataSignature
from tests.learners.small_jobs import learner_spec

random = SystemRandom()
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def layers(*written: dict[str, Any], **fields: Any) -> BlocksSpec:
    return BlocksSpec.model_validate({"layers": list(written), **fields})


def signature(shape: tuple[int, ...]) -> DataSignature:
    return DataSignature(task="classification", input_shape=shape, outputs=3, rows_train=4)


def made(spec: Architecture, shape: tuple[int, ...], seed: int) -> BlockNetwork:
    return build_network(spec, signature(shape), Streams(seed), dtype=torch.float64)


def after(norm: str | None, activation: str, dropout: float) -> list[dict[str, Any]]:
    """What follows a weight matrix."""
    normed = [] if norm is None else [{"kind": "norm", "norm": norm}]
    dropped = [{"kind": "dropout", "probability": dropout}] if dropout else []
    return [*normed, {"kind": "activation", "function": activation}, *dropped]


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_linear_layers_are_an_mlp_bit_for_bit(norm: str | None) -> None:
    hidden, seed = [random.randint(2, 6) for _ in range(3)], random.getrandbits(40)
    own = layers(
        *(layer for width in hidden for layer in ({"kind": "linear", "units": width}, *after(norm, "gelu", 0.25))),
        init="xavier",
    )
    plain = MlpSpec.model_validate(
        {"hidden": hidden, "norm": norm or "none", "activation": "gelu", "dropout": 0.25, "init": "xavier"}
    )
    same_bits(own, plain, (5,), seed)


@pytest.mark.parametrize("norm", [None, "batch"])
def test_conv_layers_are_a_cnn_bit_for_bit(norm: str | None) -> None:
    channels, hidden, seed = [random.randint(2, 4) for _ in range(2)], random.randint(2, 5), random.getrandbits(40)
    conv = [
        layer
        for width in channels
        for layer in (
            {"kind": "conv", "channels": width, "kernel_size": 5, "stride": 1},
            {"kind": "pool", "pooling": "average"},
            *after(norm, "tanh", 0.25),
        )
    ]
    own = layers(*conv, {"kind": "linear", "units": hidden}, *after(norm, "tanh", 0.25))
    peer = CnnSpec.model_validate(
        {
            "channels": channels,
            "hidden": [hidden],
            "kernel_size": 5,
            "pooling": "average",
            "activation": "tanh",
            "norm": norm or "none",
            "dropout": 0.25,
        }
    )
    same_bits(own, peer, (2, 9, 8), seed)


def same_bits(own: Architecture, peer: Architecture, shape: tuple[int, ...], seed: int) -> None:
    """Equal weights by name, equal scores and equal gradients, masks and statistics included."""
    assert own.provides == peer.provides and own.depth == peer.depth
    assert own.parameters(signature(shape)) == peer.parameters(signature(shape))
    networks = [made(spec, shape, seed) for spec in (own, peer)]
    states = [network.state_dict() for network in networks]
    assert states[0].keys() == states[1].keys()
    x, found = torch.randn(6, *shape, dtype=torch.float64), []
    for network in networks:
        with network.passing(3, 0, (0, 6, 6), "update"):
            scores = network(x)
        found.append([scores, *torch.autograd.grad(scores.square().sum(), list(network.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*(network.state_dict().values() for network in networks), strict=True))
    other = made(own, shape, seed + 1)
    assert not torch.equal(other.eval()(x), networks[0].eval()(x))


def peer_weights(network: BlockNetwork, peer: nn.Module) -> None:
    """Copies weights in order: both are written down in the same order."""
    ours, theirs = list(network.parameters()), list(peer.parameters())
    assert [a.numel() for a in ours] == [b.numel() for b in theirs]
    with torch.no_grad():
        for a, b in zip(ours, theirs, strict=True):
            a.add_(torch.randn_like(a), alpha=0.1)
            b.copy_(a.reshape(b.shape))


class Skipped(nn.Module):
    """What is added to its input, which may go through a map first."""

    def __init__(self, inner: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.skip = inner, nn.Identity() if skip is None else skip

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.inner(x) + self.skip(x)
        return added


class StepMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class PlaceMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def test_residual_layers_are_skips_around_modules() -> None:
    conv = {"kind": "conv", "channels": 4, "bias": False}
    spec = layers(
        {"kind": "norm"},
        {"kind": "conv", "channels": 3, "kernel_size": 1},
        {"kind": "residual", "layers": [{**conv, "stride": 2}, {"kind": "activation"}, {**conv, "stride": 2}]},
        {"kind": "residual", "layers": [{"kind": "norm"}, {"kind": "activation", "function": "gelu"}, conv]},
        {"kind": "activation", "function": "tanh"},
        {"kind": "residual", "layers": [{"kind": "conv", "channels": 4, "kernel_size": 1}]},
        {"kind": "pool", "pooling": "max"},
        readout="mean",
    )
    network = made(spec, (2, 11, 10), random.getrandbits(40))
    peer = nn.Sequential(
        nn.GroupNorm(1, 2),
        nn.Conv2d(2, 3, 1),
        Skipped(
            nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1, bias=False)),
            nn.Conv2d(3, 4, 1, 4, bias=False),
        ),
        Skipped(nn.Sequential(nn.GroupNorm(1, 4), nn.GELU(), nn.Conv2d(4, 4, 3, 1, 1, bias=False))),
        nn.Tanh(),
        Skipped(nn.Conv2d(4, 4, 1)),
        nn.MaxPool2d(2),
        PlaceMean(),
        nn.Linear(4, 3),
    ).double()
    peer_weights(network, peer)
    x = torch.randn(5, 2, 11, 10, dtype=torch.float64)
    torch.testing.assert_close(network(x), peer(x), **CLOSE)
    assert network.names == ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "readout"]
    assert spec.parameters(signature((2, 11, 10))) == sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        peer[2].skip.weight.mul_(2)  # type: ignore[union-attr,operator]
        assert not torch.allclose(network(x), peer(x))


def test_attention_and_steps_are_those_of_pytorch() -> None:
    width = 2 * random.randint(1, 3)
    spec = layers(
        {"kind": "linear", "units": width, "per_step": True},
        {"kind": "residual", "layers": [{"kind": "norm"}, {"kind": "attention", "heads": 2}]},
        {"kind": "residual", "layers": [{"kind": "linear", "units": width + 1, "per_step": True}]},
        {"kind": "linear", "units": 4},
        {"kind": "activation", "function": "tanh"},
    )
    network = made(spec, (4, 3), random.getrandbits(40))
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    embed, attend, grow, flat, readout = network.stages
    parts = dict(attend.named_parameters())
    heads = nn.MultiheadAttention(width, 2, batch_first=True).double()
    with torch.no_grad():
        query, key, value, output = (f"layers.0.layers.1.{name}" for name in ("query", "key", "value", "output"))
        heads.in_proj_weight.copy_(torch.cat([parts[f"{name}.weight"] for name in (query, key, value)]))
        biases = [parts[f"{query}.bias"], torch.zeros(width), parts[f"{value}.bias"]]
        heads.in_proj_bias.copy_(torch.cat(biases))
        heads.out_proj.weight.copy_(parts[f"{output}.weight"])
        heads.out_proj.bias.copy_(parts[f"{output}.bias"])
    h = embed(x)[0]
    normed = torch.nn.functional.layer_norm(h, (width,))
    torch.testing.assert_close(attend(h)[0], h + heads(normed, normed, normed)[0], **CLOSE)
    first, skip = (module.weight for module in grow.modules() if hasattr(module, "weight"))
    bias = next(parameter for name, parameter in grow.named_parameters() if name.endswith("bias"))
    torch.testing.assert_close(grow(h)[0], h @ first.T + bias + h @ skip.T, **CLOSE)
    assert isinstance(flat, PlainBlock) and flat.synapse.weight.shape == (4, 4 * (width + 1))
    assert readout(flat(grow(h)[0])[0])[0].shape == (5, 3)


LINEAR = {"kind": "linear", "units": 4}


@pytest.mark.parametrize(
    ("shape", "spec", "said"),
    [
        ((5,), layers(LINEAR, {"kind": "conv", "channels": 2}), r"layers/1 \(conv\): reads images"),
        ((1, 8, 8), layers(LINEAR, {"kind": "pool"}), r"layers/1 \(pool\): reads images .* not rows of features"),
        ((1, 3, 8), layers({"kind": "pool", "size": 4}, LINEAR), r"layers/0 \(pool\): nothing is left .* 3 x 8"),
        ((4, 3), layers({"kind": "attention", "heads": 2}), r"layers/0 \(attention\): 2 heads do not divide the 3"),
        ((5,), layers({"kind": "attention"}), r"layers/0 \(attention\): reads sequences"),
        ((5,), layers({**LINEAR, "per_step": True}), r"layers/0 \(linear\): per_step"),
        ((4, 3), layers({"kind": "norm", "norm": "batch"}, LINEAR), r"layers/0 \(norm\): batch normalisation is not"),
        ((4, 3), layers({"kind": "residual", "layers": [LINEAR]}), r"layers/0 \(residual\): its layers turn"),
        (
            (5,),
            layers({"kind": "residual", "layers": [LINEAR, {"kind": "conv", "channels": 2}]}),
            r"layers/0 \(residual\): layers/1 \(conv\)",
        ),
        ((5,), layers(LINEAR, readout="last"), "readout last reads sequences"),
        ((5,), layers(LINEAR, readout="mean"), "readout mean reads images or sequences"),
    ],
)
def test_a_layer_that_does_not_fit_is_named_at_the_door(shape: tuple[int, ...], spec: BlocksSpec, said: str) -> None:
    with pytest.raises(DoesNotFit, match=said):
        build_network(spec, signature(shape), Streams(0))
    refused = refusal(learner_spec({"kind": "backprop"}), spec, None, signature(shape))
    assert refused is not None and refused.code == "input_layout"


@pytest.mark.parametrize(
    "written",
    [
        [],
        [{"kind": "activation"}],
        [{"kind": "residual", "layers": [{"kind": "norm"}]}],
        [{"kind": "residual", "layers": [{"kind": "residual", "layers": [LINEAR]}]}],
        [{"kind": "conv", "channels": 2, "kernel_size": 4}],
        [{"kind": "linear"}],
        [{"kind": "lstm", "units": 3}],
        [{**LINEAR, "width": 3}],
    ],
)
def test_absurd_layers_are_refused(written: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError):
        BlocksSpec.model_validate({"layers": written})


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ([LINEAR, {"kind": "activation"}, LINEAR, {"kind": "norm"}], True),
        ([LINEAR, {"kind": "activation"}, {"kind": "norm"}], False),
        ([LINEAR, {"kind": "activation"}, {"kind": "activation"}], False),
        ([{"kind": "norm"}, LINEAR], False),
        ([{**LINEAR, "per_step": True}], False),
        ([LINEAR, {"kind": "residual", "layers": [LINEAR]}], False),
    ],
)
def test_plain_blocks_are_offered_where_all_are_plain(written: list[dict[str, Any]], plain: bool) -> None:
    assert ("plain_block" in layers(*written).provides) == plain


def test_bounded_is_a_network_whose_blocks_all_are() -> None:
    tanh, relu = ({"kind": "activation", "function": function} for function in ("tanh", "relu"))
    assert {"bounded_activation", "norm_free"} <= layers(LINEAR, tanh, LINEAR, tanh).provides
    assert "bounded_activation" not in layers(LINEAR, tanh, LINEAR, relu).provides
    assert "bounded_activation" not in layers(LINEAR, tanh, LINEAR).provides
    assert "norm_free" not in layers(LINEAR, {"kind": "norm"}, tanh).provides


def test_batch_normalisation_is_found_inside_a_residual() -> None:
    inner = [{"kind": "norm", "norm": "batch"}, LINEAR]
    assert "batch_free" not in layers({"kind": "residual", "layers": inner}).provides
    assert "batch_free" in layers({"kind": "residual", "layers": [{"kind": "norm"}, LINEAR]}).provides
