"""The verdicts that there are, root causes first, and which of them explain which."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar, get_args

Severity = Literal["info", "warning", "error"]
VerdictCode = Literal[
    "nonfinite",
    "memory_bound",
    "lr_too_high",
    "vanishing",
]


class VerdictKind(NamedTuple):
    """A verdict of the menu.

    Its rule is class ``LrTooHigh`` (the code, in capitals) of ``worker/diagnostics/verdicts/<family>.py``; without a
    family it is found where training ends, not by a rule. ``explains``: codes that are its symptoms where both are
    found.
    """

    code: VerdictCode
    family: str | None
    summary: str
    source: str
    explains: frozenset[VerdictCode] = frozenset()


VERDICT_KINDS: tuple[VerdictKind, ...] = (
    VerdictKind(
        "memory_bound",
        None,
        "The device's memory was not enough.",
        "what the allocator said",
    ),
    VerdictKind(
        "lr_too_high",
        "learning_rate",
        "Steps are so large that they replace the weights instead of moving them.",
        "100 times the update ratio of 1e-3 that the CS231n notes advise",
        frozenset({"nonfinite", "vanishing"}),
    ),
    VerdictKind(
        "nonfinite",
        None,
        "A loss or a gradient was NaN or infinite; the step was withheld.",
        "found by replaying the step's batch",
    ),
    VerdictKind(
        "vanishing",
        "signal",
        "The training signal of the first layer is a thousand times below the largest.",
        "ratio set here; mean |g| below 1e-7 after Amazon SageMaker Debugger's VanishingGradient",
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

    A cause explains a symptom that did not end before the cause began. Ties keep the order given.
    """
    explained = [(each, _cause(each, found)) for each in found]
    return sorted(explained, key=lambda pair: (pair[1] is not None, _place(pair[0].code), pair[0].first_step))


def _cause(symptom: Found, found: Sequence[Found]) -> str | None:
    causes = [
        each.code
        for each in found
        if each.code in KIND_OF and symptom.code in KIND_OF[each.code].explains and each.first_step <= symptom.last_step
    ]
    return min(causes, key=_place, default=None)


def _place(code: str) -> int:
    """A code that an older rule left in a database comes last."""
    return _PLACE.get(code, len(_PLACE))
