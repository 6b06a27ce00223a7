"""What the arrays ``x``, ``y`` and ``dt`` of a file must be to each other."""

from collections.abc import Mapping
from typing import Final

from specs.uploads.findings import Contents, Unfit

ALLOWED: Final = {"x": "biuf", "y": "biufU", "dt": "biuf"}
"""The kinds of numbers (NumPy's letters) that each may hold; labels may be text."""


def contents(arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> Contents:
    """Rows and shape of the arrays, given as name -> kind and shape. Raises ``Unfit``."""
    missing = {"x", "y"} - arrays.keys()
    if missing:
        raise Unfit("missing_array", f"the file must hold x and y; {' and '.join(sorted(missing))} is not there")
    for name, (kind, shape) in arrays.items():
        if kind not in ALLOWED[name]:
            raise Unfit("wrong_dtype", f"{name} holds {kind}: numbers are needed")
        if not shape or 0 in shape[1:]:
            raise Unfit("wrong_shape", f"{name} has the shape {list(shape)}")
    x, y = arrays["x"][1], arrays["y"][1]
    if len(x) not in (2, 3, 4):
        raise Unfit("wrong_shape", f"x has the shape {list(x)}; [N,D], [N,T,I] or [N,C,H,W] is needed")
    if len(y) not in (1, 2) or y[0] != x[0]:
        raise Unfit("wrong_shape", f"y has the shape {list(y)}; {x[0]} rows are needed")
    if "dt" in arrays and (len(x) != 3 or arrays["dt"][1] != x[:2]):
        raise Unfit("wrong_shape", f"dt has the shape {list(arrays['dt'][1])}; {list(x[:2])} is needed")
    if x[0] < 2:
        raise Unfit("too_few_rows", f"the file has {x[0]} row(s); at least two are needed")
    return Contents(rows=x[0], input_shape=list(x[1:]))
