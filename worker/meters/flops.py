"""FLOPs of one training step, counted by PyTorch's own counter while the step runs; element-wise work counts 0."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.utils.flop_counter import FlopCounterMode

LABEL = "matmul_conv_flops"


class FlopMeter:
    """Counts the first step of a kind of work, then multiplies: a count of every step would cost 3 % of it."""

    def __init__(self, per_step: float | None = None, per_evaluation_row: float | None = None) -> None:
        self.per_step = per_step
        self.per_evaluation_row = per_evaluation_row
        self.total = 0.0

    @contextmanager
    def counting_step(self, *, share: float = 1.0) -> Iterator[None]:
        """Counts what runs inside as ``share`` of a whole step. The arithmetic is that of an uncounted step."""
        with _counter() as counter:
            yield
        self.per_step = counter.get_total_flops() / share

    @contextmanager
    def counting_evaluation(self, *, rows: int) -> Iterator[None]:
        """Counts what runs inside as the evaluation of ``rows`` rows."""
        with _counter() as counter:
            yield
        self.per_evaluation_row = counter.get_total_flops() / max(rows, 1)

    def add_step(self, share: float = 1.0) -> None:
        """One more training step; ``share`` is its rows by those of the counted one."""
        self.total += (self.per_step or 0.0) * share

    def state_dict(self) -> dict[str, float | None]:
        return {"per_step": self.per_step, "per_evaluation_row": self.per_evaluation_row, "total": self.total}

    def load_state_dict(self, state: dict[str, float | None]) -> None:
        self.per_step = state["per_step"]
        self.per_evaluation_row = state["per_evaluation_row"]
        self.total = state["total"] or 0.0


class _NoModules:
    """Stands for the counter's watch over modules, whose hooks fail where a module's input is a leaf."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def _counter() -> FlopCounterMode:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    return counter
