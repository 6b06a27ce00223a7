"""The process that trains: a work order in, reports out through a pipe. It knows no SQL and no queue."""

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Final

import torch

from specs.job import JobSpec
from specs.reports import Failure, Stopped, Verdict
from worker import disk_full, frames, out_of_memory, probing, rehearsal, replay
from worker.accelerator import NoSuchDevice
from worker.attempt import Attempt, DataMismatch, WorkOrder
from worker.checkpoint import CorruptCheckpoint, OtherFormat
from worker.finite import Diverged
from worker.length import NoCounter
from worker.link import LeaseOver, Link, PipeLink, Silence, WorkerGone
from worker.loop import Stop

DONE: Final = 0
LEASE_PASSED: Final = 76
WORKER_GONE: Final = 77


def run(up: int, down: int) -> int:
    """Read the work frame, train, report; the exit code. The working directory is the attempt's folder."""
    order = frames.read(down)
    if order is None:
        return WORKER_GONE
    if order.type in rehearsal.ORDERS:
        return _rehearse(order, up)
    if order.type in _BESIDE:
        _BESIDE[order.type](order.fields, folder=Path.cwd())
        return DONE
    if order.type != "work":
        raise frames.ProtocolError(f"the first frame is {order.type!r}, not a work order")
    link = PipeLink(up, down, lease_until=order.fields.get("lease_until"))
    try:
        _attempt(order, link, folder=Path.cwd())
    except LeaseOver:
        return LEASE_PASSED
    except WorkerGone:
        return WORKER_GONE
    return DONE


def _attempt(order: frames.Frame, link: Link, *, folder: Path) -> None:
    """Every end that is a result or a finding, as its report."""
    work: WorkOrder | None = None
    attempt: Attempt | None = None
    try:
        work = WorkOrder.parse(order.fields)
        attempt = Attempt(work, link, folder=folder)
        link.send(attempt.run())
    except Stop as stop:
        assert attempt is not None
        link.send(Stopped(reason=stop.reason, step=attempt.loop.step))
    except (WorkerGone, LeaseOver):
        raise
    except Exception as error:  # the outer door: a finding of any kind must reach the client
        failure = finding(error, step=None if attempt is None else attempt.loop.step)
        if failure.kind == "internal":
            traceback.print_exc()
        if work is not None and out_of_memory.is_meant(error):
            link.send(Verdict(finding=out_of_memory.verdict(error, work.spec, attempt)))
        link.send(failure)


def _rehearse(order: frames.Frame, up: int) -> int:
    """What an estimate stands on, or why there is none."""
    try:
        answer = rehearsal.ORDERS[order.type](order.fields)
    except Exception as error:  # the outer door of a rehearsal: whoever asked must hear of it
        failure = finding(error, step=None)
        if failure.kind == "internal":
            traceback.print_exc()
        answer = {"error": failure.model_dump(mode="json", include={"kind", "fault", "message"})}
    frames.send(up, "rehearsed", **answer)
    return DONE


def finding(error: Exception, *, step: int | None) -> Failure:
    """What an error means for the job."""
    for kinds, name, fault in _FINDINGS:
        if isinstance(error, kinds):
            return Failure(kind=name, fault=fault, message=str(error), step=step)
    if isinstance(error, Diverged):
        return Failure(
            kind="diverged",
            fault="user",
            message=f"{error}. The step was withheld; lower the learning rate or clip the gradient.",
            step=error.step,
            layer=error.origin.layer,
            detail={"tensor": error.origin.tensor, "row": error.origin.row, "part": error.origin.part},
        )
    if out_of_memory.is_meant(error):
        return out_of_memory.failure(error, step)
    if disk_full.is_meant(error):
        return disk_full.failure(step)
    name = type(error).__name__
    return Failure(kind="internal", fault="system", message=f"{name}: {error}"[:2000], step=step)


_FINDINGS: Final = (
    (DataMismatch, "data_mismatch", "user"),
    (OtherFormat, "checkpoint_version", "system"),
    (CorruptCheckpoint, "checkpoint_corrupt", "system"),
    (NoCounter, "no_energy_counter", "user"),
    (NoSuchDevice, "no_such_device", "system"),
)


_BESIDE: Final = {"probe": probing.run, "replay": replay.run}


def warm_up() -> None:
    """Everything that a job needs, imported and run once on one thread, without touching CUDA.

    A fork of a process that has done this takes its first step after some milliseconds instead of a second.
    """
    import numpy as np

    torch.set_num_threads(1)
    for spec in _WARM_UP_JOBS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rng = np.random.default_rng(0)
            for split in ("train", "validation", "test"):
                np.save(folder / f"{split}_x.npy", rng.random((16, 4), dtype=np.float32))
                np.save(folder / f"{split}_y.npy", np.arange(16) % 3)
            signature = {
                "task": "classification",
                "input_shape": [4],
                "outputs": 3,
                "rows_train": 16,
                "rows_validation": 16,
                "rows_test": 16,
            }
            fields = {"spec": spec, "dataset": {"folder": name, "sha256": "", "signature": signature}}
            Attempt(WorkOrder.parse(fields), Silence(), folder=folder).run()


def _warm_up_job(learner: str) -> dict[str, object]:
    return JobSpec.model_validate(
        {
            "dataset": {"kind": "file", "path": "none.csv"},
            "network": {"kind": "mlp", "hidden": [4]},
            "learner": {"kind": learner},
            "training": {"budget": {"kind": "steps", "value": 2}, "batch_size": 8},
        }
    ).resolved()


_WARM_UP_JOBS: Final = [_warm_up_job("backprop")]


def main(arguments: list[str]) -> int:
    """``python -m worker.trainer UP DOWN``."""
    up, down = (int(argument) for argument in arguments)
    return run(up, down)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a second of finalizing torch would be a second that the job is not over
