"""What measuring costs inside the real loop: ``python -m benchmarks.diagnostics_overhead [PAIRS] [WITHIN_S]``.

Three figures for each network, one thread, in this process:

``timed in the loop``  the share that the worker serves as ``overhead_share``: its own clock around every measurement.
``paired``             whole runs with the defaults over runs with nothing measured, in random order, in seconds of CPU,
                       which other programs of the machine disturb less than a wall clock: what that clock does not see.
                       The same runs with nothing measured are paired with each other. Unless the interval of that
                       plain/plain ratio is within 0.5 % of 1 the paired figure is called undecided.
``full set``           single rows' gradient norms, histograms, norms and updates of every layer, all every 16 steps,
                       without a budget, as in Cockpit's economy schedule.
"""

import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.measuring import keep
from specs.job import JobSpec
from worker.attempt import Attempt, WorkOrder
from worker.link import Silence
from worker.prepare import prepare

MOST_PAIRS: Final = 200
FEWEST_PAIRS: Final = 3
DECIDED: Final = 0.005
OFF: Final = {"every_steps": None, "alignment_every_steps": None}
FULL: Final = {
    "every_steps": 16,
    "alignment_every_steps": 16,
    "budget_percent": None,
    "row_gradients": True,
    "gradient_histogram": True,
    "leave_out": ["alignment", "activations"],
}
ARMS: Final[dict[str, dict[str, Any]]] = {"plain": OFF, "plain again": OFF, "defaults": {}, "full set": FULL}
CASES: Final[dict[str, dict[str, Any]]] = {
    "mlp of 2.8 M parameters": {"network": {"kind": "mlp", "hidden": [1250, 1250, 900]}, "steps": 250, "rows": 128},
    "small cnn": {"network": {"kind": "cnn"}, "steps": 250, "rows": 64},
    "tiny mlp": {"network": {"kind": "mlp", "hidden": [128]}, "steps": 4000, "rows": 32},
}
GOALS: Final = {"mlp of 2.8 M parameters": 0.01, "small cnn": 0.01, "tiny mlp": 0.02}


def order(case: dict[str, Any], diagnostics: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The work order of one run on the digits."""
    spec = JobSpec.model_validate(
        {
            "dataset": {"kind": "builtin", "name": "digits", "split": {"validation": 0}},
            "network": case["network"],
            "learner": {"kind": "backprop"},
            "optimizer": {"kind": "adam", "lr": 0.001},
            "training": {"budget": {"kind": "steps", "value": case["steps"]}, "batch_size": case["rows"]},
            "diagnostics": diagnostics,
        }
    )
    dataset = {"dataset": spec.resolved()["dataset"], "precision": "float32", "data_dir": None}
    return {"spec": spec.resolved(), "dataset": prepare({**dataset, "prepared_dir": str(folder / "prepared")})}


def run(wanted: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One run to its end: CPU seconds of the loop, and the share that it timed itself."""
    attempt = Attempt(WorkOrder.parse(wanted), Silence(), folder=folder)
    started = time.process_time()
    attempt.loop.run()
    seconds = time.process_time() - started
    course = attempt.loop.course
    return {
        "cpu_s": seconds,
        "share": course.panel.summary(course.bill.training.seconds)["overhead_share"],
        "parameters": sum(parameter.numel() for parameter in course.training.network.parameters()),
    }


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Mean of log ratios and its 95 % interval, as ratios."""
    logs = [math.log(ratio) for ratio in ratios]
    center = statistics.fmean(logs)
    half = 1.96 * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return math.exp(center), math.exp(center - half), math.exp(min(center + half, 700))


def measured(case: dict[str, Any], folder: Path, *, pairs: int, within_s: float) -> dict[str, Any]:
    """Rounds of all arms in random order until plain/plain is decided, at most ``pairs`` or as the time allows."""
    orders = {arm: order(case, diagnostics, folder) for arm, diagnostics in ARMS.items()}
    chance = random.Random(1)
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    until = time.monotonic() + within_s
    first = run(orders["defaults"], folder)  # cold: what the first job of a process is charged
    while len(found["plain"]) < pairs:
        for arm in chance.sample(list(ARMS), len(ARMS)):
            found[arm].append(run(orders[arm], folder))
        if len(found["plain"]) >= FEWEST_PAIRS and (decided(found) or time.monotonic() > until):
            break
    answer: dict[str, Any] = {
        "parameters": first["parameters"],
        "steps": case["steps"],
        "ms_per_step": 1e3 * statistics.median(each["cpu_s"] for each in found["plain"]) / case["steps"],
        "pairs": len(found["plain"]),
        "decided": decided(found),
        "share_of_first_job": first["share"],
        "share_timed_in_loop": statistics.median(each["share"] for each in found["defaults"]),
        "share_timed_in_loop_most": max(each["share"] for each in found["defaults"]),
        "full_set_share_timed_in_loop": statistics.median(each["share"] for each in found["full set"]),
    }
    for arm in ("plain again", "defaults", "full set"):
        answer[f"{arm} over plain"] = interval(ratios(found, arm))
    return answer


def ratios(found: dict[str, list[dict[str, Any]]], arm: str) -> list[float]:
    return [one["cpu_s"] / plain["cpu_s"] for one, plain in zip(found[arm], found["plain"], strict=True)]


def decided(found: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether nothing against nothing is known to within 0.5 %."""
    _, low, high = interval(ratios(found, "plain again"))
    return low >= 1 - DECIDED and high <= 1 + DECIDED


def say(title: str, figures: dict[str, Any]) -> None:
    print(f"{title}: {figures['parameters']:,} parameters, {figures['ms_per_step']:.2f} ms a step", flush=True)
    print(
        f"  timed in the loop {100 * figures['share_timed_in_loop']:.2f} % (goal {100 * GOALS[title]:.0f} %), most of "
        f"any run {100 * figures['share_timed_in_loop_most']:.2f} %, first job of the process "
        f"{100 * figures['share_of_first_job']:.2f} %; full set {100 * figures['full_set_share_timed_in_loop']:.1f} %"
    )
    for arm in ("plain again", "defaults", "full set"):
        center, low, high = figures[f"{arm} over plain"]
        print(f"  {arm:12s} over plain {center:.4f} [{low:.4f}, {high:.4f}] in CPU seconds, {figures['pairs']} pairs")
    if not figures["decided"]:
        print("  undecided: plain over plain is not known to 0.5 %")


def main(pairs: int, within_s: float) -> None:
    torch.set_num_threads(1)
    answers = {}
    with tempfile.TemporaryDirectory() as name:
        for title, case in CASES.items():
            answers[title] = measured(case, Path(name), pairs=pairs, within_s=within_s / len(CASES))
            say(title, answers[title])
    print(keep("diagnostics_overhead", answers))


if __name__ == "__main__":
    pairs_given, seconds_given = [*sys.argv[1:], *(str(MOST_PAIRS), "3600")[len(sys.argv) - 1 :]]
    main(int(pairs_given), float(seconds_given))
