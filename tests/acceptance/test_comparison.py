"""The road of a comparison, over HTTP alone: posted, tuned, run, answered; twice with the same accuracies."""

import time
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.service

SPEC: dict[str, Any] = {
    "name": "three learners on digits",
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [24]},
    "learners": ["backprop", "forward_forward", "mono_forward"],
    "seeds": 2,
    "training": {"epochs": 2},
    "tuning": {"trials": 2},
}


def answered(http: httpx2.Client, spec: dict[str, Any], timeout_s: float = 150) -> dict[str, Any]:
    """The comparison, once it is over."""
    posted = http.post("/v1/comparisons", json=spec)
    assert posted.status_code == 202, posted.text
    deadline = time.monotonic() + timeout_s
    while (found := http.get(posted.headers["Location"]).json())["phase"] == "active":
        assert time.monotonic() < deadline, found["progress"]
        time.sleep(0.3)
    return dict(found)


def scores(comparison: dict[str, Any]) -> dict[tuple[Any, ...], Any]:
    return {(row["stage"], row["arm"], row["trial"], row["seed"]): row["metrics"] for row in comparison["rows"]}


@pytest.mark.timeout(400)
def test_comparison_is_tuned_run_and_answered_and_comes_out_the_same_again(service_url: str) -> None:
    with httpx2.Client(base_url=service_url, timeout=30) as http:
        first = answered(http, SPEC)
        assert first["status"] == "succeeded", first["error"]
        result = first["result"]
        assert first["sentence"] == result["sentence"]
        assert result["tuned"] is True
        for row in first["rows"]:
            assert ("test" in row["metrics"]) == (row["stage"] == "final"), "tuning never reads the test rows"
        arms = {arm["name"]: arm for arm in result["arms"]}
        assert set(arms) == {arm["name"] for arm in first["arms"]}
        assert {"readout_only", "backprop_checkpointing", "backprop_accumulation"} <= set(arms)
        for arm in arms.values():
            assert arm["bill"]["training"]["flops"] > 0
            assert arm["bill"]["inference"]["seconds_per_row"] > 0
            assert arm["bill"]["training"]["joules"] is not None or arm["bill"]["training"]["joules_reason"]
            assert [point["seeds"] for point in arm["curve"]] == [2, 2]
        # Without tuning of their own, with the reference's gradient: the same accuracies bit for bit.
        assert arms["backprop_checkpointing"]["scores"] == arms["backprop"]["scores"]
        # By goodness a prediction is one pass for each class.
        assert (
            arms["forward_forward"]["bill"]["inference"]["flops_per_row"]
            > 5 * (arms["backprop"]["bill"]["inference"]["flops_per_row"])
        )
        assert arms["mono_forward"]["bill"]["parameters"]["deployed"] > 0
        for name, arm in arms.items():
            for seed, score in arm["scores"].items():
                row = next(r for r in first["rows"] if (r["stage"], r["arm"], r["seed"]) == ("final", name, int(seed)))
                assert score == pytest.approx(100 * row["metrics"]["test"]["accuracy"])
        again = answered(http, SPEC)
        assert scores(again) == scores(first)


def test_diverged_runs_count_as_the_worst_and_the_comparison_goes_on(service_url: str) -> None:
    wild = {"name": "wild", "learner": {"kind": "backprop"}, "optimizer": {"kind": "sgd", "lr": 1e6}}
    diabetes = {"kind": "builtin", "name": "diabetes"}
    with httpx2.Client(base_url=service_url, timeout=30) as http:
        found = answered(http, {**SPEC, "learners": [wild], "tuning": None, "dataset": diabetes})
    assert found["status"] == "succeeded", found["error"]
    [arm] = [arm for arm in found["result"]["arms"] if arm["name"] == "wild"]
    assert arm["diverged"] == 2
    worst = min(score for other in found["result"]["arms"] for score in other["scores"].values())
    assert set(arm["scores"].values()) == {worst}
    assert found["result"]["metric"] == "mse"
    assert "diverged" in found["sentence"]
    assert "Untuned" in found["sentence"]


def test_memory_by_depth_tells_what_grows_from_what_stays_flat(service_url: str) -> None:
    template = {"template": "memory_by_depth", "depths": [4, 16], "learners": ["mono_forward"]}
    with httpx2.Client(base_url=service_url, timeout=30) as http:
        found = answered(http, {"dataset": SPEC["dataset"], "network": {"kind": "mlp", "hidden": [64]}, **template})
    assert found["status"] == "succeeded", found["error"]
    growth = {curve["name"]: curve["growth"] for curve in found["result"]["memory"]}
    assert growth["backprop"] > 2.5
    assert growth["mono_forward"] < 1.1
    assert 1.1 < growth["backprop_checkpointing"] < growth["backprop"]
    assert "mono_forward flat" in found["sentence"]
