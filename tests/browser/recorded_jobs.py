"""Jobs as workers leave them in the store, so that pages can be looked at, step by step, while nothing trains."""

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from specs.job import JobSpec
from specs.reports import SeriesBlock
from specs.verdicts import Evidence, Finding, replacing
from store import artifacts, attempts, events, jobs, logs, series, settlement, verdicts, workers

LAYERS = ("blocks.0", "blocks.1", "blocks.2", "readout")
STEPS = 600
EVERY = 5
LEASE_S = 600.0
HOSTILE_NAME = "<script>window.intruded = true</script><b>bold</b>"

RECEIPT = {"versions": {"python": "3.11"}, "seed": 0}
COST = {
    "wall_s": 12.4,
    "cpu_s": 11.9,
    "flops": 3.4e11,
    "peak_bytes": 52_428_800,
    "memory": {"activation_bytes": 1_300_000},
    "parameters": 42_634,
    "energy": {"joules": None, "source": "none", "reason": "no_counter"},
}
RESULT = {
    "metrics": {
        "train": {"loss": 0.021, "accuracy": 0.998},
        "validation": {"loss": 0.115, "accuracy": 0.967},
        "test": {"loss": 0.131, "accuracy": 0.9611},
    },
    "best": {"metric": "accuracy", "split": "validation", "value": 0.972, "step": 480, "restored": False},
    "cost": COST,
    "weights_sha256": "ab" * 32,
}
VANISHING = Finding(
    code="vanishing",
    severity="warning",
    layer="blocks.0",
    first_step=10,
    last_step=1600,
    evidence=Evidence(quantity="grad_norm", value=1e-5, threshold=1e-3, window=10, comparison="below"),
    remedies=(replacing("Use ReLU.", {"/network/activation": "relu", "/network/dropout": 0.0}),),
)
RATE = Finding(
    code="lr_too_high",
    severity="error",
    layer="blocks.1",
    first_step=1,
    last_step=20,
    evidence=Evidence(quantity="update_ratio", value=0.513, threshold=0.1, window=3),
    remedies=(replacing("Lower the learning rate tenfold.", {"/optimizer/lr": 1e-5}, saving_bytes=1 << 20),),
)
NOT_FINITE = Finding(
    code="nonfinite",
    severity="error",
    layer="readout",
    first_step=420,
    last_step=420,
    evidence=Evidence(quantity="output", value=None, numbers={"row": 3.0}, facts={"tensor": "output", "kind": "nan"}),
    remedies=(replacing("Clip nothing.", {"/optimizer/clip_grad_norm": None}),),
)
MEASURED = {"overhead_share": 0.0087, "norms_every_steps": 5, "alignment_every_steps": 50}


def queue(session: Session, name: str | None, *, learner: str = "mezo", **fields: Any) -> str:
    """A queued job; its id."""
    posted = {
        "name": name,
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [96, 96, 64]},
        "learner": {"kind": learner},
        **fields,
    }
    resolved = JobSpec.model_validate(posted).resolved()
    job = jobs.create(session, spec=posted, resolved_spec=resolved, resource_class="cpu", dataset="digits")
    return job.id


def start(session: Session) -> tuple[str, int]:
    """A worker claims the first job of the queue, and its trainer starts."""
    claimed = attempts.claim(
        session, worker_id="wrk_pages", host="bench-1", worker_pid=4711, resource_class="cpu", lease_s=LEASE_S
    )
    assert claimed is not None
    key = claimed.job_id, claimed.attempt
    attempts.mark_started(session, *key, step=0, device="cpu", trainer_pid=4712, receipt=RECEIPT)
    return key


def train(session: Session, key: tuple[str, int], *, after: int, to: int, lost_from: int | None = None) -> None:
    """What is measured and told in the steps after ``after`` up to ``to``; the loss is NaN from ``lost_from``."""
    steps = [step for step in range(after + 1, to + 1) if step in (1, to) or step % EVERY == 0]
    blocks: list[tuple[SeriesBlock, bytes]] = [_whole(steps, lost_from), *_by_layer(steps)]
    for step in (step for step in steps if step % 60 == 0):
        blocks.append(_evaluation(step))
    described, payload = [block for block, _ in blocks], b"".join(points for _, points in blocks)
    series.append(session, *key, described, payload, ids=series.BlockIds())
    progress = {"step": to, "steps": STEPS, "epoch": 1 + to // 121, "epochs": 5, "samples_per_s": 18_200.0}
    attempts.record(session, *key, step=to, progress={**progress, "eta_s": (STEPS - to) * 0.02})
    events.append(session, key[0], type="progress", detail=progress, attempt=key[1])
    detail = {"split": "validation", "step": to, "epoch": 1, "metrics": {"loss": 0.2, "accuracy": 0.95}}
    events.append(session, key[0], type="evaluation", detail=detail, attempt=key[1])


def find_faults(session: Session, key: tuple[str, int]) -> None:
    """A cause with a remedy, found after its symptom, and numbers that were not finite."""
    for finding in (VANISHING, RATE, NOT_FINITE):
        verdicts.record(session, *key, finding.model_dump(mode="json"))


def finish(session: Session, key: tuple[str, int], folder: Path) -> None:
    """The job succeeds, with weights and a log."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights.safetensors"
    weights.write_bytes(bytes(170_000))
    sha256, size = artifacts.file_sha256(weights), weights.stat().st_size
    assert attempts.mark_finalizing(session, *key)
    artifacts.add(session, *key, name=weights.name, path=weights, sha256=sha256, size_bytes=size)
    artifacts.add_checkpoint(session, *key, step=STEPS, path=weights, sha256=sha256, size_bytes=size)
    logs.append(session, *key, ["started", "done"])
    assert attempts.succeed(session, *key, result=RESULT, receipt=RECEIPT, diagnostics=MEASURED)


def fail(session: Session, key: tuple[str, int]) -> None:
    """The job ends on a loss that is not a number."""
    message = "The loss is not finite; the gradient of blocks.1 was the first to be lost."
    error = {"kind": "diverged", "fault": "user", "message": message, "step": 420, "layer": "blocks.1"}
    assert attempts.fail(session, *key, error=error, cost=COST)


def register_worker(session: Session) -> None:
    """A worker that lives."""
    workers.register(
        session,
        worker_id="wrk_pages",
        host="bench-1",
        pid=4711,
        classes=["cpu"],
        slots=2,
        devices=[],
        launcher={"kind": "fork"},
        versions={"python": "3.11"},
    )
    workers.beat(session, "wrk_pages", busy=1)


def _whole(steps: Sequence[int], lost_from: int | None) -> tuple[SeriesBlock, bytes]:
    noise = random.Random(steps[0])
    loss = [2.3 * 0.994**step + 0.05 + noise.gauss(0, 0.03) * 0.997**step for step in steps]
    if lost_from is not None:
        loss = [float("nan") if step >= lost_from else value for step, value in zip(steps, loss, strict=True)]
    found = {
        "loss": loss,
        "learning_rate": [0.001] * len(steps),
        "wall_s": [step * 0.02 for step in steps],
        "samples": [step * 64 for step in steps],
        "samples_per_s": [18_000 + noise.gauss(0, 500) for _ in steps],
        "grad_norm": [3.0 * 0.998**step for step in steps],
    }
    return _block(steps, found, split="train")


def _by_layer(steps: Sequence[int]) -> Iterable[tuple[SeriesBlock, bytes]]:
    probes = [step for step in steps if step % 50 == 0]
    for index, layer in enumerate(LAYERS):
        noise = random.Random(steps[0] + index)
        norms = [10 ** (index - 3) * 0.998**step * 2 ** noise.gauss(0, 0.3) for step in steps]
        found = {
            "grad_norm": norms,
            "weight_norm": [8.0 + 0.001 * step for step in steps],
            "update_norm": [0.008] * len(steps),
            "update_ratio": [norm / 50 for norm in norms],
        }
        yield _block(steps, found, split="train", layer=layer, layer_index=index)
        if probes:
            cosines = [0.04 + 0.01 * index + noise.gauss(0, 0.01) for _ in probes]
            aligned = {
                "dead_share": [0.03 * index] * len(probes),
                "alignment_cosine": cosines,
                "alignment_expected": [0.05 + 0.01 * index] * len(probes),
                "alignment_norm_ratio": [1.7] * len(probes),
            }
            yield _block(probes, aligned, split="train", layer=layer, layer_index=index)


def _evaluation(step: int) -> tuple[SeriesBlock, bytes]:
    found = {"loss": [2.3 * 0.994**step + 0.1], "accuracy": [0.97 - 0.85 * 0.99**step]}
    return _block([step], found, split="validation")


def _block(
    steps: Sequence[int], values: Mapping[str, Sequence[float]], *, split: Any, layer: str | None = None, **scope: int
) -> tuple[SeriesBlock, bytes]:
    names = tuple(values)
    block = SeriesBlock(split=split, layer=layer, quantities=names, units=("",) * len(names), count=len(steps), **scope)
    return block, np.asarray(steps, "<i4").tobytes() + np.asarray(list(values.values()), "<f4").tobytes()


def settle_cancelled(session: Session, key: tuple[str, int]) -> None:
    """The worker has ended the trainer of a job that was cancelled."""
    settlement.settle(session, *key, charge=False, code="cancelled_by_user", message="Cancelled on request.")
