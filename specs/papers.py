"""Where a method comes from, and what was measured with it: the catalog's plain facts."""

from typing import Any

from specs.kinds import Spec


class Paper(Spec):
    """A publication. ``url`` is its page of record."""

    title: str
    authors: str
    year: int
    url: str


class PublishedResult(Spec):
    """A figure from the literature: setting, value, and where it stands."""

    setting: str
    metric: str
    value: float
    source: str


class ReferenceResult(Spec):
    """A figure measured here, to compare one's own run with; ``command`` measures it again."""

    setting: str
    metric: str
    value: float
    machine: str
    command: str


class Equivalence(Spec):
    """Settings with which a rule computes what another rule computes: a control, not an alternative."""

    settings: dict[str, Any]
    to: str
    because: str


JobBody = dict[str, Any]
"""A whole job as a client may post it: one line of JSON Schema would say no more."""
