"""Nothing that is measured, and no interruption, changes a bit: for every learner on every network."""

from pathlib import Path
from typing import Any

import pytest

from specs.compatibility import refusals
from specs.job import JobSpec
from specs.learners import LEARNER_SPECS
from specs.reports import Checkpoint, Progress
from tests.worker_training.running import (
    EVERYTHING_THERE_IS,
    LEARNERS,
    NETWORKS,
    NOTHING_MEASURED,
    Listener,
    attempt,
    job,
    last_checkpoint,
    train,
)
from worker.loop import Stop


def _trains(learner: str, network: str) -> bool:
    fields = job(learner, network)
    spec = JobSpec.model_validate({**fields, "learner": {"kind": "backprop"}})
    rule = next(kind for kind in LEARNER_SPECS if kind.model_fields["kind"].default == learner)
    return not refusals(rule(), spec.network)


PAIRS = [(learner, network) for learner in LEARNERS for network in NETWORKS if _trains(learner, network)]


# Every other pair sums its gradients over micro-batches, and half of either kind is interrupted as well: that a learner
# resumes bit by bit on every network is shown without the loop in tests/learners.
ROWS_AT_ONCE = {pair: (None, 50)[number % 2] for number, pair in enumerate(PAIRS)}
INTERRUPTED = {pair for number, pair in enumerate(PAIRS) if number % 4 < 2}


# A point at every step, and probes at the first, some between and the last.
MEASURED = {**EVERYTHING_THERE_IS, "alignment_every_steps": 3}


@pytest.mark.parametrize(("learner", "network"), PAIRS)
def test_neither_diagnostics_nor_an_interruption_change_a_bit(learner: str, network: str, tmp_path: Path) -> None:
    training = {"micro_batch_size": ROWS_AT_ONCE[learner, network]}
    fields = job(learner, network, training=training, diagnostics=MEASURED)
    undisturbed = train(fields, tmp_path)
    plain = train({**fields, "diagnostics": NOTHING_MEASURED}, tmp_path)
    assert undisturbed.result.weights_sha256 == plain.result.weights_sha256
    assert undisturbed.series["grad_norm", None, "train"].keys() == set(range(1, 8))
    assert ("grad_norm", None, "train") not in plain.series
    if (learner, network) not in INTERRUPTED:
        return
    stopped = _stop_after(fields, 4, tmp_path)
    resumed = train(fields, tmp_path, resume=last_checkpoint(stopped))
    assert resumed.attempt.loop.step == 7
    assert resumed.result.weights_sha256 == undisturbed.result.weights_sha256
    assert resumed.result.metrics == undisturbed.result.metrics
    assert resumed.result.receipt["loss_trace_sha256"] == undisturbed.result.receipt["loss_trace_sha256"]
    assert resumed.result.cost["flops"] == undisturbed.result.cost["flops"]


def _stop_after(fields: dict[str, Any], step: int, folder: Path, resume: dict[str, Any] | None = None) -> Listener:
    """Trains up to the first look after ``step`` steps, as a pause does."""
    link = Listener()
    made = attempt(fields, folder, link=link, resume=resume)
    one_step = made.loop._one_step

    def stop_after_it() -> None:
        one_step()
        made.loop._poll._next = 0.0
        if made.loop.step >= step:
            link.stop_reason = "pause"

    made.loop._one_step = stop_after_it  # type: ignore[method-assign]
    with pytest.raises(Stop):
        made.run()
    assert link.of(Checkpoint)[-1].step == step
    return link


def test_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    first, second = (train(job("backprop", "mlp"), tmp_path) for _ in range(2))
    other = train(job("backprop", "mlp", training={"seed": 4}), tmp_path)
    assert first.result.weights_sha256 == second.result.weights_sha256 != other.result.weights_sha256


@pytest.mark.parametrize("damage", ["optimizer.", "network.", "network.blocks.0"])
def test_resume_without_a_part_of_the_state_is_found_out(damage: str, tmp_path: Path) -> None:
    """The negative control of the tests above: equal bits need all of the checkpoint."""
    from worker import checkpoint, resumption

    fields = job("backprop", "mlp batch dropout")
    undisturbed = train(fields, tmp_path)
    link = _stop_after(fields, 4, tmp_path)
    saved = checkpoint.load(Path(last_checkpoint(link)["path"]))
    kept = {name: tensor for name, tensor in saved.tensors.items() if not name.startswith(damage)}
    made = attempt(fields, tmp_path)
    if damage == "optimizer.":
        resumption.resume(made.loop, checkpoint.Snapshot(kept, saved.state))
        assert made.run().weights_sha256 != undisturbed.result.weights_sha256
    else:
        with pytest.raises(checkpoint.CorruptCheckpoint):
            resumption.resume(made.loop, checkpoint.Snapshot(kept, saved.state))


def test_first_step_is_reported_at_once(tmp_path: Path) -> None:
    link = train(job("backprop", "mlp"), tmp_path).link
    assert link.of(Progress)[0].step == 1
