"""Where a method comes from, and what was measured with it: the catalog's plain facts."""

from typing import Any

from specs.kinds import Spec


class Paper(Spec):
    """A publication. ``url`` is its page of record."""

    title: str
    authors: str
    year: int
    url: str


class ReferenceResult(Spec):
    """A figure to compare one's own run with: setting, value, and who measured it."""

    setting: str
    metric: str
    value: float
    source: str


JobBody = dict[str, Any]
"""A whole job as a client may post it: one line of JSON Schema would say no more."""
