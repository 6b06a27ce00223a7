"""What a comparison will run: its arms, each a whole job, with their trials. Controls are always among them.

A plan is plain JSON: it is made at the door, stored with the comparison, and read by whoever advances it. What grows
afterwards are the trials of its arms: the first one is as posted, and what is tried next follows from those that ended.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from specs.comparison_trials import space
from specs.comparisons import ComparedLearner, ComparisonSpec
from specs.compatibility import kind_of
from specs.data_sources import known_signature
from specs.job import JobSpec
from specs.learners import LEARNER_SPECS
from specs.limits import Limits
from specs.power import power, seeds_for
from specs.rule import Rule

REFERENCE = "backprop"
ALPHA = 0.05
GAP = 2.0
ONE_AT_A_TIME = ("seconds", "joules")
"""Budgets that other work on the machine would change: their jobs run one after the other."""


@dataclass(frozen=True)
class Arm:
    """One thing that is compared: a learner, or a control."""

    name: str
    role: str
    entry: ComparedLearner
    pointer: str | None = None
    """Where it stands in what the client posted."""
    changes: tuple[tuple[str, str, Any], ...] = ()
    tuned_as: str | None = None


def plan(spec: ComparisonSpec, limits: Limits | None = None) -> dict[str, Any]:
    """The arms, their search spaces, what was left out and why, the power. PydanticCustomError: an arm cannot train, or
    is more than ``limits``."""
    arms: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    for arm in _by_depth(spec) if spec.template == "memory_by_depth" else _named(spec):
        try:
            job = _job(spec, arm, limits)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if arm.pointer is not None and arm.entry.required:
                raise _refusal(first, arm.pointer) from None
            left_out.append({"name": arm.name, "role": arm.role, "reason": _reason(first)})
            continue
        arms.append(
            {
                "name": arm.name,
                "role": arm.role,
                "tuned_as": arm.tuned_as,
                "job": job.resolved(),
                "space": (searched := _space(spec, arm, job)),
                "trials": [{}] if searched else [],
            }
        )
    if not arms or arms[0]["role"] != "reference":
        raise PydanticCustomError(
            "no_reference",
            "{reason}",
            {"pointer": "/network", "reason": left_out[0]["reason"] if left_out else "backprop cannot train it"},
        )
    clocked = spec.training.budget is not None and spec.training.budget.kind in ONE_AT_A_TIME
    made: dict[str, Any] = {"arms": arms, "left_out": left_out, "one_at_a_time": clocked, "template": spec.template}
    made["power"] = {} if spec.template == "memory_by_depth" else _power(spec, tested(arms))
    if limits is not None and (count := run_count(made, spec)) > limits.comparison_runs:
        raise PydanticCustomError(
            "too_many_runs",
            "the comparison would take {count} jobs; at most {allowed}",
            {"pointer": "/seeds", "allowed": limits.comparison_runs, "count": count},
        )
    return made


def tested(arms: list[dict[str, Any]]) -> int:
    """How many arms are tested against the reference: all but those that take its settings and its gradient."""
    return sum(arm["tuned_as"] is None for arm in arms) - 1


def _named(spec: ComparisonSpec) -> Iterator[Arm]:
    """All arms: the reference first, the listed ones, then the other controls; an arm that stands twice comes once."""
    taken: dict[str, ComparedLearner] = {}
    backprop = _example(REFERENCE)
    listed = [(entry, f"/learners/{index}") for index, entry in enumerate(spec.learners)]
    plain = [entry for entry, _ in listed if _same(entry, backprop)]
    yield Arm(REFERENCE, "reference", plain[0] if plain else backprop)
    taken[REFERENCE] = backprop
    controls = list(_controls(spec))
    for entry, pointer in [*_of_template(spec), *listed]:
        if _same(entry, backprop) or any(_same(entry, known) for known in taken.values()):
            continue
        wanted = entry.name or kind_of(type(entry.learner))
        reserved = {*taken, *(control.name for control in controls if not _same(control.entry, entry))}
        name = next(name for name in (wanted, *(f"{wanted}_{n}" for n in range(2, 200))) if name not in reserved)
        taken[name] = entry
        yield Arm(name, "learner", entry, pointer)
    for control in controls:
        if control.changes or not any(_same(control.entry, known) for known in taken.values()):
            yield control


def _controls(spec: ComparisonSpec) -> Iterator[Arm]:
    heads = ComparedLearner(
        learner=_learner({"kind": "backprop", "auxiliary_heads": {}}), optimizer=_example(REFERENCE).optimizer
    )
    yield Arm("readout_only", "control", _example("readout_only"))
    yield Arm("backprop_auxiliary_heads", "control", heads)
    stored = (("training", "activation_checkpointing", "sqrt"),)
    yield Arm("backprop_checkpointing", "control", _example(REFERENCE), changes=stored, tuned_as=REFERENCE)
    signature = known_signature(spec.dataset)
    rows = spec.training.batch_size
    if rows == "full" and signature is not None:
        rows = signature.rows_train
    if rows != "full" and rows >= 4:
        parts = (("training", "micro_batch_size", rows // 4),)
        yield Arm("backprop_accumulation", "control", _example(REFERENCE), changes=parts, tuned_as=REFERENCE)


def _of_template(spec: ComparisonSpec) -> list[tuple[ComparedLearner, None]]:
    if spec.template != "ladder":
        return []
    optimizer = _example("mono_forward").optimizer
    rungs: dict[str, dict[str, Any]] = {
        "local_without_detach": {"kind": "mono_forward", "detach": False},
        "local": {"kind": "mono_forward"},
    }
    return [
        (ComparedLearner(name=name, learner=_learner(fields), optimizer=optimizer), None)
        for name, fields in rungs.items()
    ]


def _by_depth(spec: ComparisonSpec) -> Iterator[Arm]:
    """Every listed learner, backprop and its checkpointing at each depth; all layers as wide as the first."""
    plain, width = _example(REFERENCE), getattr(spec.network, "hidden", (1,))[0]
    listed = [(entry, f"/learners/{index}") for index, entry in enumerate(spec.learners) if not _same(entry, plain)]
    stored = (("training", "activation_checkpointing", "sqrt"),)
    kinds: list[tuple[str, str, ComparedLearner, str | None, tuple[tuple[str, str, Any], ...]]] = [
        (REFERENCE, "reference", plain, None, ()),
        *((entry.name or kind_of(type(entry.learner)), "learner", entry, at, ()) for entry, at in listed),
        ("backprop_checkpointing", "control", plain, None, stored),
    ]
    for name, role, entry, at, changes in kinds:
        for depth in spec.depths:
            deep = ("network", "hidden", [width] * depth)
            yield Arm(f"{name} {depth}", role, entry, at, (deep, *changes))


def _example(kind: str) -> ComparedLearner:
    rule = _rule(kind)
    fields = {"learner": rule.example["learner"], "optimizer": rule.example.get("optimizer")}
    return ComparedLearner.model_validate_json(json.dumps(fields))


def _rule(kind: str) -> type[Rule]:
    return next(rule for rule in LEARNER_SPECS if kind_of(rule) == kind)


def _learner(fields: dict[str, Any]) -> Rule:
    return ComparedLearner.model_validate_json(json.dumps({"learner": fields})).learner


def _optimizer(entry: ComparedLearner) -> Any:
    if entry.optimizer is not None:
        return entry.optimizer.model_dump(mode="json")
    return _rule(kind_of(type(entry.learner))).example.get("optimizer")


def listed_twice(spec: ComparisonSpec) -> int | None:
    """The index of a listed learner that stands there before, with the same settings or under the same name."""
    whole = [_whole(entry) for entry in spec.learners]
    names = [entry.name for entry in spec.learners]
    for index, name in enumerate(names):
        if whole[index] in whole[:index] or (name is not None and name in names[:index]):
            return index
    return None


def _same(one: ComparedLearner, other: ComparedLearner) -> bool:
    return bool(_whole(one) == _whole(other))


def _whole(entry: ComparedLearner) -> ComparedLearner:
    """The entry with its optimizer written out, without its name."""
    fields = {"learner": entry.learner.model_dump(mode="json"), "optimizer": _optimizer(entry)}
    return ComparedLearner.model_validate_json(json.dumps(fields))


def _job(spec: ComparisonSpec, arm: Arm, limits: Limits | None) -> JobSpec:
    fields: dict[str, Any] = {
        section: getattr(spec, section).model_dump(mode="json")
        for section in ("dataset", "network", "training", "diagnostics", "resources", "limits")
    }
    fields |= {"learner": arm.entry.learner.model_dump(mode="json"), "optimizer": _optimizer(arm.entry)}
    for section, name, value in arm.changes:
        fields[section][name] = value
    return JobSpec.model_validate_json(json.dumps(fields), context={"limits": limits})


def _space(spec: ComparisonSpec, arm: Arm, job: JobSpec) -> list[dict[str, Any]]:
    """Where the arm is tuned; empty where nothing is."""
    if spec.tuning is None or arm.tuned_as is not None:
        return []
    return space(type(arm.entry.learner).search_space, job.resolved())


def run_count(made: dict[str, Any], spec: ComparisonSpec) -> int:
    """How many jobs the comparison takes, without writing them out."""
    tuned = 0 if spec.tuning is None else len(spec.tuning.seeds) * spec.tuning.trials
    return len(made["arms"]) * len(spec.seeds) + tuned * sum(bool(arm["trials"]) for arm in made["arms"])


@dataclass(frozen=True)
class Run:
    """One job of a comparison."""

    stage: str
    arm: str
    trial: int
    seed: int


def runs(made: dict[str, Any], resolved: dict[str, Any], stage: str) -> Iterator[Run]:
    """The jobs of a stage, arms interleaved in a random order that the seed alone decides: drift hits all alike."""
    seeds = resolved["seeds"] if stage == "final" else (resolved["tuning"] or {"seeds": ()})["seeds"]
    for seed in seeds:
        found = []
        for arm in made["arms"]:
            count = 1 if stage == "final" else resolved["tuning"]["trials"] if arm["trials"] else 0
            found += [Run(stage, arm["name"], trial, seed) for trial in range(count)]
        random.Random(seed).shuffle(found)  # noqa: S311 - an order, no secret
        yield from found


def _power(spec: ComparisonSpec, others: int) -> dict[str, Any]:
    """How often a gap of two deviations over seeds is found, by what the seeds share."""
    level = ALPHA / max(1, others)  # Holm's first step, the strictest
    seeds = len(spec.seeds)
    return {
        "gap_in_deviations": GAP,
        "seeds": seeds,
        "tested_against_reference": others,
        "level": level,
        "if_seeds_share_nothing": round(power(gap=GAP, seeds=seeds, alpha=level), 4),
        "if_they_share_half": round(power(gap=GAP, seeds=seeds, alpha=level, correlation=0.5), 4),
        "seeds_for_80_percent": seeds_for(gap=GAP, alpha=level),
    }


def _reason(error: Any) -> str:
    return str((error.get("ctx") or {}).get("reason", error["msg"]))


def _refusal(error: Any, at: str) -> PydanticCustomError:
    context = dict(error.get("ctx") or {})
    pointer = str(context.get("pointer", "/".join(["", *map(str, error["loc"])])))
    own = pointer.startswith(("/learner", "/optimizer"))
    known = {"pointer": f"{at}{pointer}" if own else pointer, "reason": f"{at}: {_reason(error)}"}
    known |= {name: context[name] for name in ("allowed", "nearest") if name in context}
    return PydanticCustomError(error["type"], "{reason}", known)
