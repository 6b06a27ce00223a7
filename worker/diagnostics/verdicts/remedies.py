"""Changes of a job that several verdicts name. What does not fit the job, or changes nothing, is left out later."""

import math
from collections.abc import Iterator
from typing import Final

from specs.architecture import BOUNDED, Activation
from specs.optimizers import SgdSpec
from specs.verdicts import Remedy, replacing
from worker.diagnostics.verdicts.history import Case, History
from worker.diagnostics.verdicts.measures import largest_ratio

GOOD_RATIO: Final = 0.02
"""What first steps move weights by where gradient descent goes well: the suite's healthy runs; later it is nearer the
1e-3 of the CS231n notes."""
GOOD_ADAPTIVE_RATIO: Final = 0.06
"""The same of optimizers that divide by the gradient's size: their first step is the learning rate in every entry."""
SHRINKING: Final[frozenset[Activation]] = BOUNDED | {"step"}
"""Their slopes let a signal fade; of the others ReLU is no cure."""
UNUSUAL: Final = 10.0
"""Times above or below its default at which a rule's own scale is put back before anything else."""


def good_ratio(case: Case) -> float:
    """What first steps of this optimizer should move weights by."""
    return GOOD_RATIO if isinstance(case.optimizer, SgdSpec) else GOOD_ADAPTIVE_RATIO


def rate_for(case: Case, ratio: float) -> float:
    """The learning rate, to one digit, whose steps move weights as they should, if they now move them by ``ratio``."""
    if not ratio > 0:
        return 10 * case.learning_rate
    wanted = case.learning_rate * good_ratio(case) / ratio
    return float(f"{wanted:.0e}") if math.isfinite(wanted) and wanted > 0 else case.learning_rate / 10


def slower(history: History) -> Remedy:
    """A tenth of the learning rate, or less where the largest step so far asks for less."""
    case = history.case
    lr = min(case.learning_rate / 10, rate_for(case, largest_ratio(history)))
    return other_rate(case, "Lower the learning rate: steps of a few hundredths of the weights, or a tenth.", lr)


def usual_scale(case: Case, *, above: bool) -> Iterator[Remedy]:
    """The default of a rule's own scale of what its blocks are told, where it is far above or below that."""
    fields = type(case.rule).model_fields
    for name in ("feedback_scale", "projection_scale", "hebbian_rate"):
        if name not in fields:
            continue
        default, now = fields[name].default, getattr(case.rule, name)
        if now > UNUSUAL * default if above else now < default / UNUSUAL:
            yield replacing(f"Put {name} back to its usual value.", {f"/learner/{name}": default})


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
    if getattr(case.spec.network, "activation", None) in SHRINKING:
        yield replacing(
            "Use ReLU, whose slope does not shrink the signal, with weights drawn for it.",
            {"/network/activation": "relu", "/network/init": "kaiming"},
        )
        yield replacing("Use ReLU, whose slope does not shrink the signal.", {"/network/activation": "relu"})
    yield replacing("Normalise every layer.", {"/network/norm": "layer"})
    yield replacing("Draw the first weights after He et al.", {"/network/init": "kaiming"})


def clipping(case: Case, norm: float) -> Iterator[Remedy]:
    """Clipping of the gradient at this norm, to one digit; nothing where it is no number to clip at."""
    if math.isfinite(norm) and norm > 0:
        limit = float(f"{norm:.0e}")
        yield replacing(f"Clip the gradient's norm at {limit:g}.", {f"{case.optimizer_pointer}/clip_grad_norm": limit})
