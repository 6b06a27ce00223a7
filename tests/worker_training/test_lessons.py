"""Every lesson shows its fault in the diagnostics, and its one change removes it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from specs.job import JobSpec
from specs.lessons import LESSONS
from tests.worker_training.running import Listener, Trained, attempt, points, train
from worker.finite import Diverged

LESSON = {recipe.name: recipe for recipe in LESSONS}


def job(name: str, *, cured: bool, **sections: Any) -> dict[str, Any]:
    lesson = LESSON[name].lesson
    assert lesson is not None
    return JobSpec.model_validate({"recipe": name, **(lesson.cure if cured else {}), **sections}).resolved()


def accuracy(trained: Trained) -> float:
    found = trained.result.metrics["test"]["accuracy"]
    assert found is not None
    return found


def of_layer(trained: Trained, quantity: str, layer: str) -> list[float]:
    return [value for _, value in sorted(trained.series[quantity, layer, "train"].items())]


def gradient_ratio(trained: Trained) -> float:
    """The first layer's gradient over the read-out's, at the last measured step."""
    return of_layer(trained, "grad_norm", "blocks.0")[-1] / of_layer(trained, "grad_norm", "readout")[-1]


def vanishing(fault: Trained, cured: Trained) -> None:
    assert gradient_ratio(fault) < 1e-3
    assert gradient_ratio(cured) > 0.05
    assert accuracy(fault) < 0.2
    assert accuracy(cured) > 0.6


def dying(fault: Trained, cured: Trained) -> None:
    assert of_layer(fault, "dead_share", "blocks.0")[0] < 0.2
    assert of_layer(fault, "dead_share", "blocks.0")[-1] > 0.95
    assert of_layer(fault, "grad_norm", "blocks.0")[-1] == 0
    assert of_layer(cured, "dead_share", "blocks.0")[-1] < 0.3
    assert accuracy(fault) < 0.2
    assert accuracy(cured) > 0.85


def storing(fault: Trained, cured: Trained) -> None:
    kept, little = (each.result.cost["memory"]["activation_bytes"] for each in (fault, cured))
    assert little < 0.25 * kept
    assert fault.result.weights_sha256 == cured.result.weights_sha256


def stepping(fault: Trained, cured: Trained) -> None:
    assert set(of_layer(fault, "grad_norm", "blocks.0")) == {0.0}
    assert fault.result.diagnostics["missing"]["alignment"]["blocks.0"]["zero_norm"] > 0
    assert min(of_layer(cured, "grad_norm", "blocks.0")) > 0
    assert accuracy(fault) < 0.9
    assert accuracy(cured) > 0.95


SHOWS: dict[str, Callable[[Trained, Trained], None]] = {
    "lesson_vanishing_gradient": vanishing,
    "lesson_dead_relu": dying,
    "lesson_checkpointing": storing,
    "lesson_step_activation": stepping,
}


@pytest.mark.parametrize("name", SHOWS)
def test_fault_is_seen_and_one_change_removes_it(name: str, tmp_path: Path) -> None:
    SHOWS[name](train(job(name, cured=False), tmp_path), train(job(name, cured=True), tmp_path))


def test_exploding_gradient_ends_the_job_and_normalisation_lets_it_learn(tmp_path: Path) -> None:
    link = Listener()
    with pytest.raises(Diverged):
        attempt(job("lesson_exploding_gradient", cured=False), tmp_path, link=link).run()
    cured = train(job("lesson_exploding_gradient", cured=True), tmp_path)
    norm = points(link.reports)["grad_norm", None, "train"]
    assert norm[1] > 1e5
    assert all(math.isfinite(value) and value < 1e3 for value in cured.series["grad_norm", None, "train"].values())
    assert accuracy(cured) > 0.7


def test_every_lesson_is_tested_and_changes_one_section() -> None:
    assert {*SHOWS, "lesson_exploding_gradient"} == set(LESSON)
    for recipe in LESSONS:
        assert recipe.lesson is not None and len(recipe.lesson.cure) == 1
