"""Trials of a comparison: where an arm's settings are searched, and its job with the settings of a trial.

A plan knows the first trial of each arm, which is as posted. The others are added as they are asked for.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from specs.job import JobSpec
from specs.search import Range

Asked = dict[str, tuple[int, dict[str, float]]]
"""By arm: how many trials it had, and the settings of the next one by pointer."""


def space(ranges: Sequence[Range], job: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the settings of a job are searched. A bound that no job may have gives way to what was posted."""
    found = []
    for axis in ranges:
        around = axis.around(_read(job, axis.pointer))
        for bound in ("low", "high"):
            if not _may_run(with_settings(job, {axis.pointer: around[bound]})):
                around[bound] = around["posted"]
        found.append(around)
    return found


def _may_run(job: dict[str, Any]) -> bool:
    try:
        JobSpec.model_validate_json(json.dumps(job))
    except ValidationError:
        return False
    return True


def _read(job: dict[str, Any], pointer: str) -> float:
    node: Any = job
    for part in pointer.strip("/").split("/"):
        node = node[part]
    return float(node)


def with_settings(job: dict[str, Any], settings: Mapping[str, float]) -> dict[str, Any]:
    """The job with these settings in place of its own."""
    changed = deepcopy(job)
    for pointer, value in settings.items():
        *parents, name = pointer.strip("/").split("/")
        node = changed
        for part in parents:
            node = node[part]
        node[name] = type(node[name])(value) if isinstance(node[name], int) else value
    return changed


def is_known(plan: Mapping[str, Any], *, stage: str, arm: str, trial: int) -> bool:
    """Whether it is known which settings a run takes: a trial's follow from the trials before it."""
    return stage == "final" or any(trial < len(of["trials"]) for of in plan["arms"] if of["name"] == arm)


def with_trials(plan: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """The plan with these trials; of an arm that has more than when they were asked for, what it has."""
    arms = []
    for arm in plan["arms"]:
        tried, settings = asked.get(arm["name"], (-1, {}))
        known = arm["trials"]
        arms.append({**arm, "trials": [*known, settings]} if tried == len(known) else arm)
    return {**plan, "arms": arms}
