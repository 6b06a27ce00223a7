"""The course of training: its length, evaluation, early stopping, checkpoints."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from specs.reports import Checkpoint, Event
from specs.training import EarlyStoppingSpec
from tests.worker_training.running import DIGITS, Listener, attempt, job, train
from worker import checkpoint
from worker.early_stopping import BestEvaluation


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ({"kind": "epochs", "value": 2}, 10),
        ({"kind": "steps", "value": 3}, 3),
        ({"kind": "samples", "value": 330}, 6),
        ({"kind": "samples", "value": 81}, 2),
    ],
)
def test_counted_budget_ends_with_the_step_that_reaches_it(
    budget: dict[str, object], steps: int, tmp_path: Path
) -> None:
    assert train(job("backprop", "mlp", training={"budget": budget}), tmp_path).result.step == steps


def test_budget_in_flops_ends_with_the_step_that_reaches_it(tmp_path: Path) -> None:
    one = train(job("backprop", "mlp", training={"budget": {"kind": "steps", "value": 1}}), tmp_path)
    flops = one.result.cost["flops"]
    trained = train(job("backprop", "mlp", training={"budget": {"kind": "flops", "value": 3.5 * flops}}), tmp_path)
    assert trained.result.step == 4
    assert trained.result.cost["flops"] >= 3.5 * flops
    assert max(trained.series["loss", None, "train"]) == 4


def test_budget_in_seconds_ends_by_the_clock(tmp_path: Path) -> None:
    trained = train(job("backprop", "mlp", training={"budget": {"kind": "seconds", "value": 0.3}}), tmp_path)
    assert 0.2 < trained.result.cost["training_s"] < 3
    assert max(trained.series["loss", None, "train"]) == trained.result.step


def test_every_row_is_used_once_an_epoch_in_a_new_order(tmp_path: Path) -> None:
    batches = attempt(job("backprop", "mlp"), tmp_path).loop.course.batches
    assert sorted(batches.order(0).tolist()) == list(range(len(batches.rows)))
    assert batches.order(0).tolist() != batches.order(1).tolist()
    assert [batches.rows_at(step) for step in range(6)] == [80, 80, 80, 80, 3, 80]
    assert [batches.samples_before(step) for step in (0, 4, 5, 6)] == [0, 320, 323, 403]


def test_early_stopping_restores_the_best_weights_and_says_so(tmp_path: Path) -> None:
    fields = {
        **job("backprop", "mlp"),
        "optimizer": {"kind": "adam", "lr": 0.3},
        "training": {"epochs": 60, "batch_size": 80, "early_stopping": {"patience": 2}},
    }
    trained = train(fields, tmp_path)
    best = trained.result.best
    assert best is not None
    validations = trained.series["loss", None, "validation"]
    assert trained.result.step == best["step"] + 2 * 5
    assert best["value"] == pytest.approx(min(validations.values()), rel=1e-6)
    assert trained.result.diagnostics["restored_best"]
    assert trained.result.metrics["validation"]["loss"] == pytest.approx(best["value"], rel=1e-6)
    assert max(trained.series["grad_norm", None, "train"]) == trained.result.step


def test_point_of_a_step_that_could_have_been_the_last_is_taken_back(tmp_path: Path) -> None:
    fields = {
        **job("backprop", "mlp"),
        "training": {"epochs": 3, "batch_size": 80, "early_stopping": {"patience": 1}},
        "diagnostics": {"every_steps": 1000, "alignment_every_steps": None, "budget_percent": None},
    }
    trained = train(fields, tmp_path)
    assert trained.result.step == 15  # it improved to the end
    assert list(trained.series["loss", None, "train"]) == [1, 15]


def test_metric_that_is_not_a_number_is_never_the_best() -> None:
    best = BestEvaluation(EarlyStoppingSpec(metric="accuracy", patience=2))
    taken = [best.take({"accuracy": value}, step) for step, value in enumerate((float("nan"), 0.5, 0.4, 0.5), 1)]
    assert taken == [False, True, False, False]
    assert (best.value, best.step, best.should_stop) == (0.5, 2, True)


def test_metrics_equal_those_computed_by_hand(tmp_path: Path) -> None:
    trained = train(job("backprop", "mlp"), tmp_path)
    made = trained.attempt
    rows = made._rows("test")
    network = made.loop.course.training.network.eval()
    with torch.no_grad():
        scores = network(rows.x)
    expected = torch.nn.functional.cross_entropy(scores, rows.y).item()
    assert trained.result.metrics["test"]["loss"] == pytest.approx(expected, rel=1e-5)
    share = (scores.argmax(1) == rows.y).double().mean().item()
    assert trained.result.metrics["test"]["accuracy"] == pytest.approx(share)


def test_evaluation_is_an_event_of_its_epoch(tmp_path: Path) -> None:
    events = [event.detail for event in train(job("backprop", "mlp"), tmp_path).link.of(Event)]
    assert [(event["split"], event["step"]) for event in events] == [
        ("validation", 5),
        ("train", 7),
        ("validation", 7),
        ("test", 7),
    ]


def test_checkpoints_come_by_the_clock_and_only_between_steps(tmp_path: Path) -> None:
    fields = job("backprop", "mlp", training={"checkpoint_every_s": 1e-9, "budget": {"kind": "seconds", "value": 0.2}})
    link = Listener()
    train(fields, tmp_path, link=link)
    steps = [report.step for report in link.of(Checkpoint)]
    assert len(steps) >= 2
    assert steps == sorted(set(steps))


def _saved(tmp_path: Path) -> Path:
    made = attempt(job("backprop", "mlp"), tmp_path)
    made.loop._one_step()
    made.loop.save()
    return Path(made.loop.course.link.of(Checkpoint)[0].path)  # type: ignore[attr-defined]


def test_checkpoint_is_one_safetensors_file_without_leftovers(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint-1.safetensors"]
    saved = checkpoint.load(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    prefixes = {name.split(".")[0] for name in saved.tensors}
    assert prefixes == {"network", "optimizer"}
    assert saved.state["step"] == 1
    json.dumps(saved.state, allow_nan=False)


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "missing"])
def test_harmed_checkpoint_is_refused(harm: str, tmp_path: Path) -> None:
    path = _saved(tmp_path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-9], "flip": content[:-1] + bytes([content[-1] ^ 1]), "empty": b""}[harm])
    with pytest.raises(checkpoint.CorruptCheckpoint):
        checkpoint.load(path, sha256=digest)


def test_checkpoint_of_other_data_or_another_seed_is_refused(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    resume = {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "step": 1}
    for fields in (
        job("backprop", "mlp", training={"seed": 99}),
        job("backprop", "mlp", dataset={**DIGITS, "split": {"seed": 99}}),
    ):
        with pytest.raises(checkpoint.CorruptCheckpoint):
            attempt(fields, tmp_path, resume=resume)


def test_digest_of_weights_sees_names_shapes_and_every_bit() -> None:
    base = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    digests = {
        checkpoint.weights_digest(tensors)
        for tensors in (
            base,
            {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)},
            {"a": torch.arange(6.0), "c": torch.zeros(2)},
            {"a": torch.arange(6.0), "b": torch.tensor([0.0, -0.0])},
            {"a": torch.arange(6.0, dtype=torch.float64), "b": torch.zeros(2)},
        )
    }
    assert len(digests) == 5
    assert checkpoint.weights_digest(dict(reversed(base.items()))) == checkpoint.weights_digest(base)


def test_bfloat16_keeps_float32_weights_and_learns(tmp_path: Path) -> None:
    fields = job("backprop", "mlp", training={"precision": "bfloat16"})
    trained = train(fields, tmp_path)
    assert {tensor.dtype for tensor in trained.weights.values()} == {torch.float32}
    full = train(job("backprop", "mlp"), tmp_path)
    assert trained.result.weights_sha256 != full.result.weights_sha256
    losses = trained.series["loss", None, "train"]
    assert losses[7] < losses[1]


def test_job_that_may_not_read_the_test_rows_has_no_figure_of_them_and_trains_the_same(tmp_path: Path) -> None:
    read, unread = (train(job("backprop", "mlp", training={"evaluate_test": told}), tmp_path) for told in (True, False))
    assert set(read.result.metrics) - set(unread.result.metrics) == {"test"}
    assert read.result.metrics["validation"] == unread.result.metrics["validation"]
    assert read.result.weights_sha256 == unread.result.weights_sha256
