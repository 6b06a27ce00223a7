"""Receipts: whether what a receipt says is what a service holds, and whether running it again gives the same bits."""

import csv
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from afterprop.digests import UnreadableWeights, loss_trace_digest, spec_digest, weights_digest
from afterprop.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from afterprop.client import Client

WEIGHTS: Final = "weights.safetensors"
CIRCUMSTANCES: Final = (
    "dataset_sha256", "versions", "machine", "cpu_capability", "device", "device_name", "threads", "seeds", "precision",
    "determinism",
)  # fmt: skip
"""What a receipt notes beside spec and results: what may explain that other bits came out."""
WIDE: Final = "losses are stored as float32, and this job computed in float64"


class NoReceipt(Exception):
    """This is not a receipt, or one of a job that has no result yet."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``ok`` is None where it cannot be said, with the reason."""

    name: str
    ok: bool | None
    said: Any = None
    found: Any = None
    reason: str | None = None


def checked(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt, if it is one. Raises ``NoReceipt``."""
    wanted = {"job_id": str, "spec_sha256": str, "resolved_spec": dict, "measured": dict}
    for name, kind in wanted.items():
        if not isinstance(receipt.get(name), kind):
            raise NoReceipt(f"This is no receipt as /v1/jobs/{{id}}/receipt gives it: `{name}` is missing.")
    if not isinstance(receipt.get("weights_sha256"), str) or "loss_trace_sha256" not in receipt["measured"]:
        raise NoReceipt("The receipt is of a job that had no result.")
    return dict(receipt)


def own_checks(receipt: Mapping[str, Any]) -> list[Check]:
    """Whether the receipt agrees with itself; no service is asked."""
    spec, measured = receipt["resolved_spec"], receipt["measured"]
    return [
        _same("spec", receipt["spec_sha256"], spec_digest(spec)),
        _same("spec_of_the_trainer", measured.get("spec_sha256"), spec_digest(spec, without=())),
        _same("weights_of_the_trainer", receipt["weights_sha256"], measured.get("weights_sha256")),
    ]


def held_checks(service: "Client", receipt: Mapping[str, Any]) -> list[Check]:
    """Whether the service holds what the receipt says: digests are worked out again from what it hands out."""
    job_id, measured = receipt["job_id"], receipt["measured"]
    held = service.jobs.receipt(job_id)
    names = sorted(measured.keys() | held["measured"].keys())
    differs = {name for name in names if measured.get(name) != held["measured"].get(name)}
    return [
        _same("spec_held", spec_digest(receipt["resolved_spec"]), spec_digest(held["resolved_spec"])),
        _weights(service, receipt),
        _trace(service, job_id, receipt),
        Check(
            "measured_held",
            not differs,
            {name: measured.get(name) for name in differs},
            {name: held["measured"].get(name) for name in differs},
        ),
        Check(
            "dataset",
            None,
            measured.get("dataset_sha256"),
            reason="the service hands out no prepared data: a rerun, without --check, says whether they are the same",
        ),
    ]


def holds(checks: list[Check]) -> bool:
    """Whether nothing was found to be otherwise."""
    return all(check.ok is not False for check in checks)


def rerun(service: "Client", receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the receipt's spec as a new job, and says what of its outcome is not the same."""
    made = service.jobs.create(receipt["resolved_spec"])
    job = service.jobs.wait(made["id"])
    if job["status"] != "succeeded":
        return {"verdict": "failed", "job_id": job["id"], "status": job["status"], "error": job["error"]}
    again = service.jobs.receipt(job["id"])
    said, found = receipt["measured"], again["measured"]
    differs = {
        name: {"receipt": said.get(name), "rerun": found.get(name)}
        for name in CIRCUMSTANCES
        if said.get(name) != found.get(name)
    }
    same = {
        "spec": receipt["spec_sha256"] == again["spec_sha256"],
        "loss_trace": said["loss_trace_sha256"] == found["loss_trace_sha256"],
        "weights": receipt["weights_sha256"] == again["weights_sha256"],
    }
    answer: dict[str, Any] = {
        "verdict": "identical" if all(same.values()) else "different",
        "job_id": job["id"],
        "same": same,
        "differs": differs,
        "first_loss_difference": None,
        "reason": None,
    }
    if not same["loss_trace"]:
        answer |= _first_loss_difference(service, receipt, job["id"])
    return answer


def losses(service: "Client", job_id: str) -> list[tuple[int, float]]:
    """Every logged training loss of a job, as it is stored."""
    with tempfile.TemporaryDirectory() as name:
        try:
            file = service.jobs.export(job_id, to=Path(name) / "loss.csv", names="loss", split="train")
        except (InvalidRequest, NotFound):
            return []  # it has no such series
        with file.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if not row["layer"]]
    return [(int(row["step"]), float(row["value"])) for row in rows]


def _same(name: str, said: Any, found: Any) -> Check:
    return Check(name, said == found, said, found)


def _weights(service: "Client", receipt: Mapping[str, Any]) -> Check:
    said = receipt["weights_sha256"]
    with tempfile.TemporaryDirectory() as name:
        try:
            found = weights_digest(service.jobs.download(receipt["job_id"], WEIGHTS, to=Path(name) / WEIGHTS))
        except NotFound:
            return Check("weights", None, said, reason="the service no longer has the weights")
        except UnreadableWeights as error:
            return Check("weights", False, said, reason=str(error))
    return _same("weights", said, found)


def _trace(service: "Client", job_id: str, receipt: Mapping[str, Any]) -> Check:
    said = receipt["measured"]["loss_trace_sha256"]
    if receipt["resolved_spec"].get("training", {}).get("precision") == "float64":
        return Check("loss_trace", None, said, reason=WIDE)
    logged = losses(service, job_id)
    if not logged:
        return Check("loss_trace", None, said, reason="the service no longer has the losses")
    if any(loss != loss for _, loss in logged):
        return Check("loss_trace", None, said, reason="a loss is no number, and its bits are not kept")
    return _same("loss_trace", said, loss_trace_digest(float32s(logged)))


def float32s(logged: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The losses as the float32 numbers that their shortest text stands for."""
    return [(step, struct.unpack("<f", struct.pack("<f", loss))[0]) for step, loss in logged]


def _first_loss_difference(service: "Client", receipt: Mapping[str, Any], again: str) -> dict[str, Any]:
    try:
        before = losses(service, receipt["job_id"])
    except NotFound:
        before = []
    if not before:
        return {"reason": "the service does not have the losses of the receipt's job: which step was first is unknown"}
    if loss_trace_digest(float32s(before)) != receipt["measured"]["loss_trace_sha256"]:
        return {"reason": "the losses that the service has of the receipt's job are not those of the receipt"}
    after = dict(losses(service, again))
    for step, loss in before:
        other = after.get(step)
        if other is None or (loss != other and not (loss != loss and other != other)):
            return {"first_loss_difference": {"step": step, "receipt": loss, "rerun": other}}
    return {"reason": "no stored loss differs: they are float32, and the receipt's are finer, or the rerun was longer"}
