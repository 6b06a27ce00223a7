"""Steps that are too large or too small for the weights that they move."""

from statistics import median
from typing import ClassVar, Final

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, replacing
from worker.diagnostics.verdicts.history import History
from worker.diagnostics.verdicts.verdict import VerdictRule

REPLACED: Final = 0.1
"""100 times the 1e-3 of the CS231n notes; the 10 of Amazon SageMaker Debugger is 10,000 times that, and late."""
FIRST_POINTS: Final = 3


class LrTooHigh(VerdictRule):
    """In the first logged points, the median step of some layer is more than a tenth of its weights."""

    code: ClassVar[VerdictCode] = "lr_too_high"
    needs: ClassVar[frozenset[str]] = frozenset({"update_ratio"})

    def judge(self, history: History) -> Finding | None:
        """The layer whose first steps are the largest, against its weights."""
        tracks = [track for track in history.by_layer("update_ratio").values() if track.count == FIRST_POINTS]
        worst = max(tracks, key=lambda track: median(track.values()), default=None)
        if worst is None or not median(worst.values()) > REPLACED:
            return None
        pointer = f"{history.case.optimizer_pointer}/lr"
        lower = replacing("Lower the learning rate tenfold.", {pointer: history.case.learning_rate / 10})
        return self.found(
            worst,
            value=median(worst.values()),
            threshold=REPLACED,
            window=FIRST_POINTS,
            severity="error",
            remedies=(lower,),
        )
