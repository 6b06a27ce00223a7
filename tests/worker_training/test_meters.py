"""Meters: what they count is what was done, and where there is no counter there is no number."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.worker_training.running import attempt, job, train
from worker.meters.flops import FlopMeter
from worker.meters.memory import ActivationCount, MemoryMeter


def test_flops_equal_the_formula_of_the_mlp() -> None:
    rows, widths = 32, (784, 50, 10)
    net = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    meter = FlopMeter()
    with meter.counting_step():
        net(torch.zeros(rows, 784)).sum().backward()
    forward = sum(2 * rows * a * b for a, b in itertools.pairwise(widths))
    assert meter.per_step == 3 * forward - 2 * rows * widths[0] * widths[1]  # no gradient of the input


@pytest.mark.parametrize(
    ("network", "products"),
    [
        # Multiplications of a row in each layer: inputs x outputs.
        ({"kind": "mlp", "hidden": [12, 8]}, [64 * 12, 12 * 8, 8 * 10]),
        # Of a convolution: places x kernel x channels in x channels out; pooling halves 8 x 8 twice.
        (
            {"kind": "cnn", "channels": [4, 6], "kernel_size": 3, "pooling": "max", "hidden": [8]},
            [64 * 9 * 1 * 4, 16 * 9 * 4 * 6, 4 * 6 * 8, 8 * 10],
        ),
    ],
)
def test_flops_of_a_step_equal_the_formula_of_its_network(
    network: dict[str, Any], products: list[int], tmp_path: Path
) -> None:
    """Two operations a multiplication, 80 rows: forward, weights, and errors of all layers but the first."""
    trained = train(job("backprop", str(network["kind"]), network=network), tmp_path)
    assert trained.attempt.loop.course.bill.flops.per_step == 2 * 80 * (3 * sum(products) - products[0])


def test_flops_of_a_job_are_counted_rows_not_batches(tmp_path: Path) -> None:
    """7 steps over 323 rows: batches of 80, 80, 80, 80, 3, 80, 80."""
    trained = train(job("backprop", "mlp"), tmp_path)
    whole_batches = 6 + 3 / 80
    assert trained.result.cost["forwards"] == pytest.approx(whole_batches)
    per_step = trained.attempt.loop.course.bill.flops.per_step
    assert per_step is not None
    assert trained.result.cost["flops"] == pytest.approx(per_step * whole_batches)


def test_counting_changes_no_bit(tmp_path: Path) -> None:
    counted = attempt(job("backprop", "cnn"), tmp_path)
    not_counted = attempt(job("backprop", "cnn"), tmp_path)
    not_counted.loop.course.bill.flops.per_step = 1.0
    assert counted.run().weights_sha256 == not_counted.run().weights_sha256


def test_activations_are_the_storages_kept_for_backward() -> None:
    net = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))
    x = torch.zeros(32, 16)
    with ActivationCount(net.parameters()) as count:
        net(x).sum().backward()
    assert count.peak_bytes == 4 * (32 * 16 + 32 * 8)  # the input and tanh's output


def test_activations_are_told_apart_by_the_layer_that_keeps_them() -> None:
    layers = {"first": nn.Linear(16, 8), "second": nn.Sequential(nn.Tanh(), nn.Linear(8, 4))}
    parameters = [parameter for layer in layers.values() for parameter in layer.parameters()]
    with ActivationCount(parameters, layers) as count:
        y = torch.zeros(32, 16)
        for layer in layers.values():
            y = layer(y)
        y.square().sum().backward()
    assert count.peak_by_layer == {"first": 4 * 32 * 16, "second": 4 * 32 * 8, "between_layers": 4 * 32 * 4}
    assert sum(count.peak_by_layer.values()) == count.peak_bytes
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers.values())


@pytest.mark.parametrize(("learner", "gradients"), [("backprop", 1), ("mezo", 0)])
def test_bill_tells_memory_by_layer_and_by_component(learner: str, gradients: int, tmp_path: Path) -> None:
    """Adam keeps two numbers a weight, and a count of steps per tensor; a rule in place keeps nothing."""
    optimizer = {"kind": "adam" if gradients else "sgd", "lr": 0.01}
    network = {"kind": "mlp", "hidden": [12, 8]}
    trained = train(job(learner, "mlp", network=network, optimizer=optimizer), tmp_path)
    memory, weights = trained.result.cost["memory"], 4 * (64 * 12 + 12 + 12 * 8 + 8 + 8 * 10 + 10)
    assert sum(memory["activation_bytes_by_layer"].values()) == memory["activation_bytes"]
    if gradients:
        # The read-out keeps what the block below it kept already.
        assert memory["activation_bytes_by_layer"].keys() == {"blocks.0", "blocks.1", "between_layers"}
    assert memory["components"] == {
        "weights": weights,
        "gradients": gradients * weights,
        "optimizer_state": gradients * (2 * weights + 6 * 4),
        "activations": memory["activation_bytes"],
    }


def test_freed_activations_are_not_counted_twice() -> None:
    layer = nn.Linear(16, 16)
    with ActivationCount(layer.parameters()) as count:
        for _ in range(5):
            layer(torch.zeros(64, 16)).sum().backward()
    assert count.peak_bytes == 4 * 64 * 16


def test_peak_on_a_cpu_says_how_it_was_taken() -> None:
    meter = MemoryMeter(torch.device("cpu"))
    before = meter.peak()["peak_bytes"]
    block = torch.ones(16 << 20)  # 64 MiB
    del block
    peak = meter.peak()
    assert peak["peak_bytes"] - before > 32 << 20
    assert peak["source"] in ("peak_private_rss_above_start", "rise_of_max_rss")


def test_activation_checkpointing_stores_less_and_changes_no_bit(tmp_path: Path) -> None:
    deep = {"kind": "mlp", "hidden": [16] * 16}
    plain = train(job("backprop", "mlp", network=deep), tmp_path)
    saved = train(job("backprop", "mlp", network=deep, training={"activation_checkpointing": "sqrt"}), tmp_path)
    assert plain.result.weights_sha256 == saved.result.weights_sha256
    stored = [trained.result.cost["memory"]["activation_bytes"] for trained in (plain, saved)]
    assert 0 < stored[1] < stored[0]
