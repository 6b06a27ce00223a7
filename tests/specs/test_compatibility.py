"""What a refusal proposes is the client's own network with the smallest change that trains."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from specs.compatibility import compatible_learners, compatible_networks, refusals
from specs.learners.equilibrium_propagation import EquilibriumPropagationSpec
from specs.networks import NetworkSpec
from specs.networks.cfc import CfcSpec
from specs.networks.cnn import CnnSpec

RULE = EquilibriumPropagationSpec()


@pytest.mark.parametrize(
    ("network", "pointer", "nearest"),
    [
        (
            {"kind": "mlp", "hidden": [30]},
            "/network/activation",
            {"kind": "mlp", "hidden": [30], "residual": False, "norm": "none", "activation": "hard_sigmoid"},
        ),
        (
            {"kind": "mlp", "hidden": [30], "activation": "tanh", "norm": "batch"},
            "/network/norm",
            {"kind": "mlp", "hidden": [30], "activation": "tanh", "norm": "none"},
        ),
        (
            {"kind": "mlp", "hidden": [30, 30], "activation": "tanh", "residual": True},
            "/network/kind",
            {"kind": "mlp", "hidden": [30, 30], "activation": "tanh", "residual": False, "norm": "none"},
        ),
        (
            {"kind": "cnn", "channels": [4], "activation": "tanh", "norm": "layer"},
            "/network/norm",
            {"kind": "cnn", "channels": [4], "activation": "tanh", "norm": "none"},
        ),
    ],
)
def test_nearest_network_keeps_what_the_client_chose(
    network: dict[str, Any], pointer: str, nearest: dict[str, Any]
) -> None:
    read = TypeAdapter(NetworkSpec).validate_python
    found = refusals(RULE, read(network))
    assert pointer in {refused.pointer for refused in found}
    assert all(refused.nearest == {"network": nearest} for refused in found)
    assert not refusals(RULE, read(nearest))


def test_without_a_form_that_trains_the_first_of_the_menu_is_proposed() -> None:
    (proposed, *_) = [refused.nearest["network"] for refused in refusals(RULE, CfcSpec())]
    assert proposed["kind"] == "mlp" and proposed["activation"] == "hard_sigmoid"
    assert not refusals(RULE, TypeAdapter(NetworkSpec).validate_python(proposed))


def test_a_kind_is_compatible_when_one_of_its_forms_trains() -> None:
    assert compatible_networks(EquilibriumPropagationSpec) == ["mlp", "cnn"]
    assert "equilibrium_propagation" in compatible_learners(CnnSpec)
    assert "equilibrium_propagation" not in compatible_learners(CfcSpec)
