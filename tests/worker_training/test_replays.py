"""A job that has ended is replayed from its checkpoint to the same bits, by every learner; a change is found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from afterprop.digests import loss_trace_digest
from tests.worker_training.replaying import CHEAPEST, COVERED, MEASURED, NETWORK, ended, replayed, sha256
from tests.worker_training.running import LEARNERS, job


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_replays_to_the_same_bits(learner: str, tmp_path: Path) -> None:
    order = ended(job(learner, CHEAPEST[learner], diagnostics=MEASURED), tmp_path)
    answer = replayed(order, tmp_path)
    result = answer["result"]
    assert answer["verdict"] == "bitwise", result
    assert (result["from_step"], result["to_step"], result["compared_at"]) == (2, 7, [5, 7])
    assert result["losses"] >= 3 and result["values"] > 100
    assert result["first_difference"] is result["first_loss_difference"] is result["diverged"] is None
    assert (result["state_differs"], result["circumstances"], result["metrics_equal"]) == ([], {}, True)
    assert not list((tmp_path / "replay").glob("checkpoint*"))
    logged = [(int(step), loss) for step, loss in np.load(order["losses"]).T.tolist()]
    assert loss_trace_digest(logged) == order["receipt"]["loss_trace_sha256"], "it can be checked by what is stored"


@pytest.mark.parametrize("what", COVERED)
def test_schedules_early_stopping_clocks_and_precisions_replay_to_the_same_bits(what: str, tmp_path: Path) -> None:
    order = ended(job("backprop", NETWORK, diagnostics=MEASURED, **COVERED[what]), tmp_path)
    if what.startswith("early"):
        assert order["last_step"] < 8 * 4, "it stopped early"
    if what.endswith("clock"):
        order["job"]["spec"]["training"]["budget"]["value"] = 1e-9  # this machine is now infinitely slow
    answer = replayed(order, tmp_path)
    assert answer["verdict"] == "bitwise", answer["result"]


def test_job_without_a_checkpoint_is_replayed_from_the_start(tmp_path: Path) -> None:
    answer = replayed(ended(job("backprop", "mlp", diagnostics=MEASURED), tmp_path, kept=()), tmp_path)
    assert answer["verdict"] == "bitwise"
    assert (answer["result"]["from_step"], answer["result"]["compared_at"]) == (0, [7])


def _rewrite(path: str, change: Any) -> str:
    """Changes the tensors of a file; its new digest."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)
    return sha256(path)


def test_one_flipped_bit_of_the_weights_is_named(tmp_path: Path) -> None:
    order = ended(job("backprop", NETWORK), tmp_path)

    names = load_file(order["weights"]).keys()
    weight = next(name for name in names if name.startswith("network.readout") and name.endswith("weight"))

    def flip(tensors: dict[str, torch.Tensor]) -> None:
        tensors[weight].view(torch.int32)[3, 2] ^= 1

    _rewrite(order["weights"], flip)
    answer = replayed(order, tmp_path)
    assert answer["verdict"] == "tolerance"
    first = answer["result"]["first_difference"]
    assert (first["tensor"], first["step"], first["index"]) == (weight, 7, [3, 2])
    assert first["stored"] != first["replayed"] == pytest.approx(first["stored"], rel=1e-6)
    assert 0 < answer["result"]["largest_relative_difference"] < 1e-6
    assert replayed({**order, "tolerance": 0.0}, tmp_path)["verdict"] == "different"


def test_lost_optimizer_state_is_found_at_the_next_checkpoint(tmp_path: Path) -> None:
    """The negative control: a resume that forgets part of its state is no resume."""
    order = ended(job("backprop", NETWORK), tmp_path)
    resume = order["job"]["resume"]

    def forget(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if name.startswith("optimizer.") and name.endswith("exp_avg"):
                tensor.zero_()

    resume["sha256"] = _rewrite(resume["path"], forget)
    answer = replayed(order, tmp_path)
    assert answer["verdict"] == "different"
    assert answer["result"]["first_difference"]["step"] == 5
    assert answer["result"]["first_loss_difference"]["step"] in (4, 5)
    assert answer["result"]["largest_relative_difference"] > 1e-5


def test_other_spec_data_or_circumstances_are_said(tmp_path: Path) -> None:
    order = ended(job("backprop", "mlp"), tmp_path)
    other = {**order, "receipt": {**order["receipt"], "threads": 7}, "metrics": {}}
    answer = replayed(other, tmp_path)
    assert answer["result"]["circumstances"] == {"threads": {"job": 7, "replay": order["receipt"]["threads"]}}
    assert (answer["verdict"], answer["result"]["metrics_equal"]) == ("tolerance", False)
    order["job"]["spec"]["optimizer"]["lr"] = 0.02
    answer = replayed(order, tmp_path)
    assert answer["verdict"] == "different"
    assert answer["result"]["first_loss_difference"]["step"] == 4
