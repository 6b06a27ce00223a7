"""What is measured is what it says: against float64, against closed forms, against the step itself."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from specs.reports import Series
from tests.worker_training.running import EVERYTHING_THERE_IS, NETWORKS, attempt, job, train
from tests.worker_training.test_bits import PAIRS
from worker.diagnostics.diagnostic import WHOLE, Point
from worker.diagnostics.interval import Interval
from worker.diagnostics.norms import foreach_norm
from worker.diagnostics.series import SeriesBuffer


@pytest.mark.parametrize("network", NETWORKS)
def test_backprop_is_aligned_with_itself_in_every_layer(network: str, tmp_path: Path) -> None:
    trained = train(job("backprop", network), tmp_path)
    names = trained.attempt.loop.course.training.network.names
    for layer in (*names, None):
        for quantity in ("alignment_cosine", "alignment_norm_ratio", "alignment_expected"):
            series = trained.series[quantity, layer, "train"]
            assert series.keys() == set(range(1, 8))
            assert all(abs(value - 1) <= 1e-6 for value in series.values()), (quantity, layer)


@pytest.mark.parametrize(("learner", "network"), PAIRS)
def test_every_layer_that_trains_has_norms_and_moves(learner: str, network: str, tmp_path: Path) -> None:
    trained = train(job(learner, network), tmp_path)
    for group in trained.attempt.loop.course.training.groups:
        for quantity in ("grad_norm", "weight_norm", "update_norm", "update_ratio"):
            series = trained.series[quantity, group.name, "train"]
            assert series.keys() == set(range(1, 8))
            assert all(math.isfinite(value) for value in series.values())
        assert sum(trained.series["update_norm", group.name, "train"].values()) > 0


def test_layer_norms_add_up_to_the_whole(tmp_path: Path) -> None:
    trained = train(job("backprop", "cnn"), tmp_path)
    names = trained.attempt.loop.course.training.network.names
    for quantity in ("grad_norm", "weight_norm", "update_norm"):
        for step, whole in trained.series[quantity, None, "train"].items():
            squares = sum(trained.series[quantity, name, "train"][step] ** 2 for name in names)
            assert whole == pytest.approx(math.sqrt(squares), rel=1e-6)


def test_norms_equal_a_float64_reference() -> None:
    tensor = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(0)) * 0.01 + 1e-3
    reference = float(np.linalg.norm(tensor.numpy().astype(np.float64)))
    (measured,) = foreach_norm([tensor])
    assert float(measured) == pytest.approx(reference, rel=1e-12)
    assert float(tensor.norm()) != pytest.approx(reference, rel=1e-6)  # why it is not done in float32


def test_random_direction_is_judged_against_what_it_can_reach(tmp_path: Path) -> None:
    fields = job("mezo", "mlp", training={"budget": {"kind": "steps", "value": 60}})
    series = train(fields, tmp_path).series
    expected = series["alignment_expected", None, "train"]
    found = series["alignment_cosine", None, "train"]
    size = sum(p.numel() for p in attempt(fields, tmp_path).loop.course.training.network.parameters())
    assert expected[1] == pytest.approx(1 / math.sqrt(size + 2), rel=1e-6)
    typical = math.sqrt(sum(value**2 for value in found.values()) / len(found))
    assert 0.3 < typical / expected[1] < 3


def test_missing_reference_has_a_reason_and_no_point(tmp_path: Path) -> None:
    trained = train(job("mono_forward", "mlp"), tmp_path)
    assert trained.result.diagnostics["missing"]["alignment"] == {"own.heads.0": {"no_reference": 7}}
    assert ("alignment_cosine", "own.heads.0", "train") not in trained.series


def test_zero_gradient_has_the_reason_zero_norm(tmp_path: Path) -> None:
    """All weights zero: nothing reaches the hidden layer."""
    fields = job("backprop", "mlp", network={"kind": "mlp", "hidden": [4], "init": "zeros"})
    trained = train({**fields, "training": {**fields["training"], "budget": {"kind": "steps", "value": 1}}}, tmp_path)
    assert trained.result.diagnostics["missing"]["alignment"] == {"blocks.0": {"zero_norm": 1}}


def test_clipped_share_says_how_often_clipping_acted(tmp_path: Path) -> None:
    for limit, share in ((1e-6, 1.0), (1e6, 0.0)):
        optimizer = {"kind": "sgd", "lr": 0.01, "clip_grad_norm": limit}
        every_second = {"every_steps": 2, "alignment_every_steps": None, "budget_percent": None}
        series = train(job("backprop", "mlp", optimizer=optimizer, diagnostics=every_second), tmp_path).series
        assert set(series["clipped_share", None, "train"].values()) == {share}
    by_value = {"kind": "sgd", "lr": 0.01, "clip_grad_value": 1e-9}
    series = train(job("backprop", "mlp", optimizer=by_value), tmp_path).series
    assert series["clipped_share", None, "train"][1] > 0.5


def test_points_stand_at_the_first_step_the_multiples_and_the_last(tmp_path: Path) -> None:
    spec = {"every_steps": 3, "alignment_every_steps": 5, "budget_percent": None}
    series = train(job("backprop", "mlp", diagnostics=spec), tmp_path).series
    assert list(series["loss", None, "train"]) == [1, 3, 6, 7]
    assert list(series["grad_norm", "readout", "train"]) == [1, 3, 6, 7]
    assert list(series["alignment_cosine", None, "train"]) == [1, 5, 7]


def test_interval_widens_until_measuring_fits_its_budget() -> None:
    interval = Interval(10, budget=0.005)
    interval.took(9.0)  # cold
    interval.step_takes(0.002)
    assert interval.steps == 10
    interval.took(0.001)
    assert interval.steps == 100
    assert 0.001 / (interval.steps * 0.002) <= 0.005
    free = Interval(10, budget=None)
    free.step_takes(1e-9)
    free.took(1.0)
    free.took(1.0)
    assert free.steps == 10


def test_budget_is_held_from_the_first_steps_although_the_first_measurement_is_cold() -> None:
    """A measurement of 2 ms, 50 ms when cold, at steps of 1 ms: 1 % of any time after the debt is paid, not less."""
    trained = [0.0]
    interval = Interval(10, budget=0.01, trained=lambda: trained[0])
    measured = []
    for step in range(1, 30_001):
        if interval.due(step, last=False):
            interval.took(0.002 if measured else 0.05)
            measured.append(step)
            assert step == 1 or 0.05 + 0.002 * (len(measured) - 1) <= 0.01 * trained[0] + 1e-9
        trained[0] = step * 0.001
        if step % 10 == 0:
            interval.step_takes(0.001)
    assert measured[1] > 9000
    assert len(measured) > 60
    assert all(later - earlier == interval.steps == 200 for earlier, later in pairwise(measured[2:]))
    resumed = Interval(10, budget=0.01, trained=lambda: 1.0)
    resumed.load_state_dict(interval.state_dict())
    assert not resumed.due(400, last=False)
    assert not resumed.due(400, last=True)
    assert resumed.due(1, last=False)


class NoReads(TorchDispatchMode):
    """Refuses to bring a number to the host, as ``item``, ``bool`` and ``float`` do."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        assert func is not torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("network", ["mlp", "cnn", "cfc", "spiking", "transformer"])
def test_probe_step_reads_no_number_but_all_at_once_in_the_end(network: str, tmp_path: Path) -> None:
    course = attempt(job("backprop", network, diagnostics=EVERYTHING_THERE_IS), tmp_path).loop.course
    course.training.train()
    batch = course.batches.at(0)
    with NoReads():
        view = course.panel.open(1, lambda: [batch], last=False, autocast=course.autocast)
        assert view is not None

        def read(groups: Any, gradients: Any) -> bool:
            course.panel.read(groups, gradients)
            return True

        context = course.training.context
        context.read = read
        context.begin(0)
        (report,) = [course.training.learner.update(part, context) for part in context.passes(batch)]
        context.finish()
        course.panel.close(view, report)
    with NoReads(), pytest.raises(AssertionError):
        float(torch.ones(()))
    quantities = {points.quantity for points in course.series.open_points()}
    assert quantities >= {"alignment_cosine", "activation_mean", "grad_norm"}


def test_realised_overhead_is_served(tmp_path: Path) -> None:
    diagnostics = train(job("backprop", "mlp"), tmp_path).result.diagnostics
    assert 0 < diagnostics["overhead_share"] < 1


@pytest.mark.parametrize(("learner", "network"), dict(reversed(PAIRS)).items())
def test_global_generator_is_not_touched(learner: str, network: str, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train(job(learner, network), tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())


def test_large_series_travel_in_frames_below_the_cap() -> None:
    buffer = SeriesBuffer()
    scopes = [WHOLE._replace(layer=f"blocks.{index}", order=index) for index in range(2500)]
    for step in range(3):
        for scope in scopes:
            buffer.add(step, Point("grad_norm", "", scope, float(step)))
    sent: list[Any] = list(buffer.take())
    assert len(sent) == 3
    assert sum(len(frame.blocks) for frame in sent) == 2500
    assert not buffer
    assert all(len(frame.model_dump_json(exclude={"payload"})) < 1 << 20 for frame in sent)
    assert isinstance(sent[0], Series)


def test_values_beyond_float32_become_infinite_and_nan_stays() -> None:
    buffer = SeriesBuffer()
    buffer.add(1, Point("loss", "", WHOLE, 1e300))
    buffer.add(2, Point("loss", "", WHOLE, math.nan))
    (frame,) = buffer.take()
    values = np.frombuffer(frame.payload, dtype="<f4", offset=8)
    assert values[0] == math.inf
    assert math.isnan(values[1])
