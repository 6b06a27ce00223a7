"""The learning rules on the menu: one file per kind, found by its name. A new file is a new rule.

``LearnerSpec`` is the union of all of them, told apart by ``kind``.
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from specs.kinds import on_the_menu
from specs.rule import Rule

LEARNER_SPECS: tuple[type[Rule], ...] = on_the_menu(__name__, first="backprop")

if TYPE_CHECKING:
    LearnerSpec = Rule
else:
    LearnerSpec = Annotated[Union[LEARNER_SPECS], Field(discriminator="kind")]  # noqa: UP007 - made from a tuple

_SINGLE = tuple(spec for spec in LEARNER_SPECS if not spec.holds_rules)
_NAMES = {"SingleRuleSpec": Annotated[Union[_SINGLE], Field(discriminator="kind")]}  # noqa: UP007 - made from a tuple

for _spec in LEARNER_SPECS:
    # A rule that holds other rules names their union before it exists; such rules are not held themselves.
    for _part in _spec.holds_rules:
        _part.model_rebuild(force=True, _types_namespace=_NAMES)
    _spec.model_rebuild(force=bool(_spec.holds_rules))
