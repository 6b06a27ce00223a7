"""Who calls: the project whose things a request may see, and what it may do with them."""

from dataclasses import dataclass
from typing import Literal, get_args

from store.tables import DEFAULT_PROJECT

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Each one holds those before it."""


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request. ``key_id`` is None where no key was asked for."""

    project: str
    scopes: frozenset[str]
    key_id: str | None


EVERYBODY = Caller(DEFAULT_PROJECT, frozenset(SCOPES), None)
"""The caller of a service that asks for no keys."""


def with_lower(scopes: list[str]) -> frozenset[str]:
    """The scopes of a key with those that they hold."""
    highest = max((SCOPES.index(scope) for scope in SCOPES if scope in scopes), default=-1)
    return frozenset(SCOPES[: highest + 1])
