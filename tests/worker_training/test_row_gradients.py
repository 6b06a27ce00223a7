"""Ghost norms against gradients that were formed row by row, and the noise scale against gradients of known noise."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from tests.learners.small_jobs import SmallJob, small_job
from tests.worker_training.running import job, last_checkpoint, train
from tests.worker_training.test_bits import _stop_after
from worker.diagnostics.ghost_norms import matrix_squares, row_gradients

MEASURED = {"every_steps": 1, "alignment_every_steps": 1, "budget_percent": None, "row_gradients": True}
PLAIN = {
    "mlp": {"kind": "mlp", "hidden": [12, 8], "norm": "layer"},
    "residual": {"kind": "mlp", "hidden": [8, 8], "residual": True},
    "cnn": {"kind": "cnn", "channels": [4, 6], "hidden": [8], "norm": "layer"},
    "strided": {"kind": "cnn", "channels": [4, 6], "stride": 2, "pooling": "none", "hidden": []},
    "transformer": {"kind": "transformer", "width": 8, "heads": 2, "layers": 2, "feedforward": 12, "positions": "time"},
    "lstm": {"kind": "rnn", "cell": "lstm", "hidden": [6]},
    "gru": {"kind": "rnn", "cell": "gru", "hidden": [6, 5]},
    "cfc": {"kind": "cfc", "hidden": [5]},
}


def of_rows(small: SmallJob) -> dict[str, Tensor]:
    """Squared norms [B] of every parameter's gradient, row by row, as ``torch.func`` forms them."""
    network, task, batch = small.training.network, small.training.task, small.batch

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor, dt: Tensor | None) -> Tensor:
        given = (x.unsqueeze(0), None if dt is None else dt.unsqueeze(0))
        return task.loss(functional_call(network, parameters, given), y.unsqueeze(0))

    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    in_dims = (None, 0, 0, None if batch.dt is None else 0)
    found = vmap(grad(loss), in_dims=in_dims)(parameters, batch.x, batch.y, batch.dt)
    return {name: gradient.flatten(1).square().sum(1) for name, gradient in found.items()}


@pytest.mark.parametrize("network", PLAIN)
def test_ghost_norms_equal_those_of_gradients_formed_row_by_row(network: str) -> None:
    small = small_job(PLAIN[network], {"kind": "backprop"})
    learner, parameters = small.training.learner, dict(small.training.network.named_parameters())
    found = row_gradients(
        small.training.network, lambda: learner.reference(small.batch), list(parameters.values()), rows=8
    )
    assert found is not None
    expected = of_rows(small)
    for name, parameter in parameters.items():
        torch.testing.assert_close(found.squares[parameter], expected[name], rtol=1e-9, atol=1e-18)
    assert max(float(square.max()) for square in expected.values()) > 1e-4


def test_single_precision_is_as_near_as_a_hundred_thousandth() -> None:
    small = small_job(PLAIN["cnn"], {"kind": "backprop"}, dtype=torch.float32)
    learner, parameters = small.training.learner, list(small.training.network.parameters())
    found = row_gradients(small.training.network, lambda: learner.reference(small.batch), parameters, rows=8)
    assert found is not None
    for parameter, square in zip(parameters, of_rows(small).values(), strict=True):
        torch.testing.assert_close(found.squares[parameter].sqrt(), square.sqrt(), rtol=1e-5, atol=1e-8)


def test_both_ways_to_a_matrix_norm_agree() -> None:
    draw = torch.Generator().manual_seed(0)
    for places, inputs, outputs in ((3, 40, 50), (90, 4, 5), (1, 6, 7)):
        a, d = (torch.randn(4, places, n, generator=draw, dtype=torch.float64) for n in (inputs, outputs))
        formed = torch.einsum("bpo,bpi->boi", d, a).square().sum((1, 2))
        torch.testing.assert_close(matrix_squares(a, d), formed)


@pytest.mark.parametrize(
    ("sections", "layer", "reason"),
    [
        ({"network": {"kind": "mlp", "hidden": [8], "norm": "batch"}}, "network", "batch_norm"),
        ({"network": {"kind": "ltc", "hidden": [8]}}, "blocks.0", "no_formula"),
    ],
)
def test_what_has_no_rows_of_its_own_is_refused_with_the_reason(
    sections: dict[str, Any], layer: str, reason: str, tmp_path: Path
) -> None:
    network = "ltc" if sections["network"]["kind"] == "ltc" else "mlp"
    made = job("backprop", network, diagnostics=MEASURED)
    if network == "mlp":
        made |= sections
    trained = train(made, tmp_path)
    assert trained.result.diagnostics["missing"]["row_gradients"][layer] == {reason: 7}
    assert ("row_grad_norm_mean", None, "train") not in trained.series


def test_rows_are_off_unless_asked_for_and_change_no_bit(tmp_path: Path) -> None:
    fields = job("backprop", "mlp", training={"micro_batch_size": 50})
    plain = train(fields, tmp_path)
    assert not any(name.startswith("row_grad") for name, _, _ in plain.series)
    measured = train({**fields, "diagnostics": MEASURED}, tmp_path)
    assert measured.result.weights_sha256 == plain.result.weights_sha256
    for layer in ("blocks.0", "blocks.1", "readout", None):
        mean, largest = (measured.series[f"row_grad_norm_{name}", layer, "train"][1] for name in ("mean", "max"))
        # The mean of the rows' gradients is no longer than their mean length.
        assert measured.series["grad_norm", layer, "train"][1] <= mean * (1 + 1e-6)
        assert mean <= largest


def test_signal_and_noise_are_the_same_in_batches_of_any_size(tmp_path: Path) -> None:
    """A batch of B rows has the expected |g_B|^2 = G^2 + S / B. Two epochs, of 19 batches each and of one."""

    def means(batch_size: int, steps: int) -> dict[str, float]:
        fields = job(
            "backprop",
            "mlp",
            network={"kind": "mlp", "hidden": [8]},
            optimizer={"kind": "sgd", "lr": 1e-6},
            training={"budget": {"kind": "steps", "value": steps}, "batch_size": batch_size},
            diagnostics=MEASURED,
        )
        series = train(fields, tmp_path).series
        found = {name: series[name, None, "train"] for name in ("gradient_signal", "gradient_noise", "grad_norm")}
        found["grad_norm"] = {step: value**2 for step, value in found["grad_norm"].items()}
        return {name: fmean(values.values()) for name, values in found.items()}

    small, large = means(17, 38), means(323, 2)
    assert small["gradient_signal"] == pytest.approx(large["gradient_signal"], rel=0.1)
    assert small["gradient_noise"] == pytest.approx(large["gradient_noise"], rel=0.1)
    # What the estimates take away: the norms themselves do depend on the batch.
    assert small["grad_norm"] > 1.2 * large["grad_norm"]


def test_noise_scale_goes_on_where_a_job_is_resumed(tmp_path: Path) -> None:
    fields = job("backprop", "mlp", diagnostics=MEASURED)
    undisturbed = train(fields, tmp_path).series["noise_scale", None, "train"]
    stopped = _stop_after(fields, 4, tmp_path)
    resumed = train(fields, tmp_path, resume=last_checkpoint(stopped)).series["noise_scale", None, "train"]
    assert resumed
    for step, value in resumed.items():
        assert value == undisturbed[step]
