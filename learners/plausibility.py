"""Biological plausibility by experiment: what the update of a rule's first layer depends on.

Each row of the card is one intervention on a small network: other matrices on the way back, other weights above, other
labels, a negated loss. What the rule claims about itself is not asked.
"""

# B = rows

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.utils.hooks import RemovableHandle

from learners.build import Training, build, build_network
from learners.feedback import through
from learners.learner import Batch, ParameterGroup
from learners.networks.synapses import LinearSynapse, Synapse
from learners.streams import Streams
from learners.task import Classification, Task
from specs.architecture import Architecture
from specs.compatibility import kind_of
from specs.optimizers import Update
from specs.plausibility import PlausibilityCard
from specs.rule import Rule
from specs.signature import DataSignature

Graph = Literal["none", "own_block", "other_blocks"]
CLASSES, ROWS = 3, 64
DIFFERS = 1e-9
"""Relative change of an update above which an intervention has reached it; all is float64."""


def measure(rule: Rule, network: Architecture, optimizer: Update, *, seed: int = 0) -> PlausibilityCard:
    """The card of ``rule`` on ``network``, which must have at least two layers. Takes some twenty steps."""
    plain = Subject(rule, network, optimizer, seed=seed)
    seen = plain.watch()
    usual = seen.update
    above = Subject(rule, network, optimizer, seed=seed)
    above.disturb_above()
    negated = Subject(rule, network, optimizer, seed=seed, task=Negated(CLASSES)).watch().update
    return PlausibilityCard(
        settings={k: v for k, v in rule.model_dump(mode="json").items() if k in rule.model_fields_set and k != "kind"},
        network=kind_of(type(network)),
        layer=plain.layer,
        backward_graph=seen.graph,
        weight_transport=_transports(rule, network, optimizer, usual, seed=seed),
        depends_on_weights_above=_differs(above.watch().update, usual),
        update_locked=seen.locked,
        forward_passes=seen.passes,
        needs_labels=_differs(Subject(rule, network, optimizer, seed=seed, labels_seed=1).watch().update, usual),
        signed_error=not _differs([-u for u in negated], usual),
    )


def _transports(rule: Rule, network: Architecture, optimizer: Update, usual: list[Tensor], *, seed: int) -> bool:
    """Whether the update follows the matrices that carry errors back while the pass forward stays as it is."""
    back, untouched, held = (Subject(rule, network, optimizer, seed=seed) for _ in range(3))
    with untouched.forward_held():
        if _differs(untouched.watch().update, usual):
            # It reads its direction off disturbed weights forward: there is no way back to alter.
            return False
    with held.forward_held():
        held.disturb_above()
        if _differs(held.watch().update, usual):
            return True
    if back.watch().graph == "none":
        return False
    with back.other_way_back():
        return _differs(back.watch().update, usual)


@final
class Negated(Task):
    """The classification task with its loss and error negated."""

    name = "negated"
    classes = True

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self._task = Classification(outputs)

    def loss(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        return -self._task.loss(scores_BK, y)

    def error(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        return -self._task.error(scores_BK, y)

    def metrics(self, scores_BK: Tensor, y: Tensor) -> dict[str, Tensor]:
        return self._task.metrics(scores_BK, y)


@final
class Seen:
    """What one step showed of the first layer."""

    def __init__(self) -> None:
        self.update: list[Tensor] = []
        self.graph: Graph = "none"
        self.locked = True
        self.passes = 0.0


@final
class Subject:
    """A rule at its first step on a small network and fixed rows."""

    def __init__(
        self,
        rule: Rule,
        network: Architecture,
        optimizer: Update,
        *,
        seed: int,
        task: Task | None = None,
        labels_seed: int = 0,
    ) -> None:
        shape = next(shape for shape in ((5,), (2, 8, 8), (4, 3)) if network.misfit(shape) is None)
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(ROWS, *shape, generator=draw, dtype=torch.float64)
        y = torch.randint(CLASSES, (ROWS,), generator=torch.Generator().manual_seed(labels_seed))
        signature = DataSignature(task="classification", input_shape=shape, outputs=CLASSES, rows_train=ROWS)
        streams = Streams(seed)
        made = build_network(network, signature, streams, learner=rule, dtype=torch.float64)
        self.training: Training = build(
            made, task or Classification(CLASSES), rule, optimizer, streams, planned_steps=1
        )
        self.batch = Batch.whole(x, y)
        self._first = self.training.groups[0]
        self.layer = self._first.name

    def disturb_above(self) -> None:
        """Adds noise to every matrix above the first layer."""
        draw = torch.Generator().manual_seed(1)
        network = self.training.network
        above = network.stages[network.names.index(self.layer) + 1 :] if self.layer in network.names else network.stages
        with torch.no_grad():
            for synapse in (module for stage in above for module in stage.modules() if isinstance(module, Synapse)):
                synapse.weight.add_(_noise(synapse.weight, draw))

    def other_way_back(self) -> AbstractContextManager[Any]:
        """Inside, errors come back through disturbed weights; the pass forward is as ever."""
        draw = torch.Generator().manual_seed(3)
        noisy = {s: s.weight.detach() + _noise(s.weight, draw) for s in self._synapses()}
        return self.training.network.synapses(partial(through, noisy))

    @contextmanager
    def forward_held(self) -> Iterator[None]:
        """Inside, products forward keep the values that the weights have now, whatever becomes of the weights."""
        synapses = self._synapses()
        for synapse in synapses:
            value = synapse.weight.detach().clone()
            synapse.operate = partial(_held, synapse.operate, synapse, value)  # type: ignore[method-assign]
            if isinstance(synapse, LinearSynapse):
                synapse.onto = partial(_added, synapse)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for synapse in synapses:
                del synapse.operate
                vars(synapse).pop("onto", None)

    def watch(self) -> Seen:
        """One step, looked at; nothing is stepped."""
        training, seen = self.training, Seen()
        ran: list[Any] = []
        training.train()
        context = training.context

        def read(groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
            for group, written in zip(groups, gradients, strict=True):
                if group.name == self.layer:
                    seen.update = [gradient.clone() for gradient in written]
                    seen.locked = training.network.stages[-1] in ran
            return False

        hooks = self._hooks(seen, ran)
        once = self._rows_of_one_pass(seen)
        ran.clear()
        context.read = read
        context.begin(0)
        with _derivatives_seen(self, seen):
            for part in context.passes(self.batch):
                training.learner.update(part, context)
            context.finish()
        for hook in hooks:
            hook.remove()
        seen.passes /= once
        return seen

    def _rows_of_one_pass(self, seen: Seen) -> float:
        """What the counter shows after a plain forward pass, which it then forgets."""
        with torch.no_grad(), self.training.network.passing(0, 0, self.batch.rows, "batch"):
            self.training.network(self._as_the_network_reads(self.batch.x), self.batch.dt)
        once, seen.passes = seen.passes, 0.0
        return once

    def _as_the_network_reads(self, x: Tensor) -> Tensor:
        """Zeros in the shape of the network's inputs, which a rule may have widened."""
        return x.new_zeros((len(x), *self.training.network.input_shape))

    def _hooks(self, seen: Seen, ran: list[Any]) -> list[RemovableHandle]:
        """Counts what goes into matrices, and notes which stages have run."""

        def count(_: Any, inputs: tuple[Any, ...]) -> None:
            seen.passes += inputs[0].numel()

        stages = self.training.network.stages
        hooks = [module.register_forward_pre_hook(count) for module in self._synapses() or stages]
        for stage in stages:
            # A rule may run a stage in pieces: its matrices tell.
            pieces: list[nn.Module] = [module for module in stage.modules() if isinstance(module, Synapse)]
            hooks += [piece.register_forward_hook(partial(_note, ran, stage)) for piece in pieces or [stage]]
        return hooks

    def _synapses(self) -> list[Synapse]:
        """All of the network's and of the learner's own copies of it."""
        own = () if self.training.own is None else self.training.own.modules()
        found = (*self.training.network.modules(), *own)
        return list(dict.fromkeys(module for module in found if isinstance(module, Synapse)))

    def graph_of(self, gradients: Sequence[Tensor]) -> Graph:
        """Whether derivatives by the first layer depend on parameters of other blocks."""
        others = [p for stage in self.training.network.stages for p in stage.parameters() if not self.holds(p)]
        others += [p for g in self.training.groups if g.block != self._first.block for p in g.parameters]
        others = [parameter for parameter in dict.fromkeys(others) if parameter.requires_grad]
        held = [gradient for gradient in gradients if gradient.requires_grad]
        if not held or not others:
            return "own_block"
        draw = torch.Generator().manual_seed(2)
        weighted = [(g * torch.randn(g.shape, generator=draw, dtype=g.dtype)).sum() for g in held]
        reached = _grad(torch.stack(weighted).sum(), others, allow_unused=True, retain_graph=True)
        return "other_blocks" if any(r is not None and bool(r.any()) for r in reached) else "own_block"

    def holds(self, tensor: Any) -> bool:
        """Whether ``tensor`` is a parameter of the first layer."""
        return any(tensor is parameter for parameter in self._first.parameters)


_grad = torch.autograd.grad


@contextmanager
def _derivatives_seen(subject: Subject, seen: Seen) -> Iterator[None]:
    """Inside, every reverse-mode derivative by the first layer is looked at, whoever takes it."""

    def looking(outputs: Any, inputs: Any, *rest: Any, **options: Any) -> tuple[Tensor, ...]:
        wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        own = [index for index, tensor in enumerate(wanted) if subject.holds(tensor)]
        if not own:
            usual: tuple[Tensor, ...] = _grad(outputs, inputs, *rest, **options)
            return usual
        found: tuple[Tensor, ...] = _grad(
            outputs, inputs, *rest, **{**options, "create_graph": True, "retain_graph": True}
        )
        graph = subject.graph_of([found[index] for index in own if found[index] is not None])
        if seen.graph != "other_blocks":
            seen.graph = graph
        return tuple(f if f is None or options.get("create_graph") else f.detach() for f in found)

    torch.autograd.grad = looking  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.autograd.grad = _grad


def _held(
    operate: Callable[..., Tensor], synapse: Synapse, value: Tensor, x: Tensor, weight: Tensor, *rest: Any
) -> Tensor:
    """The product with the weight's held value; its gradient still goes to the weight."""
    return operate(x, value + (weight - weight.detach()) if weight is synapse.weight else weight, *rest)


def _note(ran: list[Any], stage: Any, *_: Any) -> None:
    ran.append(stage)


def _added(synapse: Synapse, base: Tensor, x: Tensor) -> Tensor:
    """``onto`` by way of ``operate``."""
    y: Tensor = synapse(x)
    return base + y


def _noise(weight: Parameter, draw: torch.Generator) -> Tensor:
    return torch.randn(weight.shape, generator=draw, dtype=weight.dtype) * weight.detach().std()


def _differs(found: Sequence[Tensor], usual: Sequence[Tensor]) -> bool:
    size = torch.stack([u.norm() for u in usual]).norm()
    apart = torch.stack([(f - u).norm() for f, u in zip(found, usual, strict=True)]).norm()
    return bool(apart > DIFFERS * size)
