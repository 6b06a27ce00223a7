"""The plausibility card comes out as the literature has it, and catches a rule that claims to be local and is not."""

from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmarks.plausibility import DEEP, cards, networks, optimizer
from learners import plausibility
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.networks.block_network import BlockNetwork
from learners.plausibility import measure
from learners.streams import Streams
from learners.task import Task
from specs.compatibility import kind_of, refusals
from specs.learners import LEARNER_SPECS
from specs.learners.mono_forward import MonoForwardSpec
from specs.networks import NetworkSpec
from specs.plausibility import PlausibilityCard, measured_cards
from specs.rule import Rule
from tests.learners.small_jobs import learner_spec

NETWORK = TypeAdapter(NetworkSpec).validate_python(DEEP[0])
# Rule -> weight transport, whose weights the derivative depends on, update locking
LITERATURE: dict[str, tuple[bool, str, bool]] = {
    # Crick 1989, Grossberg 1987: symmetric weights on the way back, a global derivative, locked.
    "backprop": (True, "other_blocks", True),
    # Lillicrap et al. 2016: no transport, still a pass back through all layers.
    "feedback_alignment sequential": (False, "other_blocks", True),
    # Nokland 2016: errors are broadcast, each block needs its own derivative alone.
    "feedback_alignment direct": (False, "own_block", True),
    # Whittington and Bogacz 2017, Scellier and Bengio 2017: local updates, symmetric weights.
    "equilibrium_propagation": (True, "own_block", True),
    "predictive_coding": (True, "own_block", True),
    # Hinton 2022: nothing comes back, a layer may learn before the next one has run.
    "forward_forward": (False, "own_block", False),
}


def rule_of(name: str) -> Rule:
    kind, _, route = name.partition(" ")
    return learner_spec({"kind": kind, "route": route} if route else {"kind": kind})


@pytest.mark.parametrize("name", LITERATURE)
def test_card_is_as_the_literature_has_it(name: str) -> None:
    rule = rule_of(name)
    network = next(one for one in networks() if not refusals(rule, one))
    card = measure(rule, network, optimizer(rule))
    assert (card.weight_transport, card.backward_graph, card.update_locked) == LITERATURE[name]


MEASURED = [kind for kind in LEARNER_SPECS if kind_of(kind) in measured_cards()]
EVERY_MEASURED = pytest.mark.parametrize("kind", MEASURED, ids=kind_of)


@EVERY_MEASURED
def test_kept_cards_are_what_is_measured(kind: type[Rule]) -> None:
    assert measured_cards()[kind_of(kind)] == cards(kind)


@EVERY_MEASURED
def test_no_rule_claims_less_backward_than_is_measured(kind: type[Rule]) -> None:
    card = measured_cards()[kind_of(kind)][0]
    if kind.uses_backward == "none":
        assert card.backward_graph == "none"
    if kind.uses_backward == "block":
        assert card.backward_graph != "other_blocks"


class PeekingSpec(MonoForwardSpec):
    """Claims what Mono-Forward claims."""

    title: ClassVar[str] = "A rule that says that it is local"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"


class Peeking(Learner):
    """Says that it is local, and takes the whole network's gradient behind the context's back."""

    def __init__(self, spec: PeekingSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self.network, self.task = network, task
        return None

    def groups(self) -> list[ParameterGroup]:
        return network_groups(self.network)

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        parameters = [p for group in self.groups() for p in group.parameters]
        loss = self.task.loss(self.network(batch.x, batch.dt), batch.y)
        context.write(parameters, torch.autograd.grad(loss, parameters))
        return StepReport(loss.detach(), 1.0, 0.5)

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores: Tensor = self.network(x, dt)
        return scores

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.predict(batch.x, batch.dt), batch.y)


def test_a_rule_that_peeks_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = measure(MonoForwardSpec(), NETWORK, optimizer(MonoForwardSpec()))
    assert (honest.backward_graph, honest.weight_transport, honest.depends_on_weights_above) == (
        "own_block",
        False,
        False,
    )
    build = plausibility.build

    def build_peeking(network: BlockNetwork, task: Task, rule: Rule, *rest: Any, **options: Any) -> Any:
        # The menu has no such rule, so it is put where the menu's rule would be built.
        monkeypatch.setattr("learners.mono_forward.MonoForward", Peeking)
        return build(network, task, MonoForwardSpec(), *rest, **options)

    monkeypatch.setattr(plausibility, "build", build_peeking)
    caught: PlausibilityCard = measure(PeekingSpec(), NETWORK, optimizer(PeekingSpec()))
    assert caught.backward_graph == "other_blocks"
    assert caught.weight_transport and caught.depends_on_weights_above and caught.update_locked
