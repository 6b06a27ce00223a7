"""What a user's own file holds is known when it has been read: the limits that need it are applied then."""

from typing import Any

import pytest

from specs.limits import Limits
from worker.attempt import DataMismatch, WorkOrder

SIGNATURE = {"task": "classification", "input_shape": [784], "outputs": 10, "rows_train": 1000}


def order(dataset: dict[str, Any], limits: Limits, *, resume: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = {
        "dataset": dataset,
        "network": {"kind": "mlp", "hidden": [8]},
        "learner": {"kind": "backprop"},
        "training": {"epochs": 10, "batch_size": 100},
    }
    found = {"folder": "", "sha256": "", "signature": SIGNATURE}
    return {"spec": spec, "dataset": found, "limits": limits.model_dump(mode="json"), "resume": resume}


FILE = {"kind": "file", "path": "own.csv"}


WEIGHTS = 784 * 8 + 8 + 8 * 10 + 10
# Weights, gradients and two running averages of AdamW, and the rows of a step, in float32.
BYTES = 4 * (4 * WEIGHTS + 100 * 784)


@pytest.mark.parametrize(("name", "needed"), [("parameters", WEIGHTS), ("steps", 100), ("memory_bytes", BYTES)])
def test_job_on_a_file_is_refused_above_a_limit_and_not_at_it(name: str, needed: int) -> None:
    assert WorkOrder.parse(order(FILE, Limits(**{name: needed}))).resume is None
    with pytest.raises(DataMismatch, match=f"limit {name}"):
        WorkOrder.parse(order(FILE, Limits(**{name: needed - 1})))


def test_job_that_has_begun_or_was_judged_at_the_door_is_not_refused_by_limits_that_were_lowered() -> None:
    lowered = Limits(steps=1, parameters=1)
    assert WorkOrder.parse(order(FILE, lowered, resume={"path": "", "sha256": ""})).spec.dataset.kind == "file"
    digits = {"kind": "builtin", "name": "digits"}
    assert WorkOrder.parse(order(digits, lowered)).spec.dataset.kind == "builtin"
