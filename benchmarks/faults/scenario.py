"""A run of the suite: a healthy job, the fault that is put into it, and what must be said of it."""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

Body = dict[str, Any]
Half = Literal["tuning", "scoring"]

NETWORK: Final = "network"
"""How the layer is written of a fault that is of no layer."""
ANYWHERE: Final = "*"


@dataclass(frozen=True)
class Fault:
    """A change of a healthy job that spoils it.

    ``codes``: the verdicts any of which names it. ``layer``: patterns of the layers any of which is right; ``*`` asks
    for none. ``visible_from``: the step from which the fault can be measured at all.
    """

    base: str
    name: str
    change: Body
    codes: tuple[str, ...]
    layer: tuple[str, ...] = (ANYWHERE,)
    visible_from: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Scenario:
    """One run. ``fault`` is None where it is healthy; ``job`` is the healthy job all the same."""

    name: str
    job: Body
    fault: Fault | None = None
    posted: Body = field(init=False, repr=False)

    def __post_init__(self) -> None:
        change = {} if self.fault is None else self.fault.change
        object.__setattr__(self, "posted", laid_over(self.job, change))

    @property
    def half(self) -> Half:
        """Fixed by the name alone, so nobody chooses what is tuned on and what is scored."""
        return "scoring" if hashlib.sha256(self.name.encode()).digest()[0] % 2 else "tuning"

    def is_right_layer(self, layer: str | None) -> bool | None:
        """None where any layer is right."""
        assert self.fault is not None
        if self.fault.layer == (ANYWHERE,):
            return None
        return any(fnmatchcase(layer or NETWORK, pattern) for pattern in self.fault.layer)


def laid_over(job: Mapping[str, Any], change: Mapping[str, Any]) -> Body:
    """The job with these fields changed; a section of another kind, and a list, replaces what was there."""
    changed = copy.deepcopy(dict(job))
    for name, value in change.items():
        before = changed.get(name)
        same_kind = (
            isinstance(value, dict) and isinstance(before, dict) and value.get("kind") in (None, before.get("kind"))
        )
        changed[name] = laid_over(before, value) if same_kind and isinstance(before, dict) else copy.deepcopy(value)
    return changed


def faulty(bases: Mapping[str, Body], faults: Iterable[Fault]) -> Iterator[Scenario]:
    """A scenario of each fault, in its base's job."""
    for fault in faults:
        yield Scenario(f"{fault.base}/{fault.name}", seeded(bases[fault.base], fault.seed), fault)


def healthy(bases: Mapping[str, Body], *, seeds: int) -> Iterator[Scenario]:
    """Every base under several seeds; none of them is a faulty run's own."""
    for base, job in bases.items():
        for seed in range(1, seeds + 1):
            yield Scenario(f"{base}/seed {seed}", seeded(job, seed))


def seeded(job: Mapping[str, Any], seed: int) -> Body:
    """The job under another seed."""
    return laid_over(job, {"training": {"seed": seed}})
