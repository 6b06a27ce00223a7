"""Activities that move: every row's output of a synapse has a direction of its own, and its slope becomes an error."""

# B = rows, K = classes or targets

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from torch import Tensor

from learners.dual_numbers import dual, parts
from learners.learner import UpdateContext
from learners.local_guesses import LocalGuesses
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import Synapse


def synapses_with_rows_first(network: BlockNetwork) -> list[Synapse]:
    """Synapses whose inputs and outputs have the batch's rows first: all but those of blocks over sequences."""
    stages = [stage for stage in network.stages if stage.layout != "sequence"]
    return [module for stage in stages for module in stage.modules() if isinstance(module, Synapse)]


@dataclass
class Moved:
    """One use of a synapse in the forward pass. ``error`` sums what the directions say of d loss / d output."""

    synapse: Synapse
    x: Tensor
    u: Tensor | None
    error: Tensor | None = None


@final
class PerturbedActivities:
    """The moving synapses of one update: tangents on the way in, gradients of their weights on the way out."""

    def __init__(
        self, network: BlockNetwork, synapses: Sequence[Synapse], guesses: LocalGuesses | None, y: Tensor
    ) -> None:
        self._network = network
        self._synapses = frozenset(synapses)
        self._last = network.readout.synapse if isinstance(network.readout, PlainBlock) else None
        self._guesses = guesses
        self._y = y
        self._moved: list[Moved] = []

    @contextmanager
    def moving(self, context: UpdateContext, direction: int) -> Iterator[None]:
        """Inside, the network's synapses put out dual numbers; needs an open dual level."""
        before, self._moved = self._moved, []

        def rule(synapse: Synapse, x: Tensor) -> Tensor:
            x = _of_one_dtype(x)
            z: Tensor = synapse.operate(x, synapse.weight, synapse.bias)
            if synapse not in self._synapses:
                return z
            primal, tangent = parts(z)
            u = None if synapse is self._last else self._direction(synapse, primal, context, direction)
            place = len(self._moved)
            error = before[place].error if before else None
            self._moved.append(Moved(synapse, parts(x)[0], u, error))
            if u is None:
                return z
            return dual(primal, u if tangent is None else tangent + u)

        with self._network.synapses(rule):
            yield

    def _direction(self, synapse: Synapse, z: Tensor, context: UpdateContext, direction: int) -> Tensor:
        """u [like z]: a guess with a random sign where there is one, else normal."""
        place = len(self._moved)
        guess: Tensor | None = None if self._guesses is None else self._guesses(synapse, z, self._y)
        if guess is None:
            return context.per_row(f"activities.{place}", z.shape[1:], "randn", direction).to(z.dtype)
        sign_B = context.per_row(f"signs.{place}", (), "randn", direction).sign()
        return (_per_row(sign_B, guess) * guess).to(z.dtype)

    def take(self, slope_B: Tensor) -> None:
        """The slopes of the rows' losses along this direction."""
        for moved in self._moved:
            if moved.u is not None:
                error = _per_row(slope_B, moved.u) * moved.u
                moved.error = error if moved.error is None else moved.error.add_(error)

    def write(self, context: UpdateContext, *, directions: int, error_BK: Tensor) -> None:
        """Writes the gradients of the moved synapses; ``error_BK`` is d loss / d scores, known without moving."""
        for moved in self._moved:
            error = error_BK if moved.error is None else moved.error / directions
            gradients = moved.synapse.correlate(moved.x, error.to(moved.x.dtype))
            own = (moved.synapse.weight, moved.synapse.bias)
            context.write([parameter for parameter in own if parameter is not None], gradients)
        if self._guesses is not None:
            self._guesses.write(context)


def _per_row(value_B: Tensor, like: Tensor) -> Tensor:
    return value_B.reshape(-1, *[1] * (like.dim() - 1))


def _of_one_dtype(x: Tensor) -> Tensor:
    """A norm or a dropout may leave a bfloat16 value with a float32 tangent, which no product takes."""
    primal, tangent = parts(x)
    return x if tangent is None or tangent.dtype == primal.dtype else dual(primal, tangent.to(primal.dtype))
