"""The verdicts that there are, root causes first, and which of them explain which."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar, cast, get_args

Severity = Literal["info", "warning", "error"]
VerdictCode = Literal[
    "memory_bound",
    "input_scale",
    "signal_below_precision",
    "perturbation_too_large",
    "threshold_off",
    "exploding",
    "lr_too_high",
    "collapsed",
    "not_settled",
    "nonfinite",
    "lr_too_low",
    "dead_units",
    "saturated",
    "vanishing",
    "estimate_too_noisy",
    "misaligned",
    "grad_spike",
    "init_loss_off",
    "diverged",
    "overfit",
    "plateau",
]


class VerdictKind(NamedTuple):
    """A verdict of the menu.

    Its rule is class ``LrTooHigh`` (the code, in capitals) of ``worker/diagnostics/verdicts/<family>.py``; without a
    family it is found where training ends, not by a rule. ``explains``: codes that are its symptoms where both are
    found. ``late``: its first step is when its rule could tell, since it reads rare probes or waits, and not when the
    fault began.
    """

    code: VerdictCode
    family: str | None
    summary: str
    source: str
    explains: frozenset[VerdictCode] = frozenset()
    late: bool = False


def codes(text: str) -> frozenset[VerdictCode]:
    """Several codes, in one string with spaces between them."""
    wanted = text.split()
    assert set(wanted) <= set(get_args(VerdictCode)), text
    return frozenset(cast(list[VerdictCode], wanted))


VERDICT_KINDS: tuple[VerdictKind, ...] = (
    VerdictKind(
        "memory_bound",
        None,
        "The device's memory was not enough.",
        "what the allocator said",
    ),
    VerdictKind(
        "input_scale",
        "inputs",
        "The rows are far larger, far smaller or farther from zero than weights are drawn for.",
        "mean and deviation after Amazon SageMaker Debugger's CheckInputImages; limits set on half of the fault suite",
        codes(
            "exploding lr_too_high threshold_off not_settled nonfinite lr_too_low dead_units saturated "
            "vanishing misaligned grad_spike init_loss_off diverged overfit plateau"
        ),
    ),
    VerdictKind(
        "signal_below_precision",
        "estimates",
        "Differences that the rule learns from are lost in rounding.",
        "arithmetic: a rounding step of the loss, half a one of a nudged state",
        codes(
            "lr_too_high perturbation_too_large nonfinite lr_too_low dead_units vanishing estimate_too_noisy "
            "misaligned diverged plateau"
        ),
    ),
    VerdictKind(
        "perturbation_too_large",
        "estimates",
        "Losses at perturbed weights say nothing of the slope where the weights are.",
        "share of the loss, set on half of the fault suite",
        codes(
            "exploding lr_too_high lr_too_low dead_units vanishing estimate_too_noisy misaligned init_loss_off "
            "diverged plateau"
        ),
    ),
    VerdictKind(
        "threshold_off",
        "competition",
        "Goodness of real and of false rows alike is far from the threshold between them.",
        "Hinton 2022, arXiv 2212.13345: a threshold that both sides can reach; factor set here",
        codes("exploding lr_too_low dead_units vanishing plateau"),
    ),
    VerdictKind(
        "exploding",
        "signal",
        "Gradients are hundreds of times too large, or grow that much towards the input.",
        "Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063; limits set on half of the fault suite",
        codes(
            "lr_too_high nonfinite dead_units saturated vanishing misaligned grad_spike init_loss_off diverged plateau"
        ),
    ),
    VerdictKind(
        "lr_too_high",
        "learning_rate",
        "Steps are so large that they replace the weights instead of moving them.",
        "250 times the update ratio of 1e-3 that the CS231n notes advise, or one step of the weights' own size",
        codes(
            "threshold_off collapsed not_settled nonfinite lr_too_low dead_units saturated vanishing "
            "estimate_too_noisy misaligned grad_spike init_loss_off diverged overfit plateau"
        ),
    ),
    VerdictKind(
        "collapsed",
        "competition",
        "All units of a block win alike and move towards the same mean row.",
        "Journe et al. 2023, arXiv 2209.11883: competition needs few winners; limit set here",
        codes("lr_too_low dead_units plateau"),
    ),
    VerdictKind(
        "not_settled",
        "settling",
        "Inference ended before it came to rest, or above where it began.",
        "descent cannot end above its start; residual set on half of the fault suite",
        codes("nonfinite dead_units saturated vanishing misaligned diverged plateau"),
    ),
    VerdictKind(
        "nonfinite",
        None,
        "A loss or a gradient was NaN or infinite; the step was withheld.",
        "found by replaying the step's batch",
    ),
    VerdictKind(
        "lr_too_low",
        "learning_rate",
        "Steps hardly move the weights, and the loss hardly falls.",
        "a fiftieth of the update ratio of 1e-3 that the CS231n notes advise",
        codes("estimate_too_noisy plateau"),
    ),
    VerdictKind(
        "dead_units",
        "units",
        "Most units of a layer are zero on every row.",
        "share after Amazon SageMaker Debugger's DeadRelu, raised on half of the fault suite",
        codes("vanishing lr_too_low misaligned plateau"),
        late=True,
    ),
    VerdictKind(
        "saturated",
        "units",
        "Most answers of a layer are where its nonlinearity is flat.",
        "Amazon SageMaker Debugger's SaturatedActivation",
        codes("vanishing misaligned plateau"),
        late=True,
    ),
    VerdictKind(
        "vanishing",
        "signal",
        "A layer's training signal is ten thousand times below the largest, or nothing.",
        "ratio set on half of the fault suite; mean |g| below 1e-7 after Amazon SageMaker Debugger's VanishingGradient",
        codes("misaligned estimate_too_noisy plateau"),
    ),
    VerdictKind(
        "estimate_too_noisy",
        "estimates",
        "Too few directions are tried for a step to point along the gradient, and the loss stays.",
        "the expected cosine of a correct estimate; limit set here",
        codes("misaligned plateau"),
        late=True,
    ),
    VerdictKind(
        "misaligned",
        "alignment",
        "A layer's steps point against the gradient at probe after probe.",
        "Lillicrap et al. 2016: within 90 degrees of the gradient",
        codes("diverged plateau"),
        late=True,
    ),
    VerdictKind(
        "grad_spike",
        "signal",
        "Single batches have a gradient many times the usual one.",
        "Kumar, Owen, Chowdhury and Güra 2025 (ZClip), arXiv 2504.02507: outliers of the norm; factor set here",
        codes("diverged plateau"),
    ),
    VerdictKind(
        "init_loss_off",
        "loss",
        "The first loss is several times that of a guess.",
        "the CS231n notes' check of the loss at chance; factor set on half of the fault suite",
        codes("diverged"),
    ),
    VerdictKind(
        "diverged",
        "loss",
        "The loss is far above where it began.",
        "twice the first loss over a window, set here",
        codes("overfit plateau"),
    ),
    VerdictKind(
        "overfit",
        "loss",
        "The validation loss rises while the training loss has halved.",
        "ratios after Amazon SageMaker Debugger's Overfit, whose 1.10 condemned healthy runs",
    ),
    VerdictKind(
        "plateau",
        "loss",
        "A good part of the budget is spent and the loss is where it began.",
        "2 % after Amazon SageMaker Debugger's LossNotDecreasing",
    ),
)
"""Root causes first: of two verdicts the earlier one is served first."""

KIND_OF: dict[str, VerdictKind] = {kind.code: kind for kind in VERDICT_KINDS}
_PLACE: dict[str, int] = {kind.code: place for place, kind in enumerate(VERDICT_KINDS)}
assert set(KIND_OF) == set(get_args(VerdictCode))


class Found(Protocol):
    """What a finding and a stored verdict have in common."""

    @property
    def code(self) -> str: ...
    @property
    def first_step(self) -> int: ...
    @property
    def last_step(self) -> int: ...


AnyFound = TypeVar("AnyFound", bound=Found)


def root_causes_first(found: Sequence[AnyFound]) -> list[tuple[AnyFound, str | None]]:
    """Verdicts of one job in the order to read them, each with the code of the one that explains it, if any does.

    A cause does not begin after what it explains; one that is told late must only have begun before that ended. Ties
    keep the order given. Where all explain each other in a ring, the one that stands first on the list is the root.
    """
    explained = [(each, _cause(each, found)) for each in found]
    if explained and all(cause is not None for _, cause in explained):
        root = min(found, key=lambda each: (_place(each.code), each.first_step))
        explained = [(each, None if each is root else cause) for each, cause in explained]
    return sorted(explained, key=lambda pair: (pair[1] is not None, _place(pair[0].code), pair[0].first_step))


def _cause(symptom: Found, found: Sequence[Found]) -> str | None:
    causes = [each.code for each in found if each.code in KIND_OF and _explains(each, symptom)]
    return min(causes, key=_place, default=None)


def _explains(cause: Found, symptom: Found) -> bool:
    kind = KIND_OF[cause.code]
    known_by = symptom.last_step if kind.late else symptom.first_step
    return symptom.code in kind.explains and cause.first_step <= known_by


def _place(code: str) -> int:
    """A code that an older rule left in a database comes last."""
    return _PLACE.get(code, len(_PLACE))
