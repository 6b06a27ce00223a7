"""To whom the service may speak: it has no keys yet, so it answers on loopback alone."""

import ipaddress
import os
from collections.abc import Mapping

import structlog

from store.settings import Settings

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
PUBLISHED = "loopback-published"

_log = structlog.get_logger(__name__)


def refusal_to_start(settings: Settings, *, environment: Mapping[str, str]) -> str | None:
    """Why the service must not start with these settings, or None."""
    if not is_loopback(settings.host) and settings.open != PUBLISHED:
        return (
            f"Refused to start: the API would be open to everybody on {settings.host}, since it asks for no keys. "
            f"Bind it to 127.0.0.1, or, where its port is published on 127.0.0.1 only, set AFTERPROP_OPEN={PUBLISHED}."
        )
    if os.geteuid() == 0:
        if environment.get("AFTERPROP_CONTAINER"):
            return "Refused to start: root inside a container. Run the image as its own user."
        _log.warning("running_as_root", advice="run the service as a user of its own")
    return None


def trusted_hosts(settings: Settings) -> frozenset[str]:
    """The names by which the service may be called: loopback ones, against DNS rebinding."""
    return LOOPBACK_NAMES | ({settings.host.lower()} if is_loopback(settings.host) else set())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
