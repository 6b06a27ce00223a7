"""A job that is too large is refused by arithmetic, with the estimate and the limit."""

from typing import Any

import pytest
from pydantic import ValidationError

from specs.job import JobSpec
from specs.limits import Limits

DIGITS: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [32]},
    "learner": {"kind": "backprop"},
}
WEIGHTS = 64 * 32 + 32 + 32 * 10 + 10


@pytest.mark.parametrize(
    ("changes", "limits", "code", "needed"),
    [
        ({}, {"parameters": WEIGHTS - 1}, "too_many_parameters", WEIGHTS),
        ({"training": {"epochs": 2, "batch_size": 100}}, {"steps": 25}, "too_many_steps", 26),
        # Weights, gradients and two running averages of Adam, and the rows of a step, in float32.
        ({}, {"memory_bytes": 4 * (4 * WEIGHTS + 64 * 64) - 1}, "too_much_memory", 4 * (4 * WEIGHTS + 64 * 64)),
        ({}, {"checkpoint_bytes": 12 * WEIGHTS - 1}, "checkpoint_too_large", 12 * WEIGHTS),
        ({}, {"diagnostics_points": 10}, "too_many_points", None),
        ({"limits": {"max_runtime_s": 61}}, {"runtime_s": 60}, "runtime_above_limit", 61),
        (
            {"training": {"checkpoint_every_s": 1}},
            {"checkpoint_bytes_per_s": 100},
            "checkpoints_too_often",
            12 * WEIGHTS,
        ),
    ],
)
def test_job_above_a_limit_is_refused_with_both_figures(
    changes: dict[str, Any], limits: dict[str, Any], code: str, needed: int | None
) -> None:
    fields = {**DIGITS, "optimizer": {"kind": "adam"}, **changes}
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(fields, context={"limits": Limits(**limits)})
    (error,) = refused.value.errors()
    ((name, most),) = limits.items()
    assert error["type"] == code
    assert f"limit {name}" in error["msg"] and f"{most:,.0f}" in error["msg"]
    if needed is not None:
        assert f"{needed:,.0f}" in error["msg"]
        JobSpec.model_validate(fields, context={"limits": Limits(**{name: needed})})


def test_what_was_admitted_once_is_read_again_whatever_the_limits_are_now() -> None:
    assert JobSpec.model_validate(DIGITS).network.depth == 1
