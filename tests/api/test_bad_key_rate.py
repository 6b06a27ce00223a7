"""The rate of bad keys to the number: how many, from where, for how long, and who is forgotten first."""

from api import bad_keys
from api.bad_keys import BadKeys, source_of


def tired(seen: BadKeys, address: str, *, now: float) -> None:
    """So many bad keys that the next one must wait."""
    for _ in range(10):
        assert seen.wait_s(address, now=now) is None


def test_ten_in_a_minute_are_heard_and_the_wait_is_the_rest_of_the_minute() -> None:
    seen = BadKeys()
    tired(seen, "192.0.2.1", now=1000.0)
    assert seen.wait_s("192.0.2.1", now=1010.5) == 50
    assert seen.wait_s("192.0.2.1", now=1059.9) == 1
    assert seen.wait_s("192.0.2.1", now=1060.0) is None


def test_address_that_was_silent_longest_is_forgotten_first() -> None:
    seen = BadKeys()
    tired(seen, "192.0.2.1", now=0.0)
    tired(seen, "192.0.2.2", now=0.0)
    for number in range(9_998):
        seen.wait_s(f"10.0.{number >> 8}.{number & 255}", now=1.0)
    assert seen.wait_s("192.0.2.1", now=2.0) == 58, "all ten thousand are remembered, and this one spoke again"
    assert seen.wait_s("198.51.100.1", now=3.0) is None
    assert seen.wait_s("192.0.2.1", now=4.0) == 56
    assert seen.wait_s("192.0.2.2", now=5.0) is None, "it was silent longest"
    assert bad_keys.ADDRESSES == 10_000


def test_household_is_a_network_of_64_bits() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8::8000:0:0:1") != source_of("2001:db8:0:1::1")
