"""Comparisons while workers die: nothing is run twice, and the answer is the undisturbed one."""

import json
import time
from typing import Any

import pytest

from specs.comparison_plan import plan
from specs.comparisons import ComparisonSpec
from store import comparisons
from tests.job_life.floor import Floor, wait_until

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [16]},
    "learners": ["mono_forward"],
    "seeds": 2,
    "training": {"epochs": 12},
    "tuning": {"trials": 2},
    "resources": {"device": "cpu"},
    "diagnostics": {"every_steps": None, "alignment_every_steps": None},
}
Scores = dict[tuple[Any, ...], Any]


def post(floor: Floor) -> str:
    spec = ComparisonSpec.model_validate_json(json.dumps(SPEC))
    with floor.database.writing.begin() as session:
        made = comparisons.create(
            session, spec=SPEC, resolved_spec=spec.resolved(), plan=plan(spec), resource_class="cpu", dataset="digits"
        ).id
    floor.bell.ring("cpu")
    return made


def status(floor: Floor, comparison_id: str) -> str:
    with floor.database.reading() as session:
        return comparisons.get(session, comparison_id).status


def ended(floor: Floor, comparison_id: str) -> Scores:
    """Metrics of every run, once the comparison has its answer."""
    wait_until(lambda: status(floor, comparison_id) in ("succeeded", "failed"), 150)
    assert status(floor, comparison_id) == "succeeded", floor.logs()
    with floor.database.reading() as session:
        rows = comparisons.rows(session, comparison_id)
    return {(r.stage, r.arm, r.trial, r.seed): (r.result or {}).get("metrics") for r in rows}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("floor", ["sqlite-fork", "postgresql-fork"], indirect=True)
def test_killed_workers_change_no_accuracy_and_two_workers_take_no_step_twice(floor: Floor) -> None:
    floor.have_workers(1)
    undisturbed = ended(floor, post(floor))
    floor.have_workers(2)
    comparison_id = post(floor)
    for stage in ("tuning", "running"):
        wait_until(lambda stage=stage: status(floor, comparison_id) == stage, 120)
        time.sleep(0.5)
        floor.workers[0].process.kill()
        floor.workers[0].process.wait()
        floor.have_workers(2)
    assert ended(floor, comparison_id) == undisturbed
    assert None not in undisturbed.values()


@pytest.mark.timeout(200)
def test_cancelled_comparison_leaves_nothing_running(floor: Floor) -> None:
    floor.have_workers(1)
    comparison_id = post(floor)

    def running() -> bool:
        with floor.database.reading() as session:
            return any(run.status == "running" for run in comparisons.rows(session, comparison_id))

    wait_until(running, 60)
    floor.ask(comparisons.cancel, comparison_id)
    wait_until(lambda: status(floor, comparison_id) == "cancelled", 60)
    with floor.database.reading() as session:
        rows = comparisons.rows(session, comparison_id)
    assert all(run.ended for run in rows if run.job_id is not None)
    assert {run.stage for run in rows} == {"tuning"}
