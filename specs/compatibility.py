"""What may train what: one rule over what learners, networks and optimizers declare about themselves.

Only pairs that cannot train are refused. A refusal names the field, the reason and the nearest pair that trains.
"""

from dataclasses import dataclass, replace
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

BACKPROP: dict[str, Any] = {"learner": {"kind": "backprop"}}


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
    found = _together(learner, network)
    for phase in learner.course():
        update = phase.optimizer or optimizer
        if update is not None:
            met = [*_optimizer(phase.rule, update), *_schedule(update.schedule, planned_steps)]
            found += met if phase.optimizer is None else [_of_phase(one, phase.pointer) for one in met]
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
    return [kind_of(network) for network in NETWORK_SPECS if not _together(rule, network())]


def compatible_learners(network: type[Architecture]) -> list[str]:
    """Kinds of learner that train the network, each with its default fields."""
    return [kind_of(learner) for learner in LEARNER_SPECS if not _together(learner(), network())]


def kind_of(spec: type[Rule] | type[Architecture] | type[Update]) -> str:
    """The kind by which a spec's class stands on the wire."""
    kind: str = spec.model_fields["kind"].default
    return kind


def _together(learner: Rule, network: Architecture) -> list[Refusal]:
    """What forbids the pair: a rule that is made of others is refused what any of them is."""
    rules = [learner, *(rule for _, rule in learner.held())]
    found = [one for rule in rules for one in _pair(rule, network)]
    if found and len(rules) > 1:
        fitting = [each for each in NETWORK_SPECS if not any(_pair(rule, each()) for rule in rules)]
        nearest = {"network": {"kind": kind_of(fitting[0])}} if fitting else BACKPROP
        found = [replace(one, nearest=nearest) for one in found]
    for pointer, code, message in learner.misfits(network):
        found.append(Refusal(f"/learner{pointer}", code, message, None, BACKPROP))
    return found


def _of_phase(refused: Refusal, phase: str) -> Refusal:
    """The refusal of a phase's own optimizer, which a patch of the job's would not mend."""
    return replace(refused, pointer=f"/learner{phase}{refused.pointer}", nearest=BACKPROP)


def _pair(learner: Rule, network: Architecture) -> list[Refusal]:
    kind = kind_of(type(network))
    found = []
    if learner.families is not None and kind not in learner.families:
        message = f"{kind_of(type(learner))} does not train a network of kind {kind}"
        found.append(_refused_pair(learner, "/network/kind", "network_kind", message, sorted(learner.families)))
    for need in sorted(learner.requires() - network.provides):
        message = f"{kind_of(type(learner))} cannot train this network: {REASONS[need]}"
        found.append(_refused_pair(learner, _pointer(need), f"needs_{need}", message, None))
    return found


def _pointer(need: Need) -> str:
    return {"hidden_block": "/network/hidden", "shallow": "/network/hidden", "batch_free": "/network/norm"}.get(
        need, "/network/kind"
    )


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
            return {"kind": kind_of(candidate), "hidden": list(getattr(network, "hidden", ()))}
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
    for place, rule in (("", learner), *learner.held()):
        if signature.task not in rule.tasks:
            message = f"{kind_of(type(rule))} needs classes, and the data set's task is {signature.task}"
            fitting = [kind_of(rule) for rule in LEARNER_SPECS if signature.task in rule.tasks]
            nearest = {"learner": {"kind": fitting[0]}}
            found.append(Refusal(f"/learner{place}/kind", "needs_classes", message, fitting, nearest))
    misfit = network.misfit(signature.input_shape)
    if misfit is not None:
        fitting = [kind_of(other) for other in NETWORK_SPECS if other().misfit(signature.input_shape) is None]
        nearest = {"network": {"kind": fitting[0]}}
        found.append(Refusal("/network/kind", "input_layout", misfit, fitting, nearest))
    return found
