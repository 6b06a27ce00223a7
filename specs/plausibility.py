"""The plausibility card of a learning rule: what a step of its first layer was measured to need.

The cards are measured by ``python -m benchmarks.plausibility`` and kept beside this file; nothing in them is claimed.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from specs.kinds import Spec
from specs.papers import JobBody

CARDS = Path(__file__).with_suffix(".json")


class PlausibilityCard(Spec):
    """Each row is an experiment on the update of the first layer that the rule trains, in a small network."""

    settings: JobBody = Field(description="fields of the rule over its defaults")
    network: str = Field(description="kind of the network")
    layer: str = Field(description="the layer whose update was looked at")
    backward_graph: Literal["none", "own_block", "other_blocks"] = Field(
        description="whose weights the derivative that gave the update depends on: none, no derivative was taken; "
        "own_block, the layer's own and what serves it; other_blocks, those of other layers too"
    )
    weight_transport: bool = Field(
        description="whether the update changes when errors come back through other matrices than the forward weights"
    )
    depends_on_weights_above: bool = Field(
        description="whether the update changes when the forward weights above do, activities and errors with them"
    )
    update_locked: bool = Field(description="whether the layer has to wait until the last one has run forward")
    forward_passes: float = Field(description="work of a step in matrices, in plain forward passes")
    needs_labels: bool = Field(description="whether the update changes when labels change")
    signed_error: bool = Field(description="whether the negated task loss negates the update")


@lru_cache(maxsize=1)
def measured_cards() -> dict[str, list[PlausibilityCard]]:
    """The kept cards by kind, the defaults' first; a rule that was never measured has none."""
    kept = json.loads(CARDS.read_text())
    return {kind: [PlausibilityCard.model_validate(card) for card in cards] for kind, cards in kept.items()}
