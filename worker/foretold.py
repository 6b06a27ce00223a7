"""What a job's first steps say of all of them: kept in the bill, beside what the job then took."""

from typing import Any

from worker.batches import Batches
from worker.length import Length
from worker.meters.bill import EARLY_STEPS, Bill


def foretold(bill: Bill, batches: Batches, length: Length) -> dict[str, Any]:
    """Seconds of training, FLOPs and peak bytes as they were expected after ``EARLY_STEPS`` steps.

    Null with the reason where the job was over sooner, or where a clock or a meter ended it.
    """
    early, steps = bill.early, length.steps
    if early is None or steps is None:
        reason = "the length was not known beforehand" if steps is None else f"over within {EARLY_STEPS} steps"
        return {"basis": "first_steps", "training_s": None, "flops": None, "peak_bytes": None, "reason": reason}
    rows = batches.samples_before(steps) - batches.samples_before(EARLY_STEPS)
    pace = (early.training_s - early.first_step_s) / (batches.samples_before(EARLY_STEPS) - batches.samples_before(1))
    return {
        "basis": "first_steps",
        "training_s": early.training_s + rows * pace,
        "flops": early.flops + rows / batches.size * (bill.flops.per_step or 0.0),
        "peak_bytes": early.peak_bytes,
        "reason": None,
    }
