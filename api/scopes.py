"""Which scope a route asks for: one rule and its exceptions. What no rule knows is refused to everybody."""

from collections.abc import Mapping

from api.callers import Scope

READING = frozenset({"GET", "HEAD"})

PUBLIC = frozenset(
    {
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/version"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/errors/{slug}"),
        ("GET", "/static/{name}"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("POST", "/logout"),
    }
)
"""What anybody may ask for: nothing here is anybody's."""

PAGES = frozenset({"/", "/jobs/{job_id}", "/comparisons", "/comparisons/{comparison_id}"})
"""A person who comes here without a session is shown the way to sign in."""

EXCEPTIONS: Mapping[tuple[str, str], Scope] = {
    ("GET", "/metrics"): "read",
    ("GET", "/v1/api-keys"): "admin",
    ("POST", "/v1/api-keys"): "admin",
    ("DELETE", "/v1/api-keys/{key_id}"): "admin",
    ("GET", "/v1/audit"): "admin",
}
"""Where the rule does not do. A higher ``priority`` is asked for by PATCH of a job: its handler asks for admin."""


def is_public(method: str, path: str) -> bool:
    """Whether no key is asked for. ``path`` is the route's own, with its parameters in braces."""
    return (method, path) in PUBLIC


def scope_of(method: str, path: str) -> Scope | None:
    """The scope that a route asks for; None: nobody has said, so nobody may."""
    if (method, path) in EXCEPTIONS:
        return EXCEPTIONS[method, path]
    if path in PAGES:
        return "read" if method in READING else None
    if path.startswith("/v1/"):
        return "read" if method in READING else "write"
    return None
