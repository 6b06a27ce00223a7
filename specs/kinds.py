"""The base of everything a client may send, and the one dynamic import of the house."""

from importlib import import_module

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A frozen, strict description: unknown fields and silent conversions are refused.

    A subclass that belongs to a union carries ``kind: Literal[...]``. The kind is the name of the file
    that implements it, and the class is the spec's name without "Spec".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def implementation(spec: Spec, package: str) -> type:
    """The class that implements ``spec``: ``{"kind": "forward_forward"}`` in ``learners`` is
    ``learners.forward_forward.ForwardForward``.

    The kind comes from a ``Literal``, so no text of a client reaches an import.
    """
    kind: str = spec.kind  # type: ignore[attr-defined]
    module = import_module(f"{package}.{kind}")
    found: type = getattr(module, type(spec).__name__.removesuffix("Spec"))
    return found
