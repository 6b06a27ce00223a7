"""A job that trained on a GPU in deterministic mode is replayed there from its checkpoint to the same bits."""

from pathlib import Path

import pytest
import torch

from tests.worker_training.replaying import CHEAPEST, COVERED, MEASURED, NETWORK, ended, replayed
from tests.worker_training.running import LEARNERS, job

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NO CUDA DEVICE: nothing here was checked on a GPU"),
]


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_replays_to_the_same_bits_on_a_gpu(learner: str, tmp_path: Path) -> None:
    order = ended(job(learner, CHEAPEST[learner], diagnostics=MEASURED), tmp_path, device="cuda:")
    assert order["receipt"]["determinism"]["deterministic_algorithms"]
    answer = replayed(order, tmp_path)
    assert answer["verdict"] == "bitwise", answer["result"]
    assert answer["result"]["compared_at"] == [5, 7]


@pytest.mark.parametrize("what", [what for what in COVERED if not what.endswith("clock")])
def test_schedules_early_stopping_and_precisions_replay_to_the_same_bits_on_a_gpu(what: str, tmp_path: Path) -> None:
    order = ended(job("backprop", NETWORK, diagnostics=MEASURED, **COVERED[what]), tmp_path, device="cuda:")
    answer = replayed(order, tmp_path)
    assert answer["verdict"] == "bitwise", answer["result"]
