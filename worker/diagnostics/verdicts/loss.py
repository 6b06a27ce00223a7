"""The course of the loss."""

import math
from collections.abc import Iterator
from typing import ClassVar, Final

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, Remedy, replacing
from worker.diagnostics.verdicts.history import WINDOW, Case, History
from worker.diagnostics.verdicts.measures import (
    SHAKEN,
    chance_loss,
    is_falling,
    largest_ratio,
    recent,
    share_fallen,
)
from worker.diagnostics.verdicts.remedies import better_signal, good_ratio, other_rate, slower
from worker.diagnostics.verdicts.verdict import VerdictRule

FAR_FROM_CHANCE: Final = 3.0
"""Times ln C. The CS231n notes ask for about 1; read-outs whose weights are drawn wider begin at one and a half."""
FIRST_POINTS: Final = 5
RISEN: Final = 2.0
"""Times the larger of the first loss and ln C."""
STUCK: Final = 0.02
LEAST_POINTS: Final = 12
NOT_YET: Final = 0.3
"""Share of the budget before which a loss that does not fall says nothing."""
WORSE: Final = 1.25
"""Times the best validation loss; 1.10 condemned healthy runs."""
MATTERS: Final = 0.1
"""Of the first loss: a validation loss of next to nothing may double."""
LEARNED: Final = 0.5
"""Share that the training loss has fallen by."""
LEAST_EVALUATIONS: Final = 3


class InitLossOff(VerdictRule):
    """The first loss is several times that of a guess that knows nothing."""

    code: ClassVar[VerdictCode] = "init_loss_off"
    needs: ClassVar[frozenset[str]] = frozenset({"loss"})

    def unfit(self, case: Case) -> str | None:
        """A regression has no loss of chance."""
        return None if case.classes is not None else "no_chance_loss"

    def judge(self, history: History) -> Finding | None:
        loss, chance = history.track("loss"), chance_loss(history.case.classes)
        if loss is None or loss.first is None or chance is None or loss.count > FIRST_POINTS:
            return None
        if not loss.first[1] > FAR_FROM_CHANCE * chance:
            return None
        remedies = (
            replacing("Normalise every layer.", {"/network/norm": "layer"}),
            replacing("Draw the first weights smaller.", {"/network/init": "default"}),
        )
        return self.found(
            loss, value=loss.first[1], threshold=FAR_FROM_CHANCE * chance, window=FIRST_POINTS, remedies=remedies
        )


class Diverged(VerdictRule):
    """The loss is far above where it began, over a whole window."""

    code: ClassVar[VerdictCode] = "diverged"
    needs: ClassVar[frozenset[str]] = frozenset({"loss"})

    def judge(self, history: History) -> Finding | None:
        loss = history.track("loss")
        if loss is None or loss.first is None or len(loss) < WINDOW:
            return None
        limit = RISEN * max(loss.first[1], chance_loss(history.case.classes) or 0.0)
        if not recent(loss, WINDOW) > limit:
            return None
        lower = other_rate(history.case, "Lower the learning rate tenfold.", history.case.learning_rate / 10)
        return self.found(
            loss, value=recent(loss, WINDOW), threshold=limit, window=WINDOW, severity="error", remedies=(lower,)
        )


class Plateau(VerdictRule):
    """A good part of the budget is spent, and the loss is where it began."""

    code: ClassVar[VerdictCode] = "plateau"
    needs: ClassVar[frozenset[str]] = frozenset({"loss", "update_ratio", "weight_norm"})

    def judge(self, history: History) -> Finding | None:
        loss = history.track("loss")
        if loss is None or len(loss) < LEAST_POINTS or history.share_done < NOT_YET or not math.isfinite(recent(loss)):
            return None
        if share_fallen(loss) > STUCK or is_falling(loss):
            return None
        return self.found(
            loss,
            value=share_fallen(loss),
            threshold=STUCK,
            window=WINDOW,
            comparison="below",
            remedies=tuple(_off_the_plateau(history)),
        )


def _off_the_plateau(history: History) -> Iterator[Remedy]:
    """A larger rate only where steps were seen to be small; where they were large, a smaller one before anything."""
    case, ratio = history.case, largest_ratio(history)
    if ratio > SHAKEN:
        yield slower(history)
    yield from better_signal(case)
    if ratio < good_ratio(case):
        yield other_rate(case, "Raise the learning rate tenfold.", 10 * case.learning_rate)


class Overfit(VerdictRule):
    """The validation loss is well above its best, while the training loss has halved."""

    code: ClassVar[VerdictCode] = "overfit"
    needs: ClassVar[frozenset[str]] = frozenset({"loss"})

    def judge(self, history: History) -> Finding | None:
        loss, validation = history.track("loss"), history.track("loss", split="validation")
        if loss is None or loss.first is None or validation is None or validation.lowest is None:
            return None
        if len(validation) < LEAST_EVALUATIONS or share_fallen(loss) < LEARNED:
            return None
        best_step, best = validation.lowest
        limit = max(WORSE * best, best + MATTERS * loss.first[1])
        if not min(validation.values(2)) > limit:
            return None
        remedies = (
            replacing(
                "Stop where the validation loss is best.",
                {"/training/early_stopping": {"metric": "loss", "patience": 3, "restore_best": True}},
            ),
            replacing("Drop a part of the units.", {"/network/dropout": 0.3}),
        )
        return self.found(
            validation,
            value=validation.latest,
            threshold=limit,
            window=2,
            remedies=remedies,
            numbers={"best": best, "best_step": float(best_step), "loss": recent(loss)},
        )
