"""Noise in windows: uncorrelated, standard normal, replayed, and never as large as what it moves."""

import math
from random import SystemRandom

import pytest
import torch
from torch import Tensor

from learners.noise import STRIDE, WINDOW, Noise
from worker.meters.live import LiveBytes

RANDOM = SystemRandom()
SEED = RANDOM.randrange(1, 2**31)
SHAPE = (2 * WINDOW + RANDOM.randrange(1, WINDOW),)


def noise(like: Tensor, seed: int = SEED) -> Noise:
    return Noise(like, torch.Generator().manual_seed(seed))


def draws(number: int) -> list[Tensor]:
    like = torch.empty(SHAPE, dtype=torch.float64)
    return [noise(like, SEED + index).times(1.0) for index in range(number)]


def test_a_slope_times_its_direction_is_the_gradient_in_the_mean() -> None:
    """E[(z g)(z h)] = g h for any g and h, which is E[z z^T] = I."""
    shifted = torch.zeros(SHAPE, dtype=torch.float64)
    g = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(SEED - 1))
    # The worst h: it is g where the next window reads the numbers that g's window read.
    shifted[WINDOW - STRIDE :] = g[: len(g) - WINDOW + STRIDE]
    found = torch.stack([torch.stack([z @ g, z @ shifted]) for z in draws(1500)])
    products = {"own": (found[:, 0] ** 2, float(g @ g)), "shifted": (found[:, 0] * found[:, 1], float(g @ shifted))}
    for mean, exact in products.values():
        error = float(mean.std()) / math.sqrt(len(mean))
        assert abs(float(mean.mean()) - exact) < 5 * error
        assert error < 0.05 * float(g @ g)


def test_windows_that_read_the_same_numbers_differ_by_a_random_sign() -> None:
    apart = WINDOW - STRIDE
    correlations = []
    for z in draws(64):
        first, second = z[STRIDE:WINDOW], z[STRIDE + apart : WINDOW + apart]
        assert torch.equal(first.abs(), second.abs())
        correlations.append(float(first @ second / (first @ first)))
    # Without signs all of them would be 1.
    assert sorted({round(c, 9) for c in correlations}) == [-1, 1]
    assert abs(sum(correlations)) < 5 * 8


def test_entries_are_standard_normal_and_those_of_a_window_independent() -> None:
    z = torch.stack(draws(40))
    size = z[:, :WINDOW].numel()
    for low in (0, WINDOW, 2 * WINDOW):
        window = z[:, low : low + WINDOW]
        slack = 6 / math.sqrt(window.numel())
        assert float(window.mean()) == pytest.approx(0, abs=slack)
        assert float(window.pow(2).mean()) == pytest.approx(1, abs=1.5 * slack)
        assert float(window.pow(4).mean()) == pytest.approx(3, abs=10 * slack)
    for lag in (1, STRIDE, WINDOW // 2):
        own = z[:, : WINDOW - lag] * z[:, lag:WINDOW]
        assert float(own.mean()) == pytest.approx(0, abs=6 / math.sqrt(size / 2))


def test_a_tensor_of_one_window_has_plain_independent_noise() -> None:
    like = torch.empty(WINDOW // 64, 64)
    plain = torch.randn(WINDOW, generator=torch.Generator().manual_seed(SEED)).reshape(like.shape)
    assert torch.equal(noise(like).times(1.0), plain)


@pytest.mark.parametrize("shape", [(7,), (WINDOW,), (WINDOW + 1,), (3 * WINDOW,), (300, 211), ()], ids=str)
def test_it_is_replayed_by_its_seed_alone_in_place_or_not(shape: tuple[int, ...]) -> None:
    like = torch.zeros(shape, dtype=torch.float64)
    z = noise(like).times(1.0)
    torch.manual_seed(RANDOM.randrange(2**31))
    before = torch.random.get_rng_state()
    again = noise(like)
    assert torch.equal(again.times(1.0), z) and not torch.equal(noise(like, SEED + 1).times(1.0), z)
    assert torch.equal(torch.random.get_rng_state(), before)
    base, into = torch.ones_like(like), torch.empty_like(like)
    again.add(into, 0.5, onto=base)
    torch.testing.assert_close(into, 1 + 0.5 * z, rtol=1e-14, atol=1e-14)
    again.add(base, torch.tensor(-2.0, dtype=torch.float64))
    torch.testing.assert_close(base, 1 - 2 * z, rtol=1e-14, atol=1e-14)


def test_where_memory_is_laid_out_otherwise_the_noise_is_the_same() -> None:
    plain = torch.zeros(300, 211)
    turned = torch.zeros(211, 300).t()
    for tensor in (plain, turned):
        noise(tensor).add(tensor, 2.0)
    assert not turned.is_contiguous()
    assert torch.equal(plain, turned)


def test_adding_noise_never_holds_as_much_as_the_tensor() -> None:
    large = torch.zeros(2_000_000)
    with LiveBytes() as adding:
        noise(large).add(large, 1.0)
    with LiveBytes() as making:
        noise(large).times(1.0)
    assert 0 < adding.peak < 0.05 * large.nbytes < large.nbytes <= making.peak
