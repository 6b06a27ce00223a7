"""Changes of a job that several verdicts name. What does not fit the job, or changes nothing, is left out later."""

import math
from collections.abc import Iterator
from typing import Final

from specs.verdicts import Remedy, replacing
from worker.diagnostics.verdicts.history import Case

GOOD_RATIO: Final = 1e-2
"""First steps move weights by about a hundredth where training goes well: the suite's healthy runs, and ten times the
later 1e-3 of the CS231n notes."""


def rate_for(case: Case, ratio: float) -> float:
    """The learning rate, to one digit, whose steps would be ``GOOD_RATIO`` of the weights if these are ``ratio``."""
    wanted = case.learning_rate * GOOD_RATIO / ratio
    return float(f"{wanted:.0e}") if math.isfinite(wanted) and wanted > 0 else case.learning_rate / 10


def other_rate(case: Case, title: str, lr: float) -> Remedy:
    """Another learning rate of the running phase's optimizer."""
    return replacing(title, {f"{case.optimizer_pointer}/lr": lr})


def standard_inputs() -> Remedy:
    """Features of mean 0 and deviation 1."""
    return replacing("Scale every feature to mean 0 and deviation 1.", {"/dataset/normalize": "standard"})


def better_signal(case: Case) -> Iterator[Remedy]:
    """What lets a signal through many layers."""
    if getattr(case.spec.network, "init", None) == "zeros":
        yield replacing("Draw the first weights at random: equal units stay equal.", {"/network/init": "default"})
    yield replacing(
        "Use ReLU, whose slope does not shrink the signal, with weights drawn for it.",
        {"/network/activation": "relu", "/network/init": "kaiming"},
    )
    yield replacing("Use ReLU, whose slope does not shrink the signal.", {"/network/activation": "relu"})
    yield replacing("Normalise every layer.", {"/network/norm": "layer"})
    yield replacing("Draw the first weights after He et al.", {"/network/init": "kaiming"})


def clipping(case: Case, norm: float) -> Remedy:
    """Clipping of the gradient at this norm, to one digit."""
    return replacing(
        "Clip the gradient at the norm that nine of ten steps stay below.",
        {f"{case.optimizer_pointer}/clip_grad_norm": float(f"{norm:.0e}")},
    )
