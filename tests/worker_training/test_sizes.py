"""The door's estimate of a network's size holds for the network that is built."""

from pathlib import Path

import pytest

from tests.worker_training.running import NETWORKS, attempt, job

MORE = {
    "residual": {"kind": "mlp", "hidden": [12, 8, 8], "residual": True, "norm": "layer"},
    "cnn_hidden": {"kind": "cnn", "channels": [4, 6], "hidden": [9], "norm": "batch", "stride": 2, "pooling": "none"},
    "cfc_two": {"kind": "cfc", "hidden": [6, 5], "backbone_layers": 2},
}


@pytest.mark.parametrize("name", [*NETWORKS, *MORE])
def test_estimate_is_near_what_is_built(name: str, tmp_path: Path) -> None:
    base = "cfc" if name == "cfc_two" else name if name in NETWORKS else "mlp"
    fields = job("backprop", base)
    if name in MORE:
        fields["network"] = MORE[name]
    made = attempt(fields, tmp_path)
    built = sum(parameter.numel() for parameter in made.loop.course.training.network.parameters())
    estimate = made.order.spec.network.parameters(made.order.signature)
    assert estimate is not None
    if name == "ltc auto_ncp":
        # How many synapses a drawn wiring has is not known at the door.
        assert built <= estimate
    else:
        assert abs(estimate - built) <= 0.01 * built
