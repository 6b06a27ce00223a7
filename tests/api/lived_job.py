"""Jobs as a worker would leave them, written with the store's own functions: nothing is imitated but the training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from specs.job import JobSpec
from specs.reports import SeriesBlock
from specs.verdicts import Evidence, Finding, replacing
from store import artifacts, attempts, events, jobs, logs, series, verdicts, workers
from store.attempts import Claim
from store.database import Database
from store.settings import Settings

SPEC: dict[str, Any] = {
    "name": "lived",
    "labels": {"study": "tests"},
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [16]},
    "learner": {"kind": "backprop"},
    "resources": {"device": "cpu"},
}
LAYERS = ("blocks.0", "readout")
RECEIPT = {"torch": "2.13.0", "parameters": {"blocks.0": 100, "readout": 4}}
STEPS = (1, *range(10, 2001, 10))
SPIKE_STEP, NAN_STEP = 1010, 500
COST = {
    "wall_s": 12.5,
    "cpu_s": 12.0,
    "flops": 3.2e9,
    "peak_bytes": 41_943_040,
    "parameters": 1000,
    "parameters_frozen": 0,
    "parameters_deployed": 900,
    "parameters_training_only": 100,
    "energy": {"joules": None, "source": None, "reason": "no_counter"},
    "predicted": {"training_s": 12.0, "flops": 3.2e9, "peak_bytes": 40_000_000},
}
WEIGHTS = bytes(range(256)) * 40
RATE = Finding(
    code="lr_too_high",
    severity="error",
    layer="blocks.0",
    first_step=1,
    last_step=20,
    evidence=Evidence(quantity="update_ratio", value=0.5, threshold=0.1, window=3),
    remedies=(
        replacing("Lower the learning rate tenfold.", {"/optimizer/lr": 0.0001}),
        replacing("Clip the gradient.", {"/optimizer/clip_grad_norm": 1.0}),
    ),
)
VANISHING = Finding(
    code="vanishing",
    severity="warning",
    layer="blocks.0",
    first_step=10,
    last_step=2000,
    evidence=Evidence(quantity="grad_norm", value=1e-5, threshold=1e-3, window=10, comparison="below"),
)
"""A symptom of the other one."""
FAULTS = (VANISHING, RATE)


@dataclass(frozen=True)
class LivedJob:
    """A job and the claim of its first attempt."""

    job_id: str
    claim: Claim


def register_worker(database: Database) -> None:
    """A live worker of class cpu."""
    with database.writing.begin() as session:
        workers.register(
            session,
            worker_id="wrk_1",
            host="here",
            pid=1,
            classes=["cpu"],
            slots=1,
            devices=[],
            launcher={"kind": "fork", "seccomp": True},
            versions={"torch": "2.13.0"},
        )


def queued(database: Database, **changes: Any) -> str:
    """A queued job."""
    resolved = JobSpec.model_validate({**SPEC, **changes}).resolved()
    with database.writing.begin() as session:
        job = jobs.create(session, spec=SPEC, resolved_spec=resolved, resource_class="cpu", dataset="digits")
    return job.id


def running(database: Database, *, findings: Sequence[Finding] = (), **changes: Any) -> LivedJob:
    """A job whose trainer has sent series, events and lines."""
    queued(database, **changes)
    with database.writing.begin() as session:
        claim = attempts.claim(session, worker_id="wrk_1", host="here", worker_pid=1, resource_class="cpu", lease_s=600)
        assert claim is not None
        key = claim.job_id, claim.attempt
        attempts.mark_started(session, *key, step=0, device="cpu", trainer_pid=7, receipt=RECEIPT)
        progress = {"step": 2000, "steps": 2000, "epoch": 5, "epochs": 5, "samples_per_s": 5000.0, "eta_s": 0.0}
        attempts.record(session, *key, step=2000, progress=progress)
        blocks, payload = _blocks()
        series.append(session, *key, blocks, payload, ids=series.BlockIds())
        events.append(session, claim.job_id, type="progress", detail=progress, attempt=claim.attempt)
        detail = {"step": 2000, "metrics": {"validation": {"loss": 0.2, "accuracy": 0.95}}}
        events.append(session, claim.job_id, type="evaluation", detail=detail, attempt=claim.attempt)
        for finding in findings:
            verdicts.record(session, *key, finding.model_dump(mode="json"))
        logs.append(session, *key, ["first line", "second line", "<script>alert(1)</script>"])
    return LivedJob(claim.job_id, claim)


def succeeded(database: Database, settings: Settings, **changes: Any) -> str:
    """A job that has ended well, with weights and a checkpoint."""
    lived = running(database, **changes)
    key = lived.job_id, lived.claim.attempt
    folder = settings.artifacts_dir / lived.job_id / "1"
    weights = _file(folder / "weights.safetensors")
    checkpoint = _file(folder / "checkpoint-2000.safetensors")
    with database.writing.begin() as session:
        digest, size = artifacts.file_sha256(weights), weights.stat().st_size
        artifacts.add_checkpoint(session, *key, step=2000, path=checkpoint, sha256=digest, size_bytes=size)
        artifacts.add(session, *key, name="weights.safetensors", path=weights, sha256=digest, size_bytes=size)
        assert attempts.mark_finalizing(session, *key)
        result = {
            "step": 2000,
            "metrics": {"validation": {"loss": 0.2, "accuracy": 0.95}, "test": {"loss": 0.21, "accuracy": 0.94}},
            "best": {"metric": "loss", "split": "validation", "value": 0.2, "step": 2000},
            "cost": COST,
            "weights_sha256": "ab" * 32,
        }
        diagnostics = {"overhead_s": 0.01, "overhead_share": 0.004, "not_judged": {"misaligned": "exact_gradient"}}
        receipt = {**RECEIPT, "dataset_sha256": "cd" * 32}
        assert attempts.succeed(session, *key, result=result, receipt=receipt, diagnostics=diagnostics)
    return lived.job_id


def failed(database: Database, **changes: Any) -> str:
    """A job that diverged."""
    lived = running(database, **changes)
    error = {"kind": "diverged", "fault": "user", "message": "The loss is NaN at step 500.", "step": 500}
    with database.writing.begin() as session:
        assert attempts.fail(session, lived.job_id, lived.claim.attempt, error=error, cost=COST)
    return lived.job_id


def losses(values: Sequence[float]) -> tuple[list[SeriesBlock], bytes]:
    """A training loss at steps 1, 2 ..."""
    steps = np.arange(1, len(values) + 1, dtype="<i4")
    block = _block(None, -1, "train", {"loss": values}, len(steps))
    return [block], steps.tobytes() + np.asarray(values, "<f4").tobytes()


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(WEIGHTS)
    return path


def _blocks() -> tuple[list[SeriesBlock], bytes]:
    steps = np.asarray(STEPS, "<i4")
    loss = np.exp(-steps / 500).astype("<f4")
    loss[np.searchsorted(steps, SPIKE_STEP)] = 50.0
    loss[np.searchsorted(steps, NAN_STEP)] = np.nan
    whole = {"loss": loss, "wall_s": steps / 160, "samples": steps * 64.0, "samples_per_s": 5000 + np.sin(steps)}
    blocks, payload = [], b""
    for index, (layer, quantities) in enumerate([(None, whole), *((layer, _of_layer(steps)) for layer in LAYERS)]):
        blocks.append(_block(layer, index - 1, "train", quantities, len(steps)))
        payload += steps.tobytes() + b"".join(np.asarray(row, "<f4").tobytes() for row in quantities.values())
    evaluated = np.asarray([1000, 2000], "<i4")
    scores = {"loss": [0.3, 0.2], "accuracy": [0.9, 0.95]}
    blocks.append(_block(None, -1, "validation", scores, 2))
    payload += evaluated.tobytes() + b"".join(np.asarray(row, "<f4").tobytes() for row in scores.values())
    return blocks, payload


def _of_layer(steps: Any) -> dict[str, Any]:
    ones = np.ones_like(steps)
    return {
        "grad_norm": np.exp(-steps / 700),
        "weight_norm": 5.0 * ones,
        "update_norm": np.exp(-steps / 700) / 100,
        "update_ratio": np.exp(-steps / 700) / 500,
        "clipped_share": 0.0 * ones,
        "dead_share": 0.05 * ones,
        "alignment_cosine": 1.0 * ones,
        "alignment_expected": 1.0 * ones,
        "alignment_norm_ratio": 1.0 * ones,
        "alignment_sign_agreement": 1.0 * ones,
        "first_order_decrease": 0.01 * ones,
        "time_signal_1": 0.001 * ones,
        "time_signal_2": 0.1 * ones,
        "time_signal_ratio": 0.01 * ones,
        "time_signal_slope": 2.0 * ones,
    }


def _block(layer: str | None, index: int, split: Any, quantities: dict[str, Any], count: int) -> SeriesBlock:
    return SeriesBlock(
        layer=layer,
        layer_index=index,
        split=split,
        quantities=tuple(quantities),
        units=("",) * len(quantities),
        count=count,
    )
