"""Rules whose blocks have objectives of their own: a threshold between rows, a competition between units."""

from typing import ClassVar, Final

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, replacing
from worker.diagnostics.verdicts.history import Case, History
from worker.diagnostics.verdicts.measures import CONFIRMED
from worker.diagnostics.verdicts.verdict import VerdictRule

OUT_OF_REACH: Final = 30.0
"""Times: goodness starts a few times below or above a threshold that works."""
NO_CONTEST: Final = 1.5
"""1 is where all units win alike, the number of units where each row has one winner."""


class ThresholdOff(VerdictRule):
    """The goodness of real and of false rows alike is tens of times above or below the threshold between them."""

    code: ClassVar[VerdictCode] = "threshold_off"
    needs: ClassVar[frozenset[str]] = frozenset({"goodness_positive"})

    def unfit(self, case: Case) -> str | None:
        """Other rules have no threshold of goodness."""
        return None if hasattr(case.rule, "goodness_threshold") else "no_goodness"

    def judge(self, history: History) -> Finding | None:
        """Names the lowest such block."""
        threshold: float = history.case.rule.goodness_threshold  # type: ignore[attr-defined]
        for track in history.by_layer("goodness_positive").values():
            values = track.values(CONFIRMED)
            if len(values) < CONFIRMED:
                continue
            below = max(values) < threshold / OUT_OF_REACH
            if not below and not min(values) > threshold * OUT_OF_REACH:
                continue
            default = type(history.case.rule).model_fields["goodness_threshold"].default
            return self.found(
                track,
                value=values[-1],
                threshold=threshold / OUT_OF_REACH if below else threshold * OUT_OF_REACH,
                window=CONFIRMED,
                comparison="below" if below else "above",
                remedies=(
                    replacing(
                        "Put the threshold where mean squared activities are.",
                        {"/learner/goodness_threshold": default, "/learner/goodness": "mean_squares"},
                    ),
                ),
            )
        return None


class Collapsed(VerdictRule):
    """All units of a block win alike, so all move towards the same mean row."""

    code: ClassVar[VerdictCode] = "collapsed"
    needs: ClassVar[frozenset[str]] = frozenset({"win_concentration"})

    def unfit(self, case: Case) -> str | None:
        """In other rules units do not compete."""
        return None if hasattr(case.rule, "inverse_temperature") else "no_competition"

    def judge(self, history: History) -> Finding | None:
        """Names the lowest such block."""
        default = type(history.case.rule).model_fields["inverse_temperature"].default
        for track in history.by_layer("win_concentration").values():
            values = track.values(CONFIRMED)
            if len(values) == CONFIRMED and max(values) < NO_CONTEST:
                return self.found(
                    track,
                    value=values[-1],
                    threshold=NO_CONTEST,
                    window=CONFIRMED,
                    comparison="below",
                    remedies=(replacing("Let few units win each row.", {"/learner/inverse_temperature": default}),),
                )
        return None
