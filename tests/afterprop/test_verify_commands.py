"""Receipts are checked and rerun, jobs are replayed, by the command line and a real service; a change is found."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from afterprop import digests, receipts
from afterprop.cli import app
from afterprop.client import Client
from worker.checkpoint import weights_digest

SPEC: dict[str, Any] = {
    "name": "verified",
    "dataset": {"kind": "builtin", "name": "iris"},
    "network": {"kind": "mlp", "hidden": [8], "dropout": 0.1, "norm": "batch"},
    "learner": {"kind": "backprop"},
    "training": {"epochs": 3, "batch_size": 32},
    "diagnostics": {"every_steps": 2},
}
Run = Callable[..., Result]
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def receipt(client: Client) -> dict[str, Any]:
    """Of a short job, as JSON gives it back."""
    job = client.jobs.wait(client.jobs.create(SPEC)["id"])
    assert job["status"] == "succeeded", job["error"]
    found: dict[str, Any] = json.loads(json.dumps(client.jobs.receipt(job["id"])))
    return found


@pytest.fixture
def run(service_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command; a receipt that is given is written to a file first."""
    monkeypatch.setenv("AFTERPROP_URL", service_url)

    def invoke(command: str, subject: Any, *options: str) -> Result:
        if isinstance(subject, dict):
            file = tmp_path / "receipt.json"
            file.write_text(json.dumps(subject))
            subject = str(file)
        return CliRunner().invoke(app, [command, subject, *options])

    return invoke


def changed(receipt: dict[str, Any], change: Change) -> dict[str, Any]:
    other = copy.deepcopy(receipt)
    change(other)
    return other


def checks_of(ran: Result) -> dict[str, Any]:
    return {check["name"]: check["ok"] for check in json.loads(ran.stdout)["checks"]}


@pytest.mark.service
def test_untouched_receipt_holds_and_its_job_runs_again_to_the_same_bits(run: Run, receipt: dict[str, Any]) -> None:
    ran = run("verify", receipt, "--check", "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["verdict"] == "holds"
    found = checks_of(ran)
    assert found.pop("dataset") is None, "the only thing that cannot be said without running it"
    assert len(found) == 7 and all(found.values()), found
    ran = run("verify", receipt, "--json")
    again = json.loads(ran.stdout)
    assert (ran.exit_code, again["verdict"], again["differs"]) == (0, "identical", {})
    assert again["same"] == {"spec": True, "loss_trace": True, "weights": True}
    assert again["job_id"] != receipt["job_id"]
    plain = run("verify", receipt["job_id"], "--check")
    assert plain.exit_code == 0 and plain.stdout.rstrip().endswith("holds"), plain.output


def _weights(receipt: dict[str, Any]) -> None:
    receipt["weights_sha256"] = receipt["measured"]["weights_sha256"] = "0" * 64


def _spec_and_digests(receipt: dict[str, Any]) -> None:
    receipt["resolved_spec"]["training"]["seed"] += 1
    receipt["spec_sha256"] = digests.spec_digest(receipt["resolved_spec"])
    receipt["measured"]["spec_sha256"] = digests.spec_digest(receipt["resolved_spec"], without=())


TAMPERED: dict[str, tuple[Change, str]] = {
    "spec": (lambda receipt: receipt["resolved_spec"]["training"].update(seed=9), "spec"),
    "digest of the spec": (lambda receipt: receipt.update(spec_sha256="0" * 64), "spec"),
    "spec with its digests": (_spec_and_digests, "spec_held"),
    "digest of the weights": (lambda receipt: receipt.update(weights_sha256="0" * 64), "weights"),
    "both digests of the weights": (_weights, "weights"),
    "loss trace": (lambda receipt: receipt["measured"].update(loss_trace_sha256="0" * 64), "loss_trace"),
    "data": (lambda receipt: receipt["measured"].update(dataset_sha256="0" * 64), "measured_held"),
    "versions": (lambda receipt: receipt["measured"]["versions"].update(torch="0.1"), "measured_held"),
}


@pytest.mark.service
@pytest.mark.parametrize("what", TAMPERED)
def test_tampered_receipt_is_caught(what: str, run: Run, receipt: dict[str, Any]) -> None:
    change, found_by = TAMPERED[what]
    ran = run("verify", changed(receipt, change), "--check", "--json")
    assert ran.exit_code == 1, ran.output
    assert checks_of(ran)[found_by] is False


@pytest.mark.service
def test_rerun_says_what_differs_and_at_which_step(run: Run, receipt: dict[str, Any], client: Client) -> None:
    """A receipt whose spec was changed together with its digests agrees with itself, and is not what was trained."""
    forged = changed(receipt, _spec_and_digests)
    ran = run("verify", forged, "--json")
    found = json.loads(ran.stdout)
    assert (ran.exit_code, found["verdict"]) == (1, "different")
    assert found["same"] == {"spec": True, "loss_trace": False, "weights": False}
    assert set(found["differs"]) == {"seeds"}
    assert found["first_loss_difference"]["step"] == 1
    assert run("verify", forged).exit_code == 1
    broken = changed(receipt, lambda receipt: receipt.update(spec_sha256="0" * 64))
    before = sum(1 for _ in client.jobs.list(name="verified"))
    assert run("verify", broken, "--json").exit_code == 1
    assert sum(1 for _ in client.jobs.list(name="verified")) == before, "what does not agree with itself is not run"


@pytest.mark.service
def test_what_is_no_receipt_is_exit_2(run: Run, receipt: dict[str, Any], tmp_path: Path) -> None:
    missing = changed(receipt, lambda receipt: receipt.pop("resolved_spec"))
    unfinished = changed(receipt, lambda receipt: receipt.update(weights_sha256=None))
    no_json = tmp_path / "no.json"
    no_json.write_text("{")
    for subject in (missing, unfinished, {}, str(no_json), str(tmp_path / "none.json")):
        assert run("verify", subject, "--check").exit_code == 2


@pytest.mark.service
def test_job_is_replayed_by_the_command(run: Run, receipt: dict[str, Any]) -> None:
    ran = run("verify-resume", receipt["job_id"], "--tolerance", "0", "--json")
    assert ran.exception is None, repr(ran.exception)
    found = json.loads(ran.stdout)
    assert (ran.exit_code, found["status"], found["verdict"]) == (0, "done", "bitwise"), found
    assert found["result"]["to_step"] == found["result"]["compared_at"][-1] > 0
    assert found["result"]["circumstances"] == {}
    ran = run("verify-resume", receipt["job_id"])
    assert ran.exit_code == 0 and ran.stdout.startswith("bitwise: steps 0 to"), ran.output
    detached = run("verify-resume", receipt["job_id"], "--detach")
    assert detached.exit_code == 0 and detached.stdout.startswith("vrf_")


def test_digest_of_weights_is_the_trainers_for_every_type_and_shape(tmp_path: Path) -> None:
    tensors = {
        "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a.scalar": torch.tensor(7),
        "c.half": torch.ones(3, dtype=torch.bfloat16),
        "d.none": torch.empty(0, 4),
        "e.wide": torch.rand(5, dtype=torch.float64),
        "f.flags": torch.tensor([True, False]),
    }
    save_file(tensors, tmp_path / "weights.safetensors", metadata={"any": "thing"})
    assert digests.weights_digest(tmp_path / "weights.safetensors") == weights_digest(tensors)
    (tmp_path / "cut").write_bytes((tmp_path / "weights.safetensors").read_bytes()[:-1])
    (tmp_path / "long").write_bytes(b"\xff" * 16)
    for name in ("cut", "long"):
        with pytest.raises(digests.UnreadableWeights):
            digests.weights_digest(tmp_path / name)


def test_losses_are_taken_as_the_float32_numbers_that_were_stored() -> None:
    exact = torch.tensor([0.1, 1e-30, float("inf")])
    texts = [float(str(value)) for value in exact.numpy()]
    rounded = [loss for _, loss in receipts.float32s(list(enumerate(texts)))]
    assert rounded == exact.double().tolist()
