"""Webhooks: where a project hears of what happened."""

from typing import Final, Literal, get_args

from pydantic import Field

from specs.kinds import Spec

EventType = Literal["job.succeeded", "job.failed", "job.cancelled", "job.expired", "comparison.finished"]
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
PORTS: Final = (443, 8443)
URL_FORM: Final = "https://hooks.example.org/path?query, on port 443 or 8443"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LAST_LABEL = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"  # a number here makes an address of the host: 127.1, 0x7f.1
URL_PATTERN: Final = (
    rf"^https://(?:{_LABEL}\.)+{_LAST_LABEL}(?::(?:443|8443))?"
    r"(?:[/?][A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?$"
)
"""What is not of this form is refused, so no two readers of an address can understand it differently: no user, no
fragment, no backslash, no space, no letter beyond ASCII, no number for a host."""


class WebhookSpec(Spec):
    """An address that is told when jobs and comparisons end, signed by Standard Webhooks."""

    url: str = Field(
        max_length=1000,
        description="https, a host that this service allows, port 443 or 8443",
        json_schema_extra={"pattern": URL_PATTERN},
    )
    events: tuple[EventType, ...] = Field(
        default=EVENT_TYPES, strict=False, min_length=1, max_length=len(EVENT_TYPES), description="what it is told of"
    )
