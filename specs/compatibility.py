"""What may train what: one rule over what learners, networks and optimizers declare about themselves.

Only pairs that cannot train are refused. A refusal names the field, the reason and the nearest pair that trains.
"""

from dataclasses import dataclass
from typing import Any

from specs.architecture import Architecture
from specs.learners import LEARNER_SPECS
from specs.networks import NETWORK_SPECS
from specs.optimizers import Schedule, Update
from specs.rule import Need, Rule
from specs.signature import DataSignature

REASONS: dict[Need, str] = {
    "hidden_block": "it trains blocks by themselves, and this network has none before its read-out",
    "plain_block": "it needs blocks of one weight matrix and one element-wise nonlinearity",
    "synapse": "it needs weight matrices whose products it can replace",
    "recurrent_block": "it needs blocks that step through time",
    "traced_block": "it needs units whose eligibility traces it knows: spiking ones, or an rnn of cell leaky",
    "shallow": "an error that goes in with the input carries through a few layers only (published: one to three)",
    "batch_free": "batch normalisation couples the rows that it must tell apart",
}


@dataclass(frozen=True)
class Refusal:
    """Why a job cannot train. ``pointer`` is a JSON pointer into the job spec, ``nearest`` a patch that trains."""

    pointer: str
    code: str
    message: str
    allowed: Any
    nearest: dict[str, Any]


def refusals(
    learner: Rule,
    network: Architecture,
    optimizer: Update | None = None,
    signature: DataSignature | None = None,
    planned_steps: int | None = 1,
) -> list[Refusal]:
    """Everything that forbids this job, in the order of the checks; empty when it trains."""
    found = [*_pair(learner, network)]
    if optimizer is not None:
        found += _optimizer(learner, optimizer)
        found += _schedule(optimizer.schedule, planned_steps)
    if signature is not None:
        found += _fit(learner, network, signature)
    return found


def refusal(
    learner: Rule,
    network: Architecture,
    optimizer: Update | None = None,
    signature: DataSignature | None = None,
    planned_steps: int | None = 1,
) -> Refusal | None:
    """The first of ``refusals``, or None when the job trains."""
    return next(iter(refusals(learner, network, optimizer, signature, planned_steps)), None)


def compatible_networks(learner: type[Rule]) -> list[str]:
    """Kinds of network that the learner trains, each with its default fields."""
    rule = learner()
    return [kind_of(network) for network in NETWORK_SPECS if not _pair(rule, network())]


def compatible_learners(network: type[Architecture]) -> list[str]:
    """Kinds of learner that train the network, each with its default fields."""
    return [kind_of(learner) for learner in LEARNER_SPECS if not _pair(learner(), network())]


def kind_of(spec: type[Rule] | type[Architecture] | type[Update]) -> str:
    """The kind by which a spec's class stands on the wire."""
    kind: str = spec.model_fields["kind"].default
    return kind


def _pair(learner: Rule, network: Architecture) -> list[Refusal]:
    kind = kind_of(type(network))
    found = []
    if learner.families is not None and kind not in learner.families:
        message = f"{kind_of(type(learner))} does not train a network of kind {kind}"
        found.append(_refused_pair(learner, "/network/kind", "network_kind", message, sorted(learner.families)))
    for need in sorted(learner.requires() - network.provides):
        message = f"{kind_of(type(learner))} cannot train this network: {REASONS[need]}"
        found.append(_refused_pair(learner, _pointer(need, network), f"needs_{need}", message, None))
    return found


def _pointer(need: Need, network: Architecture) -> str:
    """The network's field that decides it, where it has one."""
    field = {"hidden_block": "hidden", "shallow": "hidden", "batch_free": "norm"}.get(need)
    return f"/network/{field}" if field in type(network).model_fields else "/network/kind"


def _refused_pair(learner: Rule, pointer: str, code: str, message: str, allowed: Any) -> Refusal:
    network = nearest_network(learner)
    allowed = network if allowed is None else allowed
    return Refusal(pointer, code, message, allowed, {"network": network})


def nearest_network(learner: Rule) -> dict[str, Any]:
    """The first network on the menu that this learner trains, as a client would write it."""
    for candidate in NETWORK_SPECS:
        network = candidate()
        of_the_family = learner.families is None or kind_of(candidate) in learner.families
        if of_the_family and learner.requires() <= network.provides:
            hidden = getattr(network, "hidden", None)
            return {"kind": kind_of(candidate), **({} if hidden is None else {"hidden": list(hidden)})}
    return {}


def _optimizer(learner: Rule, optimizer: Update) -> list[Refusal]:
    kind, name = kind_of(type(optimizer)), kind_of(type(learner))
    if learner.optimizers is not None and kind not in learner.optimizers:
        allowed = sorted(learner.optimizers)
        message = f"{name} changes weights in place and steps with {' or '.join(allowed)} alone"
        return [Refusal("/optimizer/kind", "optimizer_kind", message, allowed, {"optimizer": {"kind": allowed[0]}})]
    found = []
    for field, value in learner.optimizer_limits.items():
        if getattr(optimizer, field, value) != value:
            message = f"{name} stores no tensor beside the weights: {field} must be {value}"
            nearest = {"optimizer": {"kind": kind, field: value}}
            found.append(Refusal(f"/optimizer/{field}", "optimizer_field", message, [value], nearest))
    return found


def _schedule(schedule: Schedule, planned_steps: int | None) -> list[Refusal]:
    if not schedule.needs_length or planned_steps is not None or getattr(schedule, "steps", None) is not None:
        return []
    message = "the job's number of steps is not known beforehand: the schedule needs its own"
    nearest = {"optimizer": {"schedule": {"kind": "constant"}}}
    return [Refusal("/optimizer/schedule/steps", "schedule_length", message, "a number of steps", nearest)]


def _fit(learner: Rule, network: Architecture, signature: DataSignature) -> list[Refusal]:
    found = []
    if signature.task not in learner.tasks:
        message = f"{kind_of(type(learner))} needs classes, and the data set's task is {signature.task}"
        fitting = [kind_of(rule) for rule in LEARNER_SPECS if signature.task in rule.tasks]
        nearest = {"learner": {"kind": fitting[0]}}
        found.append(Refusal("/learner/kind", "needs_classes", message, fitting, nearest))
    misfit = network.misfit(signature.input_shape)
    if misfit is not None:
        fitting = [kind_of(other) for other in NETWORK_SPECS if other().misfit(signature.input_shape) is None]
        nearest = {"network": {"kind": fitting[0]}}
        found.append(Refusal("/network/kind", "input_layout", misfit, fitting, nearest))
    return found
