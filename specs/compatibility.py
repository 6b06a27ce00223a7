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
    "invertible": "it inverts blocks: of one width, without norm or dropout, with an activation that has an inverse",
    "batch_free": "batch normalisation couples the rows that it must tell apart",
    "norm_free": "a norm couples units that it changes one by one, and holds weights that it does not train",
    "bounded_activation": "its units feed back on each other, and settle only where their activation is bounded",
}

POINTERS: dict[Need, str] = {
    "hidden_block": "/network/hidden",
    "shallow": "/network/hidden",
    "batch_free": "/network/norm",
    "norm_free": "/network/norm",
    "bounded_activation": "/network/activation",
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
    """Kinds of network that the learner trains, each with its default fields or one of its alternatives."""
    rule = learner()
    return [kind_of(network) for network in NETWORK_SPECS if _trained_form(rule, network())]


def compatible_learners(network: type[Architecture]) -> list[str]:
    """Kinds of learner that train the network, with its default fields or one of its alternatives."""
    return [kind_of(learner) for learner in LEARNER_SPECS if _trained_form(learner(), network())]


def kind_of(spec: type[Rule] | type[Architecture] | type[Update]) -> str:
    """The kind by which a spec's class stands on the wire."""
    kind: str = spec.model_fields["kind"].default
    return kind


def _together(learner: Rule, network: Architecture) -> list[Refusal]:
    """What forbids the pair: a rule that is made of others is refused what any of them is."""
    rules = [learner, *(rule for _, rule in learner.held())]
    found = [one for rule in rules for one in _pair(rule, network)]
    if found and len(rules) > 1:
        fitting = nearest_network(learner, network)
        nearest = {"network": fitting} if fitting else BACKPROP
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
        nearest = nearest_network(learner, network)
        found.append(Refusal("/network/kind", "network_kind", message, sorted(learner.families), {"network": nearest}))
    for need in sorted(learner.requires() - network.provides):
        message = f"{kind_of(type(learner))} cannot train this network: {REASONS[need]}"
        nearest = nearest_network(learner, network)
        found.append(Refusal(_pointer(need, network), f"needs_{need}", message, nearest, {"network": nearest}))
    return found


def _pointer(need: Need, network: Architecture) -> str:
    """The network's field that decides it, where it has one."""
    pointer = POINTERS.get(need, "/network/kind")
    return pointer if pointer.removeprefix("/network/") in type(network).model_fields else "/network/kind"


def nearest_network(learner: Rule, network: Architecture) -> dict[str, Any]:
    """The network with the smallest change that this learner trains, else the first on the menu, as a client would
    write it; empty when there is none."""
    changed = _trained_form(learner, network)
    if changed is not None:
        return changed
    for candidate in NETWORK_SPECS:
        found = _trained_form(learner, candidate())
        if found is not None:
            hidden = candidate.model_fields.get("hidden")
            return found if hidden is None else {"hidden": list(hidden.default), **found}
    return {}


def _trained_form(learner: Rule, network: Architecture) -> dict[str, Any] | None:
    """This network, or the first of its alternatives that the learner trains; None where it trains none of them."""
    for fields in ({}, *network.alternatives):
        if _trains(learner, network.model_copy(update=fields)):
            said = network.model_dump(mode="json", exclude_defaults=True)
            return {"kind": kind_of(type(network)), **said, **fields}
    return None


def _trains(learner: Rule, network: Architecture) -> bool:
    """Whether ``_together`` finds nothing, without what it would propose."""
    for rule in (learner, *(held for _, held in learner.held())):
        foreign = rule.families is not None and kind_of(type(network)) not in rule.families
        if foreign or not rule.requires() <= network.provides:
            return False
    return not list(learner.misfits(network))


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
        field = network.misfit_field(signature.input_shape)
        if field != "kind":
            nearest = _readable_form(network, field, signature) or nearest
        found.append(Refusal(f"/network/{field}", "input_layout", misfit, fitting, nearest))
    return found


def _readable_form(network: Architecture, field: str, signature: DataSignature) -> dict[str, Any] | None:
    """This network with the one field changed so that it reads the data: left out, or a small whole number."""
    for value in (None, 4, 7, 2, 1):
        changed = network.model_copy(update={field: value})
        if changed.misfit(signature.input_shape) is None:
            said = network.model_dump(mode="json", exclude_defaults=True, exclude={field})
            return {"network": {"kind": kind_of(type(network)), **said, **({} if value is None else {field: value})}}
    return None
