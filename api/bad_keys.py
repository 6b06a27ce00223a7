"""Bad keys by the address that they came from: after ten in a minute the next ones are told to wait.

The address is that of the connection. What a header says of it is not believed: it would count for somebody else.
A good key is always let in, since many people may share one address; 256 bits are not found by trying.
"""

import ipaddress
import math
import threading
from collections import OrderedDict, deque

MOST = 10
WITHIN_S = 60.0
ADDRESSES = 10_000
"""So many addresses are remembered; the one that was silent longest is forgotten first."""
V6_NETWORK = 64


class BadKeys:
    """The bad keys of the last minute, by address. Of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str | None, *, now: float) -> int | None:
        """Counts one bad key. None: still within the rate; else the seconds until the next one is heard."""
        source = source_of(address)
        with self._lock:
            seen = self._seen.setdefault(source, deque(maxlen=MOST))
            self._seen.move_to_end(source)
            if len(self._seen) > ADDRESSES:
                self._seen.popitem(last=False)
            while seen and now - seen[0] >= WITHIN_S:
                seen.popleft()
            if len(seen) >= MOST:
                return max(1, math.ceil(WITHIN_S - (now - seen[0])))
            seen.append(now)
            return None


def source_of(address: str | None) -> str:
    """What is counted as one: an IPv4 address, or an IPv6 network of one household."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, V6_NETWORK), strict=False))
    return str(found)
