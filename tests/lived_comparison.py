"""Comparisons as workers would leave them: real rows, the real conductor; nothing is imitated but the training."""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from api.rows import dataset_name
from specs.comparison_plan import plan
from specs.comparisons import ComparisonSpec
from specs.reports import SeriesBlock
from store import attempts, comparisons, jobs, series
from store.database import Database
from store.queue import Bell
from store.settings import Settings
from worker.comparison.conductor import Conductor
from worker.places import Places
from worker.spawn_launcher import SpawnLauncher
from worker.workshop import Workshop

SPEC: dict[str, Any] = {
    "name": "lived",
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [16]},
    "learners": ["mono_forward", "forward_forward"],
    "seeds": 4,
    "tuning": {"trials": 2},
    "resources": {"device": "cpu"},
}
LEVEL = {"backprop": 0.96, "mono_forward": 0.955, "forward_forward": 0.9, "readout_only": 0.8}
COST = {"backprop": 1.0, "mono_forward": 1.1, "forward_forward": 2.5, "readout_only": 0.6}
STEPS = (10, 20, 30, 40)

Scored = Callable[[str, Any], float | str | None]
"""(arm, seed) -> test accuracy, on diabetes the mean squared error.

None: the run diverged; a text: it failed with an error of this kind."""


def seed_of(job: dict[str, Any]) -> int:
    seed: int = job["training"]["seed"]
    return seed


def rate_of(job: dict[str, Any]) -> float:
    rate: float = job["optimizer"]["lr"]
    return rate


def scored(arm: str, seed: int) -> float | None:
    """Accuracies with a spread that seeds share in part."""
    return (
        LEVEL.get(arm, 0.95) + 0.004 * random.Random(seed).gauss(0, 1) + 0.002 * random.Random(arm + str(seed)).random()
    )


@contextmanager
def conducted(database: Database, settings: Settings) -> Iterator[Conductor]:
    """A conductor that is asked to look, instead of looking by its own clock."""
    shop = Workshop(
        worker_id="wrk_1",
        settings=settings,
        database=database,
        launcher=SpawnLauncher(),
        places=Places(cpu_slots=1, gpu_uuids=[]),
        bell=Bell(settings),
    )
    yield Conductor(shop)
    shop.bell.close()


def made(database: Database, **changes: Any) -> str:
    """A comparison whose first jobs are queued."""
    with database.writing.begin() as session:
        return comparisons.create(session, **created(**changes)).id


def created(**changes: Any) -> dict[str, Any]:
    """What a comparison is made of."""
    spec = ComparisonSpec.model_validate_json(json.dumps({**SPEC, **changes}))
    planned = {"resolved_spec": spec.resolved(), "plan": plan(spec)}
    return {"spec": SPEC, **planned, "resource_class": "cpu", "dataset": dataset_name(spec.resolved())}


def end_jobs(database: Database, score: Scored = scored, *, of: Callable[[dict[str, Any]], Any] = seed_of) -> int:
    """Every queued job ends, with a score by its seed, or by what else ``of`` reads; how many there were."""
    ended = 0
    while end_one(database, score, of=of):
        ended += 1
    return ended


def answered(database: Database, settings: Settings, score: Scored = scored, **changes: Any) -> str:
    """A comparison that has its answer, or has failed."""
    comparison_id = made(database, **changes)
    with conducted(database, settings) as conductor:
        for _ in range(20):
            end_jobs(database, score)
            conductor.look()
            with database.reading() as session:
                if comparisons.get(session, comparison_id).phase == "terminal":
                    return comparison_id
    raise AssertionError("it did not end")


def end_one(database: Database, score: Scored, *, of: Callable[[dict[str, Any]], Any] = seed_of) -> bool:
    """The first queued job ends; whether there was one."""
    with database.writing.begin() as session:
        claim = attempts.claim(session, worker_id="wrk_1", host="here", worker_pid=1, resource_class="cpu", lease_s=600)
        if claim is None:
            return False
        key = claim.job_id, claim.attempt
        job = jobs.get(session, claim.job_id)
        assert job.name is not None
        arm = job.name.split(",")[0]
        accuracy = score(arm, of(job.resolved_spec))
        attempts.mark_started(session, *key, step=0, device="cpu", trainer_pid=1, receipt={"versions": {"torch": "2"}})
        if accuracy is None or isinstance(accuracy, str):
            error = {"kind": accuracy or "diverged", "fault": "user", "message": "The loss is NaN.", "step": 3}
            assert attempts.fail(session, *key, error=error)
            return True
        blocks, payload = _curve(accuracy)
        series.append(session, *key, blocks, payload, ids=series.BlockIds())
        assert attempts.mark_finalizing(session, *key)
        splits = ("train", "validation", *(["test"] if job.resolved_spec["training"]["evaluate_test"] else []))
        metrics = _errors(accuracy, splits) if job.dataset == "diabetes" else _metrics(accuracy, splits)
        result = {"metrics": metrics, "step": STEPS[-1], "cost": _cost(arm)}
        assert attempts.succeed(session, *key, result=result, receipt={"dataset_sha256": "ab"}, diagnostics={})
        return True


def _metrics(accuracy: float, splits: Iterable[str]) -> dict[str, dict[str, float]]:
    return {split: {"loss": 1 - accuracy, "accuracy": accuracy} for split in splits}


def _errors(error: float, splits: Iterable[str]) -> dict[str, dict[str, float]]:
    return {split: {"loss": error, "mse": error} for split in splits}


def _cost(arm: str) -> dict[str, Any]:
    factor = COST.get(arm, 1.2)
    return {
        "wall_s": 2 * factor,
        "training_s": factor,
        "cpu_s": factor,
        "flops": 1e9 * factor,
        "forwards": 40.0,
        "backwards": 40.0,
        "peak_bytes": int(1e7 * factor),
        "memory": {"activation_bytes": int(1e5 * factor)},
        "energy": {"joules": None, "source": "none", "reason": "no counter"},
        "parameters": 1000,
        "parameters_frozen": 0,
        "parameters_deployed": 900,
        "parameters_training_only": 100,
        "inference": {
            "rows": 256,
            "seconds_per_row": 1e-6 * factor,
            "flops_per_row": 2000.0 * factor,
            "joules_per_row": None,
            "joules_reason": "no counter",
        },
    }


def _curve(accuracy: float) -> tuple[list[SeriesBlock], bytes]:
    steps = np.asarray(STEPS, "<i4")
    rows = {"validation": {"accuracy": accuracy * (1 - np.exp(-steps / 10))}, "train": {"wall_s": steps / 40}}
    blocks, payload = [], b""
    for split, quantities in rows.items():
        blocks.append(
            SeriesBlock(
                layer=None,
                layer_index=-1,
                split=split,  # type: ignore[arg-type]
                quantities=tuple(quantities),
                units=("",) * len(quantities),
                count=len(steps),
            )
        )
        payload += steps.tobytes() + b"".join(np.asarray(values, "<f4").tobytes() for values in quantities.values())
    return blocks, payload
