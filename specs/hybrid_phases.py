"""What a hybrid is made of: phases, each of segments over each other or of a mixture. The rules in it stand alone."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from specs.architecture import MAX_BLOCKS, Architecture
from specs.kinds import Spec
from specs.optimizers import OptimizerSpec
from specs.phases import PhaseEnd
from specs.rule import Held, Misfit

if TYPE_CHECKING:
    from specs.rule import Rule as SingleRuleSpec

READOUT = "readout"
WHOLE_NETWORK = {"blocks": "0-", "learner": {"kind": "backprop"}}
NOT_EMPTY: JsonDict = {"minItems": 1}


class PartSpec(Spec):
    """One rule of a mixture."""

    weight: float = Field(default=1.0, ge=0, le=1e6, description="factor on what the rule writes")
    learner: "SingleRuleSpec" = Field(description="any rule but a hybrid")


class SegmentSpec(Spec):
    """A range of blocks under one rule. The last segment has the read-out too."""

    blocks: str = Field(
        default="0-",
        pattern=r"^([0-9]{1,3}|[0-9]{1,3}-[0-9]{0,3}|readout)$",
        description="first-last, counted from 0; first- goes on to the top; the read-out belongs to the last segment, "
        "which may be the read-out alone: readout",
    )
    learner: "SingleRuleSpec" = Field(description="any rule but a hybrid")
    handover: Literal["error", "target", "none"] = Field(
        default="none",
        description="what it hands to the segment below: the error of its input; a target for it (input minus error, "
        "for rules that need a loss with a minimum); or none: the segment below learns the task by itself, under a "
        "linear read-out of its own that is thrown away",
    )

    def first(self, depth: int) -> int:
        """The first block, where the network has ``depth`` of them."""
        return depth if self.blocks == READOUT else int(self.blocks.split("-")[0])

    def last(self, depth: int) -> int:
        """The last block; below ``first`` where the segment is the read-out alone."""
        if self.blocks == READOUT or self.blocks.endswith("-"):
            return max(depth, self.first(depth)) - 1
        return int(self.blocks.split("-")[-1])


Segments = Annotated[tuple[SegmentSpec, ...], Field(strict=False, max_length=MAX_BLOCKS, json_schema_extra=NOT_EMPTY)]
Mix = Annotated[tuple[PartSpec, ...], Field(strict=False, max_length=16, json_schema_extra=NOT_EMPTY)]
MIX = "rules whose gradients are added, each times its weight; the first one predicts"


class PhaseSpec(Spec):
    """A stretch of training: segments over each other, or a mixture."""

    until: PhaseEnd | None = Field(
        default=None, description="when the next phase begins; the last one goes on to the end of training"
    )
    optimizer: OptimizerSpec | None = Field(default=None, description="of this phase; null is the job's")
    segments: Segments | None = Field(default=None, description="from the input up")
    mix: Mix | None = Field(default=None, description=f"instead of segments: {MIX}")

    @model_validator(mode="after")
    def _holds_together(self) -> "PhaseSpec":
        if (self.segments is None) == (self.mix is None):
            raise wrong("segments_or_mix", "", "a phase has segments or a mixture", ["segments", "mix"])
        check_mix(self.mix)
        if self.segments is not None and not self.has_one_rule:
            _check_segments(self.segments)
        return self

    @property
    def has_one_rule(self) -> bool:
        """Whether one rule has the whole network."""
        return self.segments is not None and len(self.segments) == 1 and self.segments[0].blocks == "0-"

    def held(self) -> Iterator[Held]:
        """The rules of this phase."""
        for index, segment in enumerate(self.segments or ()):
            yield Held(f"/segments/{index}/learner", segment.learner)
        for index, part in enumerate(self.mix or ()):
            yield Held(f"/mix/{index}/learner", part.learner)

    def misfits(self, network: Architecture) -> Iterator[Misfit]:
        """Where the segments are not those of this network."""
        if self.segments is None or self.has_one_rule:
            return
        depth, top = network.depth, len(self.segments) - 1
        below = self.segments[top - 1].last(depth) + 1 if top else 0
        last = self.segments[top]
        if last.last(depth) != depth - 1 or last.first(depth) != below or below > depth:
            message = f"the segments must hold each of the network's {depth} blocks once, up to {depth - 1}"
            yield Misfit(f"/segments/{top}/blocks", "blocks_of_network", message)
        elif last.first(depth) == depth and "hidden_block" in last.learner.requires():
            message = "this segment is the read-out alone, and its rule trains blocks by themselves"
            yield Misfit(f"/segments/{top}/learner", "needs_hidden_block", message)


def check_mix(mix: Sequence[PartSpec] | None) -> None:
    """Refuses a mixture that cannot train on any network."""
    for index, part in enumerate(mix or ()):
        _refuse_in_place(part, f"/mix/{index}")
    if mix is not None and not any(part.weight for part in mix):
        raise wrong("no_weight", "/mix", "a mixture needs a rule with a weight above 0", "weight > 0")


def _check_segments(segments: Sequence[SegmentSpec]) -> None:
    """Refuses segments that cannot train on any network."""
    if not segments:
        raise wrong("no_segment", "/segments", "a phase needs a segment", [[WHOLE_NETWORK]])
    for index, segment in enumerate(segments):
        pointer = f"/segments/{index}"
        _refuse_in_place(segment, pointer)
        if segment.last(MAX_BLOCKS) < segment.first(MAX_BLOCKS) and segment.blocks != READOUT:
            upward = f"{segment.last(MAX_BLOCKS)}-{segment.first(MAX_BLOCKS)}"
            raise wrong("blocks_backwards", f"{pointer}/blocks", "a range of blocks goes up", [upward])
        if index and segment.learner.extra_inputs("classification", 2):
            reason = "its rule appends inputs, for which only the first block can be widened"
            raise wrong("extra_inputs_above", f"{pointer}/learner/kind", reason, "a rule without them")
    if segments[0].handover != "none":
        raise wrong("nothing_below", "/segments/0/handover", "below the first segment there is nothing", ["none"])
    if segments[0].first(MAX_BLOCKS) not in (0, MAX_BLOCKS):
        raise wrong(
            "blocks_missing", "/segments/0/blocks", "the first segment begins with block 0", [_from(0, segments[0])]
        )
    for index, (below, above) in enumerate(pairwise(segments), 1):
        _check_neighbours(below, above, index)


def _from(begins: int, segment: SegmentSpec) -> str:
    """The blocks of the segment, had it begun there."""
    last = segment.last(MAX_BLOCKS)
    return f"{begins}-" if segment.blocks.endswith("-") or last < begins else f"{begins}-{last}"


def _check_neighbours(below: SegmentSpec, above: SegmentSpec, index: int) -> None:
    pointer = f"/segments/{index}"
    begins = below.last(MAX_BLOCKS) + 1
    if below.blocks == READOUT or below.blocks.endswith("-"):
        raise wrong("blocks_overlap", f"{pointer}/blocks", "the segment below goes up to the read-out", "no segment")
    if above.blocks != READOUT and above.first(MAX_BLOCKS) != begins:
        code = "blocks_overlap" if above.first(MAX_BLOCKS) < begins else "blocks_missing"
        raise wrong(code, f"{pointer}/blocks", f"this segment must begin with block {begins}", [_from(begins, above)])
    if above.handover == "none":
        return
    if not above.learner.hands_error:
        reason = "its rule has no error of its input to hand down"
        raise wrong("hands_no_error", f"{pointer}/handover", reason, ["none"])
    if not below.learner.follows_error():
        reason = "its rule learns from labels or an objective of its own: an error from above tells it nothing"
        raise wrong("follows_no_error", f"/segments/{index - 1}/learner/kind", reason, "handover none above it")


def _refuse_in_place(piece: PartSpec | SegmentSpec, pointer: str) -> None:
    if piece.learner.in_place:
        reason = "its rule changes weights in place: it trains a whole network, in a phase of its own"
        raise wrong("in_place", f"{pointer}/learner/kind", reason, "a rule that writes gradients")


def wrong(code: str, pointer: str, message: str, allowed: Any) -> PydanticCustomError:
    """A refusal at ``pointer`` below the error's own location."""
    return PydanticCustomError(code, "{reason}", {"reason": message, "pointer": pointer, "allowed": allowed})
