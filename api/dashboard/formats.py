"""Figures as a person reads them. ``static/formats.js`` says the same in the browser."""

import math

NOTHING = "–"
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def figure(value: object) -> str:
    """Four significant digits; very large and very small ones with an exponent."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return NOTHING if value is None else str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == int(value) and abs(value) < 1_000_000:
        return _grouped(str(int(value)))
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return _grouped(f"{value:.{digits}f}")


def prefixed(value: float | None, unit: str) -> str:
    """With a decimal prefix: 1.23 GFLOP."""
    if value is None:
        return NOTHING
    step = 0 if value == 0 else max(0, min(len(_PREFIXES) - 1, math.floor(math.log10(abs(value)) / 3)))
    return f"{figure(value / 1000**step)} {_PREFIXES[step]}{unit}"


def size(value: float | None) -> str:
    """Bytes in binary units."""
    if value is None:
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def duration(seconds: float | None) -> str:
    """52 ms, 8.1 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{max(0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def share(value: float | None) -> str:
    """Per cent."""
    if value is None or not math.isfinite(value):
        return figure(value)
    return f"{100 * value:.1f} %"


def moment(rfc3339: str | None) -> str:
    """A time to the second, in UTC; the browser shows it in the reader's own zone."""
    return NOTHING if rfc3339 is None else rfc3339[:19].replace("T", " ") + " UTC"


def words(code: str) -> str:
    """An identifier as words."""
    return code.replace("_", " ")


def _grouped(text: str) -> str:
    whole, dot, fraction = text.partition(".")
    sign, digits = ("−", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}".replace(",", "\u202f") + dot + fraction
