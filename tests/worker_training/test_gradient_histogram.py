"""The gradient's histogram counts every entry once, in the bin that its magnitude says."""

import math
from pathlib import Path

import pytest
import torch

from specs.diagnostics import GRADIENT_BINS, LOWEST_EXPONENT
from tests.worker_training.running import EVERYTHING_MEASURED, job, train
from worker.diagnostics.gradient_histogram import EXPONENTS, counted_by_comparing, magnitudes

NAMES = [f"gradient_bin_{number:02d}" for number in range(GRADIENT_BINS)]


def _by_logarithm(values: list[float]) -> list[int]:
    """The same counts, entry by entry."""
    counts = [0] * (GRADIENT_BINS + 2)
    for value in values:
        if value == 0:
            counts[-2] += 1
        elif not math.isfinite(value):
            counts[-1] += 1
        else:
            place = math.frexp(abs(value))[1] - 1 - LOWEST_EXPONENT
            counts[min(max(place, 0), GRADIENT_BINS - 1)] += 1
    return counts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_every_entry_is_counted_in_its_bin(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    exponents = torch.randint(-70, 30, (3000,), generator=generator).double()
    spread = torch.randn(3000, generator=generator).double() * 2.0**exponents
    odd = torch.tensor(
        [0.0, -0.0, math.nan, math.inf, -math.inf, 1e-40, -1e-44, 1.0, -2.0, 3e38, 0.5], dtype=spread.dtype
    )
    values = torch.cat([spread, odd]).to(dtype)
    assert magnitudes(values).tolist() == _by_logarithm(values.float().tolist())


def test_counting_without_waiting_gives_the_same_counts() -> None:
    """What a GPU does, done here."""
    exponents = torch.randint(0, EXPONENTS, (500,), generator=torch.Generator().manual_seed(1))
    assert counted_by_comparing(exponents).equal(torch.bincount(exponents, minlength=EXPONENTS))


def test_histograms_of_layers_add_up_to_the_networks_and_to_its_size(tmp_path: Path) -> None:
    fields = job("backprop", "mlp", diagnostics={**EVERYTHING_MEASURED, "gradient_histogram": True})
    trained = train(fields, tmp_path)
    groups = trained.attempt.loop.course.training.groups
    sizes = {group.name: sum(parameter.numel() for parameter in group.parameters) for group in groups}
    for step in range(1, 8):
        for name, size in [*sizes.items(), (None, sum(sizes.values()))]:
            counts = [trained.series[quantity, name, "train"][step] for quantity in (*NAMES, "gradient_zeros")]
            assert sum(counts) == size
        for quantity in NAMES:
            whole = trained.series[quantity, None, "train"][step]
            assert whole == sum(trained.series[quantity, name, "train"][step] for name in sizes)


def test_histogram_is_off_unless_asked_for_and_defaults_can_be_left_out(tmp_path: Path) -> None:
    left_out = {**EVERYTHING_MEASURED, "leave_out": ["alignment", "activations"]}
    measured = {name for name, _, _ in train(job("backprop", "mlp", diagnostics=left_out), tmp_path).series}
    assert "grad_norm" in measured
    assert not {name for name in measured if name.startswith(("alignment", "activation", "gradient_bin"))}
