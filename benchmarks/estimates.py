"""Estimates beside what jobs then took: ``python -m benchmarks.estimates [--learners KIND ...] [--networks KIND ...]``.

Every learner on every kind of network that it trains, at sizes at which tensors outweigh the noise of a process. Each
count, rehearsal and job is a fork of one warmed process, as in the service. An error is predicted / actual - 1. Two
estimates are compared: the one that is served, and the one without rehearsals (``counted``: steps on few rows only),
which large jobs get.
"""

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmarks.measuring import keep
from specs.compatibility import kind_of
from specs.data_sources import known_signature
from specs.estimate import Estimate
from specs.job import JobSpec
from specs.learners import LEARNER_SPECS
from specs.networks import NETWORK_SPECS
from specs.rule import Rule
from worker import forecast, rehearsal, trainer
from worker.attempt import Attempt, WorkOrder
from worker.memory_forecast import extended
from worker.prepare import prepare

DIGITS = {"kind": "builtin", "name": "digits"}
FRAMES = {"kind": "synthetic", "name": "sequence_image", "rows": 2000}
EVENTS = {"kind": "synthetic", "name": "event_xor", "rows": 4000}
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mlp": (DIGITS, {"hidden": [1024, 1024, 1024]}),
    "cnn": (DIGITS, {"channels": [32, 64], "hidden": [64]}),
    "resnet": (DIGITS, {"channels": [32, 64], "blocks_per_stage": 1}),
    "transformer": (FRAMES, {"width": 64, "feedforward": 256}),
    "rnn": (FRAMES, {"hidden": [256, 256]}),
    "spiking": (DIGITS, {"hidden": [512, 512], "num_steps": 8}),
    "ltc": (EVENTS, {"hidden": [64], "ode_unfolds": 2}),
    "cfc": (EVENTS, {"hidden": [256]}),
    "blocks": (
        DIGITS,
        {"layers": [{"kind": "linear", "units": 1024}, {"kind": "activation", "function": "tanh"}] * 3},
    ),
}
BATCH = 512
JOB_S = 1.5
FEWEST_STEPS, MOST_STEPS = 4, 200
QUANTITIES = ("activation_bytes", "peak_bytes", "flops", "training_s", "processor_s_per_step")


def job(rule: type[Rule], network: str, *, steps: int) -> JobSpec | None:
    """A job of this pair, on the network's nearest settings that the rule trains; None where it trains none."""
    dataset, fields = NETWORKS[network]
    spec = next(spec for spec in NETWORK_SPECS if kind_of(spec) == network)
    optimizer = "adam" if rule.optimizers is None else min(rule.optimizers)
    for change in ({}, *spec.alternatives):
        try:
            return JobSpec.model_validate(
                {
                    "dataset": dataset,
                    "network": {"kind": network, **fields, **change},
                    "learner": rule.example["learner"] if rule.holds_rules else {"kind": kind_of(rule)},
                    "optimizer": {"kind": optimizer, "lr": 1e-3},
                    "training": {"budget": {"kind": "steps", "value": steps}, "batch_size": BATCH},
                }
            )
        except ValidationError:
            continue
    return None


def forked(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a fork of this process comes to, in a folder of its own."""
    receiving, sending = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        pid = os.fork()
        if pid == 0:
            os.chdir(folder)
            try:
                found = act()
            except Exception as error:  # the fork's outer door
                traceback.print_exc()
                found = {"error": f"{type(error).__name__}: {error}"[:200]}
            os.write(sending, json.dumps(found).encode())
            os._exit(0)
        os.close(sending)
        with os.fdopen(receiving, "rb") as answer:
            text = answer.read()
        os.waitpid(pid, 0)
    return dict(json.loads(text)) if text else {"error": "the process died"}


def order_of(spec: JobSpec, prepared: Mapping[str, Any]) -> dict[str, Any]:
    return {"spec": spec.resolved(), "dataset": dict(prepared), "device": "cpu"}


def trained(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the whole job costs."""
    pace = rehearsal.Pace()
    cost = Attempt(WorkOrder.parse(fields), pace, folder=Path.cwd()).run().cost
    return {
        "activation_bytes": cost["memory"]["activation_bytes"],
        **{name: cost[name] for name in ("peak_bytes", "flops", "training_s")},
        "processor_s_per_step": pace.processor_s_per_step(),
    }


def predicted(found: Estimate, heard: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    memory, last = found.memory, heard[-1]
    processor = None if last is None or len(heard) > 1 else last["processor_s_per_step"]
    numbers = (memory.activations, memory.peak_bytes, found.flops, found.training_s, processor)
    return dict(zip(QUANTITIES, numbers, strict=True))


def compared(rule: type[Rule], network: str, prepared: Mapping[str, Any]) -> dict[str, Any] | None:
    """One row: served and counted estimates beside the job."""
    spec = job(rule, network, steps=FEWEST_STEPS)
    if spec is None:
        return None
    signature = known_signature(spec.dataset)
    assert signature is not None
    fields = order_of(spec, prepared)
    counted = forked(lambda: rehearsal.count(fields))
    if "error" in counted:
        return counted
    step_s = max(extended(points, "seconds", BATCH) for points in counted["phases"])
    steps = max(FEWEST_STEPS, min(MOST_STEPS, round(JOB_S / max(step_s, 1e-4))))
    spec = job(rule, network, steps=steps)
    assert spec is not None
    heard = [
        None if few is None else forked(lambda n=number, k=few: rehearsal.rehearse({**fields, "phase": n, "steps": k}))
        for number, points in enumerate(counted["phases"])
        for few in [forecast.rehearsal_steps(points, spec, signature, counted["free_bytes"])]
    ]
    if any(one is not None and "error" in one for one in heard):
        return next(one for one in heard if one is not None and "error" in one)
    fields = order_of(spec, prepared)
    actual = forked(lambda: trained(fields))
    if "error" in actual:
        return actual
    served = predicted(forecast.estimate(spec, signature, counted, heard, device="cpu"), heard)
    plain = predicted(forecast.estimate(spec, signature, counted, [None] * len(heard), device="cpu"), [None])
    return {"steps": steps, "rehearsed": all(heard), "actual": actual, "served": served, "counted": plain}


def errors(rows: Sequence[Mapping[str, Any]], basis: str, quantity: str) -> list[float]:
    """|predicted / actual - 1| of all rows that have both, in order."""
    pairs = [(row[basis][quantity], row["actual"][quantity]) for row in rows]
    return sorted(abs(said / was - 1) for said, was in pairs if said is not None and was)


def quantile(values: Sequence[float], share: float) -> float | None:
    return round(values[min(len(values) - 1, int(share * len(values)))], 4) if values else None


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        basis: {
            quantity: {
                "median": quantile(found, 0.5),
                "p90": quantile(found, 0.9),
                "worst": quantile(found, 1.0),
                "pairs": len(found),
            }
            for quantity in QUANTITIES
            for found in [errors(rows, basis, quantity)]
        }
        for basis in ("served", "counted")
    }


def pairs(learners: Sequence[str], networks: Sequence[str]) -> list[tuple[type[Rule], str]]:
    """In an order drawn once, so that a run that is cut short is a fair sample."""
    wanted = [
        (rule, network)
        for rule in LEARNER_SPECS
        for network in NETWORKS
        if (not learners or kind_of(rule) in learners) and (not networks or network in networks)
    ]
    random.Random(0).shuffle(wanted)
    return wanted


def run(learners: Sequence[str], networks: Sequence[str], folder: Path, *, within_s: float) -> dict[str, Any]:
    ends_at = time.monotonic() + within_s
    prepared = {
        name: prepare(
            {
                "dataset": job(LEARNER_SPECS[0], name, steps=1).resolved()["dataset"],  # type: ignore[union-attr]
                "precision": "float32",
                "prepared_dir": str(folder),
            }
        )
        for name in NETWORKS
    }
    trainer.warm_up()
    gc.collect()
    gc.freeze()
    rows: dict[str, Any] = {}
    not_run = []
    for rule, network in pairs(learners, networks):
        if time.monotonic() > ends_at:
            not_run.append(f"{kind_of(rule)} on {network}")
            continue
        row = compared(rule, network, prepared[network])
        if row is None:
            continue
        rows[f"{kind_of(rule)} on {network}"] = row
        print(line(f"{kind_of(rule)} on {network}", row), flush=True)
    measured = [row for row in rows.values() if "error" not in row]
    return {
        "batch": BATCH,
        "not_run": not_run,
        "load": os.getloadavg()[0],
        "failed": {name: row["error"] for name, row in rows.items() if "error" in row},
        "errors": summary(measured),
        "rows": {name: row for name, row in rows.items() if "error" not in row},
    }


def line(name: str, row: Mapping[str, Any]) -> str:
    if "error" in row:
        return f"{name:40s} {row['error']}"
    said, was, few = row["served"], row["actual"], row["counted"]

    def off(numbers: Mapping[str, Any], quantity: str) -> str:
        return f"{numbers[quantity] / was[quantity] - 1:+7.1%}" if was[quantity] and numbers[quantity] else "      -"

    told = " ".join(f"{off(said, quantity)} ({off(few, quantity).strip()})" for quantity in QUANTITIES)
    return f"{name:40s} {was['peak_bytes'] / 1e6:6.0f} MB {was['training_s']:5.1f} s {row['steps']:4d}  {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", nargs="*", default=[])
    parser.add_argument("--networks", nargs="*", default=[])
    parser.add_argument("--within-s", type=float, default=7200, help="begin no pair after so many seconds")
    given = parser.parse_args()
    print(f"{'job':40s} {'peak':>9s} {'time':>7s} steps  error of the estimate (of the count): {', '.join(QUANTITIES)}")
    with tempfile.TemporaryDirectory() as folder:
        figures = run(given.learners, given.networks, Path(folder), within_s=given.within_s)
    print(json.dumps(figures["errors"], indent=1))
    if given.learners or given.networks:
        sys.exit(0)
    print("kept in", keep("estimates", figures))


if __name__ == "__main__":
    main()
