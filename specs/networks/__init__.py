"""The networks on the menu: one file per kind, found by its name. A new file is a new network.

A network is a chain of blocks and a linear read-out; every learner that fits trains it. ``NetworkSpec`` is the union of
all of them, told apart by ``kind``.
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from specs.architecture import Architecture
from specs.kinds import on_the_menu

NETWORK_SPECS: tuple[type[Architecture], ...] = on_the_menu(__name__, first="mlp")

if TYPE_CHECKING:
    NetworkSpec = Architecture
else:
    NetworkSpec = Annotated[Union[NETWORK_SPECS], Field(discriminator="kind")]  # noqa: UP007 - made from a tuple
