"""A comparison's answer as a table in a terminal."""

import io
from typing import Any

from rich.console import Console

from afterprop.comparing import print_comparison


def printed(metric: str, **arm: Any) -> str:
    """The table of one arm."""
    bill = {"training": {"training_s": 1.0, "flops": 1e9}, "inference": {"seconds_per_row": None}}
    whole = {"name": "mezo", "role": "learner", "mean": 29.0, "interval": [-29.0, 87.0], "decision": "undecided"}
    whole |= {"difference": None, "bill": bill, "diverged": 0, "runs": 2} | arm
    console = Console(file=io.StringIO(), width=200)
    comparison = {"id": "cmp_1", "status": "succeeded", "result": {"metric": metric, "arms": [whole]}}
    print_comparison(comparison, url="http://here", console=console)  # type: ignore[arg-type]
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_interval_of_an_accuracy_stays_between_0_and_100() -> None:
    assert "29.00 (0.00 to 87.00)" in printed("accuracy")
    assert "29.00 (-29.00 to 87.00)" in printed("mse")


def test_arm_that_diverged_says_on_how_many_seeds() -> None:
    assert "undecided, 1 of 2 diverged" in printed("mse", diverged=1)
    assert "diverged" not in printed("mse")
