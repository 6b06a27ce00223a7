"""The answer of a comparison: statistics, bills, curves and sentences by arm, as one JSON object."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy.orm import Session

from specs.comparison_plan import ALPHA
from store import neighbours
from store.comparison_tables import Comparison
from store.comparisons import Row
from worker.comparison import bills, costs, curves, depths, scores, sentences, statistics
from worker.comparison.statistics import Verdict

PROTOCOL: Final = (
    "Every learner gets the same budget, the same seeds and as many tuning trials as every other one.",
    "Tuning reads the validation rows, on seeds that are not reported, and never the test rows; each "
    "final job reads these once, at its end. The first trial is as posted; Optuna's TPE sampler asks for each next one "
    "by how the learner's trials before it rank, from the same seed for every learner.",
    "Differences to the reference are paired by seed: Student's t, two-sided, with Holm's correction over all arms "
    "that are tested, at 5 % together.",
    "Equivalence and 'not worse' are one-sided tests against the margin, each with Holm's correction.",
    "Differences that are equal on every seed have no t test: the sign test stands in.",
    "Intervals of differences are 95 % intervals of one arm, uncorrected; decisions are corrected.",
    "Seconds and joules are compared by seed too, with intervals over all tested arms together at 95 %. A ratio whose "
    "interval covers 1, runs under a second, and runs beside others on the same machine are no win and no loss.",
    "Where the reference is not above the frozen random trunk it did not learn, and nothing is decided.",
    "A run that diverged counts with the worst score: accuracy 0, or the largest error of all runs and at least twice "
    "the reference's. An arm with such a run is never called better, equivalent or not worse. Only runs that were "
    "stopped or lost are missing.",
    "Deployed parameters are those that a prediction reads, trained or frozen; deployed + only in training = trained + "
    "frozen = all that the job holds.",
    "FLOPs count matrix and convolution work; element-wise work counts nothing.",
)
FLOOR: Final = "readout_only"
FLOPS_UNDERCOUNT: Final = ("ltc", "cfc", "spiking")


def of(session: Session, row: Comparison, runs: Sequence[Row]) -> dict[str, Any]:
    """The stored result. Reads the series of the final jobs."""
    final = [run for run in runs if run.stage == "final"]
    tuning = [run for run in runs if run.stage == "tuning"]
    plan, reference = row.plan, row.plan["arms"][0]["name"]
    if plan["template"] == "memory_by_depth":
        return depths.of(plan, final, data=row.dataset)
    metric = scores.metric_of(final)
    by_arm = scores.by_arm(final, reference=reference, metric=metric)
    margin = row.resolved_spec["margin"]
    arms = [
        _arm(arm, [r for r in final if r.arm == arm["name"]], [r for r in tuning if r.arm == arm["name"]])
        for arm in plan["arms"]
    ]
    for arm in arms:
        own = by_arm.get(arm["name"], {})
        arm |= {"scores": {str(seed): score for seed, score in own.items()}, **_spread(list(own.values()))}
        arm["curve"] = curves.of_arm(session, [r for r in final if r.arm == arm["name"]], metric=metric)
    learned = _learned(by_arm, reference)
    _compare(arms, by_arm, reference, margin)
    if learned is False:
        _undecide(arms)
    shared = neighbours.beside_others(session, [run.job_id for run in final if run.job_id])
    _cost(arms, {arm["name"]: [r for r in final if r.arm == arm["name"]] for arm in arms}, shared)
    _target(arms, metric, margin)
    unit = "points" if metric == "accuracy" else "per cent of its error"
    _say(arms, data=row.dataset, unit=unit, learned=learned)
    return {
        "metric": metric,
        "unit": unit,
        "split": "test",
        "reference": reference,
        "margin": margin,
        "level": ALPHA,
        "tuned": _tuned(row),
        "reference_learned": learned,
        "sentence": sentences.whole(
            arms,
            data=row.dataset,
            tuned=_tuned(row),
            power=plan["power"],
            learned=learned,
            left_out=[left["name"] for left in plan["left_out"]],
        ),
        "protocol": list(PROTOCOL),
        "warnings": _warnings(session, row, final),
        "arms": arms,
    }


def _arm(arm: dict[str, Any], final: Sequence[Row], tuning: Sequence[Row]) -> dict[str, Any]:
    known = [run for run in final if run.status == "succeeded" or scores.diverged(run)]
    return {
        "name": arm["name"],
        "role": arm["role"],
        "tuned_as": arm["tuned_as"],
        "runs": len(final),
        "diverged": sum(scores.diverged(run) for run in final),
        "missing": [{"seed": run.seed, "status": run.status, "error": run.error} for run in final if run not in known],
        "error": None if known else next((run.error for run in final if run.error), None),
        "bill": bills.of_arm(final, tuning),
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    found = statistics.mean_interval(values, alpha=ALPHA)
    if found is None:
        return {"mean": math.fsum(values) / len(values) if values else None, "deviation": None, "interval": None}
    mean, deviation, interval = found
    return {"mean": mean, "deviation": deviation, "interval": list(interval)}


def _compare(arms: list[dict[str, Any]], by_arm: dict[str, dict[int, float]], reference: str, margin: float) -> None:
    """Adds difference, decision and cost ratios to every arm. Arms that take the reference's gradient stay untested."""
    base = by_arm.get(reference, {})
    differences = {
        arm["name"]: found
        for arm in arms
        if arm["name"] != reference
        and (found := statistics.difference(by_arm.get(arm["name"], {}), base, margin=margin, alpha=ALPHA))
    }
    tested = {arm["name"] for arm in arms if arm["tuned_as"] is None}
    said = statistics.verdicts({name: of for name, of in differences.items() if name in tested}, alpha=ALPHA)
    floor = next((arm["mean"] for arm in arms if arm["name"] == FLOOR), None)
    for arm in arms:
        found, verdict = differences.get(arm["name"]), said.get(arm["name"])
        arm["difference"] = None if found is None else {**asdict(found), "interval": list(found.interval)}
        arm["adjusted"] = None if verdict is None else {k: v for k, v in asdict(verdict).items() if k != "decision"}
        arm["decision"] = _decision(arm, verdict)
        known = floor is not None and arm["mean"] is not None and arm["name"] != FLOOR
        arm["above_floor"] = arm["mean"] > floor if known else None


def _learned(by_arm: dict[str, dict[int, float]], reference: str) -> bool | None:
    """Whether the reference is above the frozen trunk, by the paired interval; None where the trunk has no result."""
    found = statistics.difference(by_arm.get(reference, {}), by_arm.get(FLOOR, {}), margin=1.0, alpha=ALPHA)
    return None if found is None else found.interval[0] > 0


def _undecide(arms: list[dict[str, Any]]) -> None:
    """Takes back every decision: beside a reference that learned nothing, better and worse mean nothing."""
    for arm in arms:
        if arm["decision"] not in (None, "not_tested"):
            arm["decision"] = "undecided"


def _decision(arm: dict[str, Any], verdict: Verdict | None) -> str | None:
    if arm["role"] == "reference":
        return None
    if verdict is None:
        return "not_tested" if arm["tuned_as"] is not None else "undecided"
    if arm["diverged"] and verdict.decision != "worse":
        return "undecided"
    return verdict.decision


def _cost(arms: list[dict[str, Any]], runs: dict[str, list[Row]], shared: set[str]) -> None:
    """Adds what each arm costs beside the reference, and beside the controls that save memory."""
    level = ALPHA / max(1, sum(arm["tuned_as"] is None for arm in arms) - 1)
    base = runs[arms[0]["name"]]
    for arm in arms:
        own = runs[arm["name"]]
        timed = {name: costs.timed(own, base, name, shared=shared, level=level) for name in costs.TIMED}
        memory = bills.ratio(arm["bill"], arms[0]["bill"], "training", "activation_bytes")
        peak = bills.ratio(arm["bill"], arms[0]["bill"], "training", "peak_bytes")
        arm["ratios"] = {
            **{name: found["ratio"] for name, found in timed.items()},
            "flops": bills.ratio(arm["bill"], arms[0]["bill"], "training", "flops"),
            "memory": peak if memory is None else memory,
        }
        arm["memory_of"] = "peak memory" if memory is None else "stored activations"
        arm["timed"] = timed
        arm["same_arithmetic"] = arm is not arms[0] and costs.same_arithmetic(own, base)
        arm["against"] = {
            rival["name"]: costs.timed(own, runs[rival["name"]], "seconds", shared=shared, level=level)
            for rival in arms
            if rival["tuned_as"] is not None
        }


def _target(arms: list[dict[str, Any]], metric: str, margin: float) -> None:
    """What each arm took to come within the margin of the reference's last validation score."""
    curve = arms[0]["curve"]
    if not curve:
        return
    accurate = metric == "accuracy"
    last = curve[-1]["score"]
    target = last - margin / 100 if accurate else last * (1 + margin / 100)
    for arm in arms:
        arm["to_target"] = {
            "validation_score": target,
            "reached": curves.to_target(arm["curve"], target, higher_is_better=accurate),
        }


def _say(arms: list[dict[str, Any]], *, data: str, unit: str, learned: bool | None) -> None:
    controls = {arm["name"]: arm for arm in arms if arm["tuned_as"] is not None}
    for arm in arms:
        if arm["decision"] in (None, "not_tested"):
            arm |= {"worth": None, "sentence": None}
            continue
        said = sentences.of_arm(arm, data=data, unit=unit, controls=controls, learned=learned)
        arm |= {"worth": said.worth, "sentence": said.sentence}


def _tuned(row: Comparison) -> bool:
    """Whether anything but the posted settings was tried: the first trial is as posted."""
    tuning = row.resolved_spec["tuning"]
    return tuning is not None and tuning["trials"] > 1


def _warnings(session: Session, row: Comparison, final: Sequence[Row]) -> list[str]:
    found = []
    if not _tuned(row):
        found.append("Untuned: settings are as posted, and a learner that needs other ones loses for that.")
    if row.network in FLOPS_UNDERCOUNT:
        found.append(f"FLOPs undercount {row.network}: element-wise work dominates it, and it counts nothing.")
    machines = set(neighbours.hosts(session, [run.job_id for run in final if run.job_id]).values())
    if len(machines) > 1:
        found.append(f"Runs were spread over {len(machines)} machines: their seconds are not comparable.")
    if not row.plan["one_at_a_time"]:
        found.append(
            "Seconds are those of a machine that may have run other jobs beside; accuracies do not depend on it."
        )
    for left in row.plan["left_out"]:
        found.append(f"Left out: {left['name']}. {left['reason']}")
    return found
