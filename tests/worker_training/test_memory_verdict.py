"""Memory that is not enough: a verdict with sizes, and a saving that is then really made."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from specs.job import JobSpec
from specs.reports import Verdict
from tests.worker_training.running import DIGITS, NOTHING_MEASURED, Listener, attempt, prepared, train
from worker import out_of_memory
from worker.attempt import Attempt
from worker.frames import Frame
from worker.trainer import _attempt

DEEP: dict[str, Any] = {
    "dataset": DIGITS,
    "network": {"kind": "mlp", "hidden": [32] * 36, "activation": "tanh"},
    "learner": {"kind": "backprop"},
    "training": {"budget": {"kind": "steps", "value": 2}, "batch_size": 200},
    "diagnostics": NOTHING_MEASURED,
}
TOO_MUCH = 1 << 60
ROOM = 200 << 20


def starved(fields: dict[str, Any], folder: Path) -> tuple[Attempt, RuntimeError]:
    """A job whose second step asks for more memory than there is."""
    made = attempt(fields, folder)
    at = made.loop.course.batches.at

    def greedy(step: int) -> Any:
        if step == 1:
            torch.empty(TOO_MUCH, dtype=torch.uint8)
        return at(step)

    made.loop.course.batches.at = greedy  # type: ignore[method-assign]
    with pytest.raises(RuntimeError) as caught:
        made.run()
    assert out_of_memory.is_meant(caught.value)
    return made, caught.value


def test_saving_of_checkpointing_is_what_the_fork_saves(tmp_path: Path) -> None:
    made, error = starved(DEEP, tmp_path)
    finding = out_of_memory.verdict(error, made.order.spec, made)
    assert (finding.code, finding.first_step) == ("memory_bound", 2)
    assert finding.evidence.value == TOO_MUCH
    stored = finding.evidence.numbers["activation_bytes"]
    first = finding.remedies[0]
    assert first.patch == [{"op": "replace", "path": "/training/activation_checkpointing", "value": "auto"}]
    cured = {**DEEP, "training": {**DEEP["training"], "activation_checkpointing": "auto"}}
    less = train(cured, tmp_path).result.cost["memory"]["activation_bytes"]
    assert stored is not None and first.predicted_saving_bytes is not None
    assert first.predicted_saving_bytes == pytest.approx(stored - less, rel=0.1)
    assert less < 0.5 * stored


def test_halves_of_a_batch_save_half(tmp_path: Path) -> None:
    made, error = starved(DEEP, tmp_path)
    finding = out_of_memory.verdict(error, made.order.spec, made)
    (halves,) = [remedy for remedy in finding.remedies if remedy.patch[0]["path"] == "/training/micro_batch_size"]
    assert halves.patch[0]["value"] == 100
    cured = {**DEEP, "training": {**DEEP["training"], "micro_batch_size": 100}}
    less = train(cured, tmp_path).result.cost["memory"]["activation_bytes"]
    stored = finding.evidence.numbers["activation_bytes"]
    assert stored is not None and halves.predicted_saving_bytes == pytest.approx(stored - less, rel=0.1)


def test_rule_that_stores_no_chain_is_not_told_to_recompute_one(tmp_path: Path) -> None:
    made, error = starved({**DEEP, "learner": {"kind": "mono_forward"}}, tmp_path)
    finding = out_of_memory.verdict(error, made.order.spec, made)
    assert [remedy.patch[0]["path"] for remedy in finding.remedies] == [
        "/training/micro_batch_size",
        "/training/batch_size",
    ]


def test_smaller_batch_is_not_named_where_micro_batches_are_what_is_stored(tmp_path: Path) -> None:
    made, error = starved({**DEEP, "training": {**DEEP["training"], "micro_batch_size": 50}}, tmp_path)
    finding = out_of_memory.verdict(error, made.order.spec, made)
    changes = {remedy.patch[0]["path"]: remedy.patch[0]["value"] for remedy in finding.remedies}
    assert changes == {"/training/activation_checkpointing": "auto", "/training/micro_batch_size": 25}


def test_nothing_is_said_of_rows_that_were_never_counted(tmp_path: Path) -> None:
    spec = JobSpec.model_validate({**DEEP, "training": {**DEEP["training"], "batch_size": "full"}})
    paths = [remedy.patch[0]["path"] for remedy in out_of_memory.verdict(MemoryError(), spec, None).remedies]
    assert paths == ["/training/activation_checkpointing"]


def test_job_that_could_not_even_be_built_has_its_verdict(tmp_path: Path) -> None:
    spec = attempt(DEEP, tmp_path).order.spec
    finding = out_of_memory.verdict(MemoryError(), spec, None)
    assert (finding.first_step, finding.evidence.value) == (0, None)
    assert finding.remedies[0].predicted_saving_bytes is None


def test_trainer_sends_the_verdict_before_it_fails(tmp_path: Path) -> None:
    """Real memory runs out: the address space of this process is all but full while the job runs."""
    wide = {"kind": "cnn", "channels": [4096], "norm": "none"}
    training = {"budget": {"kind": "steps", "value": 2}, "batch_size": "full"}
    spec = JobSpec.model_validate({**DEEP, "network": wide, "training": training})
    order = Frame("work", {"spec": spec.resolved(), "dataset": prepared(spec, tmp_path)})
    link = Listener()
    with little_memory(ROOM):
        _attempt(order, link, folder=tmp_path)
    verdict, failure = link.reports[-2:]
    assert isinstance(verdict, Verdict) and verdict.finding.code == "memory_bound"
    assert verdict.finding.evidence.value is not None and verdict.finding.evidence.value > ROOM
    assert (failure.kind, failure.fault) == ("oom", "resource")


@contextmanager
def little_memory(room: int) -> Iterator[None]:
    """Inside, this process may take ``room`` bytes more."""
    status = Path("/proc/self/status").read_text()
    now = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmSize:"))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
