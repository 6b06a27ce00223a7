"""Rules that say they stay inside a block: no gradient that they take couples two blocks.

The proof is a second derivative: where a differentiated objective runs through blocks i and j, the gradient of i
depends on the weights of j, and its derivative by them is not zero. A sum of own objectives passes; a chain does not.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from specs.compatibility import refusals
from tests.learners.small_jobs import LEARNERS, NETWORKS, SmallJob, learner_spec, network_spec, small_job

CHAIN = {"kind": "mlp", "hidden": [5, 4, 4], "activation": "tanh"}
NETWORKS_HERE: dict[str, dict[str, Any]] = {
    "chain": CHAIN,
    "images": {"kind": "cnn", "channels": [3, 4], "activation": "tanh", "pooling": "average"},
    "residual": {**CHAIN, "residual": True},
    "recurrent": {**NETWORKS["rnn leaky"], "hidden": [4, 3]},
}
Unit = int | str


def _said_local(learner: str, network: str) -> bool:
    rule = learner_spec(LEARNERS[learner])
    local = rule.uses_backward == "block" and not rule.crosses_blocks
    return local and not refusals(rule, network_spec(NETWORKS_HERE[network]))


PAIRS = [(learner, network) for learner in LEARNERS for network in NETWORKS_HERE if _said_local(learner, network)]
ACROSS = {
    "backprop": {"kind": "backprop"},
    "mono_forward joint": {"kind": "mono_forward", "detach": False},
    "local_loss joint": {"kind": "local_loss", "detach": False},
    "error_based": {"kind": "predictive_coding", "mode": "error_based"},
}


class GraphWatch:
    """Stands for ``autograd.grad`` and looks at every objective before it is differentiated.

    ``reached`` are the units whose parameters each objective depends on, ``coupled`` the pairs whose gradients depend
    on each other's weights. A unit is a block with what learns with it, or a group that belongs to none.
    """

    def __init__(self, small: SmallJob) -> None:
        self._grad = torch.autograd.grad
        groups = small.training.groups
        owned = [(p, g.name if g.block is None else g.block) for g in groups for p in g.parameters]
        self._parameters = [parameter for parameter, _ in owned]
        self._units: list[Unit] = [unit for _, unit in owned]
        self._draw = torch.Generator().manual_seed(0)
        self.reached: list[set[Unit]] = []
        self.coupled: set[tuple[Unit, Unit]] = set()

    def __call__(self, outputs: Any, inputs: Any, grad_outputs: Any = None, *args: Any, **options: Any) -> Any:
        with torch.enable_grad():
            self._look(outputs, grad_outputs)
        return self._grad(outputs, inputs, grad_outputs, *args, **options)

    def _look(self, outputs: Any, seed: Any) -> None:
        first = self._grad(outputs, self._parameters, seed, create_graph=True, allow_unused=True)
        found = list(zip(self._units, first, strict=True))
        self.reached.append({unit for unit, gradient in found if gradient is not None})
        for unit, gradient in found:
            if gradient is not None and gradient.requires_grad:
                self._couple(unit, gradient)

    def _couple(self, unit: Unit, gradient: Tensor) -> None:
        probe = torch.randn(gradient.shape, generator=self._draw, dtype=gradient.dtype)
        second = self._grad((gradient * probe).sum(), self._parameters, allow_unused=True, retain_graph=True)
        for other, derivative in zip(self._units, second, strict=True):
            if other != unit and derivative is not None and bool(derivative.any()):
                self.coupled.add((unit, other))


def watched(small: SmallJob, monkeypatch: pytest.MonkeyPatch) -> GraphWatch:
    """The watch after one update."""
    watch = GraphWatch(small)
    with monkeypatch.context() as patched:
        patched.setattr(torch.autograd, "grad", watch)
        small.run(1)
    assert watch.reached
    return watch


@pytest.mark.parametrize(("learner", "network"), PAIRS)
def test_no_gradient_couples_two_blocks(learner: str, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watched(small_job(NETWORKS_HERE[network], LEARNERS[learner], seed=3), monkeypatch)
    assert watch.coupled == set()


@pytest.mark.parametrize("control", ACROSS)
def test_a_graph_across_blocks_is_found_out(control: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert learner_spec(ACROSS[control]).crosses_blocks
    watch = watched(small_job(CHAIN, ACROSS[control], seed=3), monkeypatch)
    assert {(0, 1), (1, 2), (0, 2)} <= watch.coupled


@pytest.mark.parametrize("learner", ["forward_forward", "mono_forward", "local_loss", "pepita"])
def test_a_blocks_objective_has_no_gradient_at_all_for_another(learner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watched(small_job(CHAIN, {"kind": learner}, seed=3), monkeypatch)
    assert [len(units) for units in watch.reached] == [1] * len(watch.reached)
    assert {0, 1, 2} <= set().union(*watch.reached)


def _chooses_by_readout(learner: str) -> bool:
    """Whether a block's rows are drawn by what the read-out takes them for: no gradient, and still word from above."""
    return LEARNERS[learner].get("negatives") == "hard_label"


OWN_OBJECTIVE = [
    pair
    for pair in PAIRS
    if learner_spec(LEARNERS[pair[0]]).exactness == "own_objective" and not _chooses_by_readout(pair[0])
]


@pytest.mark.parametrize(("learner", "network"), OWN_OBJECTIVE)
def test_a_block_with_an_own_objective_learns_without_the_blocks_above(learner: str, network: str) -> None:
    small = small_job(NETWORKS_HERE[network], LEARNERS[learner], seed=3)
    before, after = small.gradients(), _with_other_blocks_above(small).gradients()
    names = [group.name for group in small.training.groups if group.block == 0]
    assert all(torch.equal(a, b) for name in names for a, b in zip(before[name], after[name], strict=True))
    assert not torch.equal(before["blocks.1"][0], after["blocks.1"][0])


@pytest.mark.parametrize(
    "learner", ["backprop", "pepita", "predictive_coding", *(name for name in LEARNERS if _chooses_by_readout(name))]
)
def test_a_rule_that_hears_of_the_output_does_not(learner: str) -> None:
    small = small_job(CHAIN, LEARNERS.get(learner, {"kind": learner}), seed=3)
    before, after = small.gradients(), _with_other_blocks_above(small).gradients()
    assert not torch.allclose(before["blocks.0"][0], after["blocks.0"][0], rtol=1e-2)


def _with_other_blocks_above(small: SmallJob) -> SmallJob:
    """The same job, every stage after the first with other weights."""
    with torch.no_grad():
        for stage in small.training.network.stages[1:]:
            for parameter in stage.parameters():
                parameter.mul_(-1.5).add_(0.1)
    return small
