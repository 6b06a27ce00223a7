"""Rules that claim no backward pass train with every door to one nailed shut."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import graph

from tests.learners.small_jobs import LEARNERS, NETWORKS, learner_spec, pairs, small_job

CLAIMS_NONE = [(learner, net) for learner, net in pairs() if learner_spec(LEARNERS[learner]).uses_backward == "none"]


@pytest.fixture
def no_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal() -> Callable[..., None]:
        """One of its own for each door: PyTorch's compiler keeps a table of them, and wants them apart."""

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a backward pass was taken")

        return refuse

    monkeypatch.setattr(Tensor, "backward", refusal())
    monkeypatch.setattr(torch.autograd, "grad", refusal())
    monkeypatch.setattr(torch.autograd, "backward", refusal())
    # What all of them call in the end, by the name under which each imported it.
    monkeypatch.setattr(torch.autograd, "_engine_run_backward", refusal())
    monkeypatch.setattr(graph, "_engine_run_backward", refusal())


@pytest.mark.usefixtures("no_backward")
@pytest.mark.parametrize(("learner", "network"), CLAIMS_NONE)
def test_it_trains_without_a_backward_pass(learner: str, network: str) -> None:
    small = small_job(NETWORKS[network], LEARNERS[learner])
    before = small.weights()
    small.run(2)
    assert any(not torch.equal(weight, before[name]) for name, weight in small.weights().items())


@pytest.mark.usefixtures("no_backward")
@pytest.mark.parametrize("learner", ["backprop", "forward_forward", "mono_forward", "readout_only"])
def test_a_rule_that_takes_one_is_caught(learner: str) -> None:
    with pytest.raises(AssertionError, match="a backward pass was taken"):
        small_job(NETWORKS["mlp"], LEARNERS[learner]).run(1)
