"""Where the first number that is not finite stands: the step that was withheld, run again and looked at closely."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from learners.build import Training
from learners.context import merged
from learners.learner import Batch, ParameterGroup
from worker.diagnostics.activities import listening

TensorRole = Literal["input", "weight", "output", "gradient", "loss"]
_BACKWARD: Final = re.compile(r"Function '(\w+)' returned nan")


@dataclass(frozen=True)
class Origin:
    """The first tensor of a step, in the order of its computation, that is not finite.

    ``row`` is the first row of the batch, counted from 0, where it is not; None where rows do not tell. ``part`` names
    it closer: which of the data, which parameter, which function's backward pass. ``kind``: nan or inf.
    """

    layer: str
    tensor: TensorRole
    kind: Literal["nan", "inf"] = "nan"
    row: int | None = None
    part: str | None = None

    @property
    def what(self) -> str:
        return "the loss" if self.tensor == "loss" else f"the {self.tensor}"


@dataclass(frozen=True)
class Step:
    """A step as it was trained: its batch, its number counted from 0, how it was split, its arithmetic."""

    batch: Batch
    number: int
    micro_batch_size: int | None
    autocast: Callable[[], AbstractContextManager[None]]


def find_origin(training: Training, step: Step, gradient_layers: Sequence[str], *, replay: bool) -> Origin:
    """The origin in step ``step``, whose weights are still those before it.

    Data, then weights and outputs in the order of the forward pass, then the loss, then what is written on the way
    back: of several layers the highest, from where it came down. ``replay`` lets the learner update once more, without
    a step of the optimizers; its own state may have moved on afterwards. ``gradient_layers`` are those that the watch
    has already seen. One forward pass, and at most two updates.
    """
    found = _in_data(training, step.batch) or _in_forward_pass(training, step)
    if found is None and replay:
        found = _in_update(training, step)
    if found is None:
        layer = _highest(training, gradient_layers)
        found = Origin(training.network.names[-1], "loss") if layer is None else Origin(layer, "gradient")
    return found


def _in_data(training: Training, batch: Batch) -> Origin | None:
    for part, tensor in (("features", batch.x), ("time_steps", batch.dt), ("targets", batch.y)):
        if tensor is not None and (kind := _kind(tensor)):
            return Origin(training.network.names[0], "input", kind, _first_row(tensor), part)
    return None


@torch.no_grad()
def _in_forward_pass(training: Training, step: Step) -> Origin | None:
    """The pass of the step: same rows, same masks, statistics untouched. A bad weight goes before what it spoils."""
    network = training.network
    output: Origin | None = None
    loss: Origin | None = None
    first_row = step.batch.rows[0]
    with step.autocast():
        for index, part in enumerate(step.batch.split(step.micro_batch_size)):
            with network.passing(step.number, index, part.rows, "batch"):
                output = output or _in_outputs(training, part, offset=part.rows[0] - first_row)
                loss = loss or _in_loss(training, part, offset=part.rows[0] - first_row)
    reached = None if output is None else network.names.index(output.layer)
    for name, stage in zip(network.names[:reached], network.stages, strict=False):
        if found := _in_weights(name, dict(stage.named_parameters())):
            return found
    if output is not None:
        stage = network.stages[network.names.index(output.layer)]
        return _in_weights(output.layer, dict(stage.named_parameters())) or output
    return _in_own_weights(training) or loss


def _in_outputs(training: Training, part: Batch, *, offset: int) -> Origin | None:
    """The first output that is not finite. In rules that settle it soon spoils those of other layers too."""
    found: list[Origin] = []

    def note(name: str, output: Tensor) -> None:
        if not found and (kind := _kind(output)):
            found.append(Origin(name, "output", kind, _first_row(output, offset)))

    with listening(training.network, note):
        training.learner.reference(part)
    return found[0] if found else None


def _in_weights(layer: str, tensors: Mapping[str, Tensor]) -> Origin | None:
    for name, tensor in tensors.items():
        if kind := _kind(tensor):
            return Origin(layer, "weight", kind, part=name)
    return None


def _in_own_weights(training: Training) -> Origin | None:
    """The learner's own tensors: those of its groups by their names, the others as a whole."""
    own = dict(training.own.named_parameters()) if training.own is not None else {}
    names = {id(tensor): name for name, tensor in own.items()}
    for group in training.groups:
        if group.name not in training.network.names:
            found = _in_weights(group.name, {names.get(id(p), str(i)): p for i, p in enumerate(group.parameters)})
            if found:
                return found
    return _in_weights("own", dict(training.own.state_dict())) if training.own is not None else None


def _in_loss(training: Training, part: Batch, *, offset: int) -> Origin | None:
    """Whether the task's loss is not finite although all scores are; the rows tell where."""
    scores_BK = training.learner.predict(part.x, part.dt)
    loss = training.task.loss(scores_BK, part.y)
    if not (kind := _kind(loss)):
        return None
    rows = range(len(part.y))
    row = next((at for at in rows if _kind(training.task.loss(scores_BK[at : at + 1], part.y[at : at + 1]))), None)
    return Origin(training.network.names[-1], "loss", kind, None if row is None else row + offset)


def _in_update(training: Training, step: Step) -> Origin | None:
    """The learner's update once more, every gradient looked at and no optimizer asked to step."""
    seen: dict[str, tuple[str, Literal["nan", "inf"]]] = {}

    def look(groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
        for group, written in zip(groups, gradients, strict=True):
            for place, gradient in enumerate(written):
                if kind := _kind(gradient):
                    seen.setdefault(group.name, (_parameter_name(training, group, place), kind))
        return False

    loss = _updated(training, step, look)
    layer = _highest(training, list(seen))
    if layer is None:
        return Origin(training.network.names[-1], "loss", kind) if (kind := _kind(loss)) else None
    name, kind = seen[layer]
    return Origin(layer, "gradient", kind, part=_backward_function(training, step) or name)


def _updated(
    training: Training, step: Step, look: Callable[[Sequence[ParameterGroup], Sequence[Sequence[Tensor]]], bool]
) -> Tensor:
    """The loss of the repeated update."""
    context = training.context
    context.read = look
    context.begin(step.number)
    with step.autocast():
        report = merged([(part.weight, training.learner.update(part, context)) for part in context.passes(step.batch)])
    context.finish()
    context.read = None
    return report.loss


def _backward_function(training: Training, step: Step) -> str | None:
    """The function whose backward pass gave the first NaN, by PyTorch's anomaly detection; None where none did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.autograd.detect_anomaly():
                _updated(training, step, _withholding)
        except RuntimeError as error:
            if match := _BACKWARD.search(str(error)):
                return match.group(1)
    return None


def _withholding(_groups: Sequence[ParameterGroup], _gradients: Sequence[Sequence[Tensor]]) -> bool:
    return False


def _highest(training: Training, layers: Sequence[str]) -> str | None:
    order = [*training.network.names, *(group.name for group in training.groups)]
    return next((name for name in reversed(order) if name in layers), None)


def _parameter_name(training: Training, group: ParameterGroup, place: int) -> str:
    wanted = group.parameters[place]
    return next((name for name, parameter in _named_parameters(training, group) if parameter is wanted), str(place))


def _named_parameters(training: Training, group: ParameterGroup) -> Iterator[tuple[str, Tensor]]:
    """Parameters by the names that they have in their layer, or in the learner's own module."""
    for name, stage in zip(training.network.names, training.network.stages, strict=True):
        if name == group.name:
            yield from stage.named_parameters()
    if training.own is not None:
        yield from training.own.named_parameters()


def _kind(tensor: Tensor) -> Literal["nan", "inf"] | None:
    if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all().item()):
        return None
    return "nan" if bool(torch.isnan(tensor).any().item()) else "inf"


def _first_row(tensor: Tensor, offset: int = 0) -> int | None:
    if tensor.dim() == 0:
        return None
    bad_B = ~torch.isfinite(tensor).flatten(1).all(dim=1) if tensor.dim() > 1 else ~torch.isfinite(tensor)
    return int(bad_B.nonzero()[0].item()) + offset
