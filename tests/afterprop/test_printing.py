"""Lines of the terminal, as a person reads them."""

import io

import pytest
from rich.console import Console

from afterprop.estimating import tell
from afterprop.printing import change_of
from specs.estimate import Estimate, MemoryForecast


@pytest.mark.parametrize(
    ("operation", "line"),
    [
        ({"op": "replace", "path": "/optimizer/lr", "value": 0.01}, "/optimizer/lr = 0.01"),
        ({"op": "replace", "path": "/optimizer/clip_grad_norm", "value": None}, "/optimizer/clip_grad_norm = null"),
        ({"op": "remove", "path": "/network/activation"}, "/network/activation removed"),
    ],
)
def test_change_is_shown_as_the_patch_holds_it(operation: dict[str, object], line: str) -> None:
    assert change_of(operation) == line


def test_estimate_shows_operations_of_the_job_and_of_a_step() -> None:
    memory = MemoryForecast(weights=4, data=8, peak_bytes=12, basis="rehearsed")
    found = Estimate(device="cpu", parameters=1, memory=memory, steps=3, flops=3.6e9, flops_per_step=120.0, fits=True)
    console = Console(file=io.StringIO(), width=120)
    assert tell(found.model_dump(mode="json"), console=console, as_json=False) == 0
    assert "3.6 G (120 a step)" in console.file.getvalue()  # type: ignore[attr-defined]
