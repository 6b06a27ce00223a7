"""To whom the service may speak: to this machine openly, to others for a key alone."""

import ipaddress
import os
from collections.abc import Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import keys
from store.database import connect
from store.settings import Settings

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
PUBLISHED = "loopback-published"
ANY_HOST = "*"

_log = structlog.get_logger(__name__)


def asks_for_keys(settings: Settings) -> bool:
    """Keys are asked for where AFTERPROP_KEYS says so, and wherever others than this machine can come.

    They can on any address but loopback, unless its port is published on loopback alone.
    """
    return settings.keys == "required" or not (is_loopback(settings.host) or settings.open == PUBLISHED)


def refusal_to_start(settings: Settings, *, environment: Mapping[str, str]) -> str | None:
    """Why the service must not start with these settings, or None."""
    if not is_loopback(settings.host) and settings.open != PUBLISHED and not _anybody_could_enter(settings):
        return (
            f"Refused to start: on {settings.host} the API is open to the network, and there is no key yet, or the "
            "database does not answer. Make one first: afterprop keys create (or python -m api.keys create). Or bind "
            f"to 127.0.0.1, or, where the port is published on 127.0.0.1 only, set AFTERPROP_OPEN={PUBLISHED}."
        )
    if ANY_HOST in _named(settings) and not asks_for_keys(settings):
        return "Refused to start: AFTERPROP_ALLOWED_HOSTS=* without keys would let any web page use the service."
    if settings.unsafe_webhook_loopback_for_tests is not None and not is_loopback(settings.host):
        return (
            "Refused to start: AFTERPROP_UNSAFE_WEBHOOK_LOOPBACK_FOR_TESTS lets whoever reaches the API send requests "
            f"to this machine, and {settings.host} can be reached from others. Unset it."
        )
    if os.geteuid() == 0:
        if environment.get("AFTERPROP_CONTAINER"):
            return "Refused to start: root inside a container. Run the image as its own user."
        _log.warning("running_as_root", advice="run the service as a user of its own")
    return None


def trusted_hosts(settings: Settings) -> frozenset[str]:
    """The names by which the service may be called, against DNS rebinding: loopback ones and those of the setting."""
    return LOOPBACK_NAMES | _own(settings.host.lower()) | _named(settings)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _own(host: str) -> frozenset[str]:
    """The address that it is bound to. 0.0.0.0 is no name: browsers reach this machine by it."""
    try:
        return frozenset() if ipaddress.ip_address(host.strip("[]")).is_unspecified else frozenset({host.strip("[]")})
    except ValueError:
        return frozenset({host})


def _named(settings: Settings) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip())


def _anybody_could_enter(settings: Settings) -> bool:
    database = connect(settings.resolved_database_url)
    try:
        with database.reading() as session:
            return keys.any_stands(session)
    except SQLAlchemyError:
        return False
    finally:
        database.dispose()
