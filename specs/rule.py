"""What every learning rule on the menu declares about itself; the catalog, the checks and the loop read it."""

from abc import ABC
from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

from specs.architecture import Architecture
from specs.kinds import Spec
from specs.papers import Equivalence, JobBody, Paper, PublishedResult, ReferenceResult
from specs.phases import Phase
from specs.search import LEARNING_RATE, Range
from specs.signature import TaskName

Need = Literal[
    "hidden_block",
    "plain_block",
    "synapse",
    "recurrent_block",
    "traced_block",
    "batch_free",
    "norm_free",
    "shallow",
    "bounded_activation",
    "invertible",
]
CLASSES: frozenset[TaskName] = frozenset({"classification", "sequence_classification"})
ANY_TASK: frozenset[TaskName] = CLASSES | {"regression"}

BlockSchedule = Literal["simultaneous", "sequential", "greedy"]
SCHEDULE = (
    "which blocks learn at a step: simultaneous (all), sequential (one, in turn), greedy (each for steps_per_block "
    "steps, then frozen; the last goes on)"
)
STEPS_PER_BLOCK = "steps that each block but the last learns for, with schedule greedy"


class Held(NamedTuple):
    """A rule inside another; ``pointer`` is its place below that one's section."""

    pointer: str
    rule: "Rule"


class Misfit(NamedTuple):
    """Why these settings cannot train a network; ``pointer`` is the place below the rule's section."""

    pointer: str
    code: str
    message: str


class Rule(Spec, ABC):
    """What every learning rule declares about itself; the catalog, the checks and the loop read it."""

    title: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[Paper]
    equation: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    families: ClassVar[frozenset[str] | None] = None
    tasks: ClassVar[frozenset[TaskName]] = ANY_TASK
    optimizers: ClassVar[frozenset[str] | None] = None
    optimizer_limits: ClassVar[dict[str, float | bool]] = {}
    whole_batch: ClassVar[bool] = False
    commits: ClassVar[bool] = False
    holds_rules: ClassVar[tuple[type[Spec], ...]] = ()
    """The pieces of its spec that hold other rules, the innermost first."""
    in_place: ClassVar[bool] = False
    """Whether it steps through ``apply_seeded``: no gradient is ever stored, unless somebody asks to see it."""
    hands_error: ClassVar[bool] = False
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]]
    uses_backward: ClassVar[Literal["none", "block", "global"]]
    inside_block: ClassVar[Literal["exact", "none"]] = "exact"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]]
    compute_class: ClassVar[str]
    example: ClassVar[JobBody]
    quantities: ClassVar[dict[str, str]] = {}
    """What its updates report of themselves: name of the series -> unit. Of several of a kind each is a series too,
    with its number behind the name."""
    variants: ClassVar[tuple[JobBody, ...]] = ()
    """Fields over the defaults that change what is computed: the contract tests train each of them too."""
    published_result: ClassVar[PublishedResult | None] = None
    reference_result: ClassVar[ReferenceResult | None] = None
    """Measured here; None until it is."""
    equivalent_to: ClassVar[tuple[Equivalence, ...]] = ()
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = ()
    """What is said of the rule and was not found: a sentence each, with its source."""
    search_space: ClassVar[tuple[Range, ...]] = (LEARNING_RATE,)
    """What a comparison tunes, with as many trials as every other rule gets."""

    def requires(self) -> frozenset[Need]:
        """What these settings need of a network: ``needs``, unless an option asks for more."""
        return self.needs

    @property
    def crosses_blocks(self) -> bool:
        """Whether, with these fields, some gradient is taken through more than one block."""
        return self.uses_backward == "global"

    def extra_inputs(self, task: TaskName, outputs: int) -> int:  # noqa: ARG002
        """Features or channels that the rule appends to every input."""
        return 0

    def expected_alignment(self, *, size: int, noise: float) -> float | None:  # noqa: ARG002
        """The cosine with the true gradient that a correct estimate reaches in a layer of ``size`` parameters, whose
        squared gradient norm is 1 / ``noise`` of the whole network's. None where theory promises nothing."""
        return 1.0 if self.exactness == "exact" else None

    def follows_error(self) -> bool:
        """Whether it can follow an error handed down from a segment above, instead of the task's."""
        return self.exactness != "own_objective"

    def course(self) -> tuple[Phase, ...]:
        """The stretches of training, in order; for all rules but a hybrid there is one."""
        return (Phase(self),)

    def held(self) -> Iterator[Held]:
        """The rules that it is made of; most rules are made of none."""
        yield from ()

    def misfits(self, network: Architecture) -> Iterator[Misfit]:  # noqa: ARG002
        """What these settings ask of a network, and this one does not have, beside ``needs``."""
        yield from ()

    def trainer_of(self, group: str) -> str:  # noqa: ARG002
        """The kind of rule that trains the parameter group of this name."""
        return str(type(self).model_fields["kind"].default)
