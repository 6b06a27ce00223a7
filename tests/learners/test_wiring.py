"""Wirings: every neuron is reached, layers follow each other, seeds decide."""

import pytest
import torch

from learners.networks.wiring import Wiring, wire
from specs.liquid import NcpCounts
from specs.networks.cfc import CfcSpec
from specs.networks.ltc import LtcSpec

COUNTS = NcpCounts(
    inter_neurons=6,
    command_neurons=4,
    motor_neurons=2,
    sensory_fanout=2,
    inter_fanout=2,
    recurrent_command_synapses=3,
    motor_fanin=2,
)
NCP = LtcSpec(hidden=(12,), wiring="ncp", ncp=COUNTS)


@pytest.mark.parametrize("spec", [NCP, LtcSpec(hidden=(20,), wiring="auto_ncp", motor_neurons=3)])
@pytest.mark.parametrize("inputs", [1, 7])
def test_synapses_lead_from_layer_to_layer_and_reach_every_neuron(spec: LtcSpec, inputs: int) -> None:
    wiring = wire(spec, 0, inputs)
    inter, command, motor = (list(layer) for layer in wiring.layers)
    assert motor == list(range(wiring.motor_neurons))
    exists = wiring.adjacency != 0
    allowed = torch.zeros_like(exists)
    for sources, targets in ((inter, command), (command, command), (command, motor)):
        allowed[torch.tensor(sources)[:, None], torch.tensor(targets)] = True
    assert not (exists & ~allowed).any()
    assert (wiring.sensory != 0)[:, inter].any(0).all() and (wiring.sensory != 0).any(1).all()
    assert not (wiring.sensory != 0)[:, command + motor].any()
    assert exists[inter][:, command].any(0).all() and exists[inter].any(1).all()
    assert exists[command][:, motor].any(0).all() and exists[command][:, motor].any(1).all()
    assert set(wiring.adjacency.unique().tolist()) <= {-1.0, 0.0, 1.0}


def test_counts_are_kept() -> None:
    wiring = wire(NCP, 0, 7)
    assert [len(layer) for layer in wiring.layers] == [6, 4, 2]
    assert torch.all((wiring.sensory != 0).sum(1) >= 2)
    assert torch.all((wiring.adjacency[: 4 + 2, :2] != 0).sum(0) >= 2)


def test_the_seed_decides_the_wiring() -> None:
    def drawn(**fields: int) -> Wiring:
        return wire(CfcSpec(hidden=(20,), wiring="auto_ncp", **fields), 0, 5)  # type: ignore[arg-type]

    assert torch.equal(drawn(wiring_seed=1).adjacency, drawn(wiring_seed=1).adjacency)
    assert not torch.equal(drawn(wiring_seed=1).adjacency, drawn(wiring_seed=2).adjacency)
