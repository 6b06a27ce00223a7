"""Where a webhook may be sent: hosts that the operator allows, at addresses that are nobody's inside.

A name is resolved once. Every answer is judged, and the connection goes to the one that was: a name that means
something else a moment later (DNS rebinding) gains nothing.
"""

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from specs.webhooks import URL_FORM, URL_PATTERN
from store.settings import Settings

_REFUSED_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "64:ff9b::/96",  # NAT64: reaches any IPv4 address, private ones too
        "64:ff9b:1::/48",
        "2002::/16",  # 6to4, the same
        "2001::/32",  # Teredo, the same
        "192.88.99.0/24",
        "168.63.129.16/32",  # public by its number, and a cloud's metadata service
        "100.100.100.200/32",
    )
)


class Forbidden(Exception):
    """This service does not send there. ``code`` says why, ``allowed`` what it would take."""

    def __init__(self, code: str, message: str, *, allowed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.allowed = list(allowed)


@dataclass(frozen=True)
class Destination:
    """An address that was judged: connect there, whatever the name means by now."""

    host: str
    address: str
    port: int
    target: str
    """Path and query."""
    encrypted: bool = True


def destination(settings: Settings, url: str) -> Destination:
    """Where ``url`` may be sent to; raises Forbidden. It resolves the name, and connects to nothing."""
    if (local := _of_a_test(settings, url)) is not None:
        return local
    if re.fullmatch(URL_PATTERN, url) is None:
        raise Forbidden("bad_webhook_url", f"a webhook's address looks like {URL_FORM}", allowed=[URL_FORM])
    authority, slash, rest = re.fullmatch(r"https://([^/?]+)([/?]?)(.*)", url).groups()  # type: ignore[union-attr]
    host, _, port = authority.partition(":")
    _check_allowed(settings, host)
    target = f"/?{rest}" if slash == "?" else f"/{rest}"
    return Destination(host, _judged(host, int(port or 443)), int(port or 443), target)


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody on the internet could call, and no way around that."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in _REFUSED_NETWORKS if network.version == ip.version):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _check_allowed(settings: Settings, host: str) -> None:
    allowed = settings.allowed_webhook_hosts
    if not allowed:
        raise Forbidden("webhooks_off", "this service sends no webhooks: AFTERPROP_WEBHOOK_HOSTS allows no host")
    if host not in allowed:
        raise Forbidden("host_not_allowed", f"this service sends no webhooks to {host!r}", allowed=sorted(allowed))


def _judged(host: str, port: int) -> str:
    """One address of the host, after all of them were found to be public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Forbidden("host_not_resolved", f"the name {host!r} has no address") from None
    addresses = [str(answer[4][0]) for answer in found]
    if not addresses or not all(is_public(address) for address in addresses):
        # Which address it is stays unsaid: who asks would learn names of the inside.
        raise Forbidden("private_address", f"{host!r} does not lead to a public address", allowed=["a public host"])
    return addresses[0]


def _of_a_test(settings: Settings, url: str) -> Destination | None:
    """The one receiver on loopback that a test may name, without encryption."""
    allowed = settings.unsafe_webhook_loopback_for_tests
    found = re.fullmatch(r"http://(127\.0\.0\.1):([0-9]{1,5})(/[a-z0-9/]*)", url)
    if allowed is None or found is None or f"{found[1]}:{found[2]}" != allowed:
        return None
    return Destination(found[1], found[1], int(found[2]), found[3], encrypted=False)
