"""Every learner on one small network, twice: ``python -m benchmarks.all_learners [--keep] [--page FILE]``.

POST /v1/comparisons with all learners on the digits, five seeds, equal epochs, tuned alike, to a service that starts
with nothing; then the same again. The two must have the same metrics bit for bit, tuning included. Prints the table,
and says what was left out and why.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.measuring import keep
from benchmarks.stack import fresh_stack

COMPARISON: dict[str, Any] = {
    "name": "all learners on digits",
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [64, 64], "activation": "tanh"},
    "learners": "all",
    "seeds": 5,
    "training": {"epochs": 3},
    "tuning": {"trials": 3},
    "diagnostics": {"every_steps": None, "alignment_every_steps": None},
}


def answered(http: httpx2.Client) -> dict[str, Any]:
    """The comparison, posted and waited for."""
    posted = http.post("/v1/comparisons", json=COMPARISON)
    assert posted.status_code == 202, posted.text
    while (found := http.get(posted.headers["Location"]).json())["phase"] == "active":
        time.sleep(1)
    assert found["status"] == "succeeded", found["error"]
    return dict(found)


def metrics(comparison: dict[str, Any]) -> dict[tuple[Any, ...], Any]:
    """Of every run, tuning included; JSON writes a float so that it is read back to the bit."""
    return {(row["stage"], row["arm"], row["trial"], row["seed"]): row["metrics"] for row in comparison["rows"]}


def table(comparison: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is kept of each arm."""
    return {
        arm["name"]: {
            "test_accuracy": None if arm["mean"] is None else round(arm["mean"], 2),
            "difference": None if arm["difference"] is None else round(arm["difference"]["mean"], 2),
            "decision": arm["decision"],
            "worth": arm["worth"],
            "training_s": arm["bill"]["training"]["training_s"],
            "flops": arm["bill"]["training"]["flops"],
            "activation_bytes": arm["bill"]["training"]["activation_bytes"],
            "diverged": arm["diverged"],
        }
        for arm in comparison["result"]["arms"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="write the figures into benchmarks/results")
    parser.add_argument("--page", type=Path, help="where the page of the first one is written, as one HTML file")
    options = parser.parse_args()
    seconds, found = [], []
    with (
        tempfile.TemporaryDirectory() as nothing,
        fresh_stack(Path(nothing)) as url,
        httpx2.Client(base_url=url, timeout=60) as http,
    ):
        for _ in range(2):
            begun = time.monotonic()
            found.append(answered(http))
            seconds.append(round(time.monotonic() - begun, 1))
        if options.page is not None:
            options.page.write_bytes(http.get(f"/v1/comparisons/{found[0]['id']}/page").content)
    first, again = map(metrics, found)
    different = [run for run in first if first[run] != again.get(run)]
    print(found[0]["sentence"])
    for name, arm in table(found[0]).items():
        print(f"{name:26} {arm['test_accuracy']!s:>6} {arm['difference']!s:>7}  {arm['decision']}, {arm['worth']}")
    left_out = {left["name"]: left["reason"] for left in found[0]["left_out"]}
    figures = {
        "runs": len(first),
        "seconds": seconds,
        "runs_that_differ_the_second_time": len(different),
        "left_out": left_out,
        "sentence": found[0]["sentence"],
        "arms": table(found[0]),
    }
    print(f"{len(first)} runs, {seconds} s; different the second time: {different or 'none'}; left out: {left_out}")
    if options.keep:
        print(keep("all_learners", figures))
    assert not different and first.keys() == again.keys()


if __name__ == "__main__":
    main()
