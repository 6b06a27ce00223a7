"""Where training stands among its phases, and when the next one begins."""

from collections.abc import Callable, Sequence
from typing import Any, final

from specs.phases import Phase
from specs.training import EarlyStoppingSpec
from worker.early_stopping import BestEvaluation


@final
class Phases:
    """The phases of a job, in order; for all rules but a hybrid there is one."""

    def __init__(self, phases: Sequence[Phase], *, per_epoch: int, seconds: Callable[[], float]) -> None:
        self._phases = phases
        self._per_epoch = per_epoch
        self._seconds = seconds
        self.number = 0
        self._began_at = 0
        self._began_s = 0.0
        self._plateau = self._plateau_of(phases[0])

    def __len__(self) -> int:
        return len(self._phases)

    @property
    def running(self) -> Phase:
        """The phase that training is in."""
        return self._phases[self.number]

    def enter(self, number: int, step: int) -> Phase:
        """Begins phase ``number`` after ``step`` steps."""
        phase = self._phases[number]
        self.number, self._began_at, self._began_s = number, step, self._seconds()
        self._plateau = self._plateau_of(phase)
        return phase

    def take(self, metrics: dict[str, float], step: int) -> None:
        """Notes an evaluation of the validation split."""
        if self._plateau is not None:
            self._plateau.take(metrics, step)

    def is_over(self, step: int) -> bool:
        """Whether the running phase ends with step ``step``; the last one never does."""
        until = self._phases[self.number].until
        if until is None or self.number == len(self._phases) - 1:
            return False
        if self._plateau is not None:
            return self._plateau.should_stop
        steps = until.steps(self._per_epoch)
        if steps is not None:
            return step - self._began_at >= steps
        return self._seconds() - self._began_s >= until.value

    def state_dict(self) -> dict[str, Any]:
        plateau = None if self._plateau is None else self._plateau.state_dict()
        return {"number": self.number, "began_at": self._began_at, "began_s": self._began_s, "plateau": plateau}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back ``state_dict``, of the phase that was entered."""
        self._began_at, self._began_s = state["began_at"], state["began_s"]
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])

    def _plateau_of(self, phase: Phase) -> BestEvaluation | None:
        if phase.until is None or phase.until.kind != "plateau":
            return None
        return BestEvaluation(EarlyStoppingSpec(patience=int(phase.until.value)))
