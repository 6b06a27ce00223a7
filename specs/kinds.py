"""The base of everything a client may send, and the two dynamic imports of the house."""

import pkgutil
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Spec(BaseModel):
    """A frozen, strict description: unknown fields and silent conversions are refused.

    A subclass that belongs to a union carries ``kind: Literal[...]``. The kind is the name of the file
    that implements it, and the class is the spec's name without "Spec".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def unfit(pointer: str, message: str, allowed: Any) -> PydanticCustomError:
    """A field that does not go with the others of its section: where it stands, and what would have gone."""
    return PydanticCustomError("unfit_field", "{reason}", {"reason": message, "pointer": pointer, "allowed": allowed})


def implementation(spec: Spec, package: str) -> type:
    """The class that implements ``spec``: ``{"kind": "forward_forward"}`` in ``learners`` is
    ``learners.forward_forward.ForwardForward``.

    The kind comes from a ``Literal``, so no text of a client reaches an import.
    """
    kind: str = spec.kind  # type: ignore[attr-defined]
    module = import_module(f"{package}.{kind}")
    found: type = getattr(module, type(spec).__name__.removesuffix("Spec"))
    return found


def on_the_menu(package: str, *, first: str) -> tuple[Any, ...]:
    """The spec classes of all files of ``package``: ``first``, which stands in where nothing was chosen, then by name.

    File ``forward_forward`` holds ``ForwardForwardSpec``, whose kind is ``forward_forward``.
    """
    kinds = [module.name for module in pkgutil.iter_modules(import_module(package).__path__)]
    kinds.sort(key=lambda kind: (kind != first, kind))
    return tuple(getattr(import_module(f"{package}.{kind}"), _class_name(kind)) for kind in kinds)


def _class_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_")) + "Spec"
