"""What every learning rule on the menu declares about itself; the catalog, the checks and the loop read it."""

from abc import ABC
from typing import ClassVar, Literal

from specs.kinds import Spec
from specs.papers import JobBody, Paper, ReferenceResult
from specs.signature import TaskName

Need = Literal["hidden_block", "plain_block", "synapse", "recurrent_block", "batch_free"]
CLASSES: frozenset[TaskName] = frozenset({"classification", "sequence_classification"})
ANY_TASK: frozenset[TaskName] = CLASSES | {"regression"}


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
    hands_error: ClassVar[bool] = False
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]]
    uses_backward: ClassVar[Literal["none", "block", "global"]]
    inside_block: ClassVar[Literal["exact", "none"]] = "exact"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]]
    compute_class: ClassVar[str]
    example: ClassVar[JobBody]
    reference_result: ClassVar[ReferenceResult | None] = None

    def extra_inputs(self, task: TaskName, outputs: int) -> int:  # noqa: ARG002
        """Features or channels that the rule appends to every input."""
        return 0
