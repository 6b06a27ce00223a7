"""The size of the training signal over the layers of a network."""

import math
from typing import ClassVar, Final

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, replacing
from worker.diagnostics.verdicts.history import WINDOW, Case, History, Track
from worker.diagnostics.verdicts.verdict import VerdictRule

VANISHED: Final = 1e-3
"""Of the largest layer's root mean square."""
NOTHING_LEFT: Final = 1e-7
"""Amazon SageMaker Debugger's limit on the mean absolute gradient."""


class Vanishing(VerdictRule):
    """Through a whole window, the first layer's gradient per weight is below a thousandth of the largest layer's."""

    code: ClassVar[VerdictCode] = "vanishing"
    needs: ClassVar[frozenset[str]] = frozenset({"grad_norm"})

    def unfit(self, case: Case) -> str | None:
        """Only a signal that crosses layers can vanish on the way."""
        return None if case.rule.crosses_blocks else "local_objective"

    def judge(self, history: History) -> Finding | None:
        """Judges the first trained layer of the network."""
        sizes = {
            layer: self._root_mean_squares(track, history.case.parameters[layer])
            for layer, track in history.by_layer("grad_norm").items()
            if not layer.startswith("own.") and len(track) >= WINDOW
        }
        if len(sizes) < 2:
            return None
        first, *above = sizes
        largest = [max(values) for values in zip(*(sizes[layer] for layer in above), strict=True)]
        ratios = [low / high if high > 0 else math.nan for low, high in zip(sizes[first], largest, strict=True)]
        if not all(ratio < VANISHED for ratio in ratios):
            return None
        track = history.track("grad_norm", first)
        assert track is not None
        return self.found(
            track,
            value=ratios[-1],
            threshold=VANISHED,
            window=WINDOW,
            comparison="below",
            severity="error" if sizes[first][-1] < NOTHING_LEFT else "warning",
            remedies=(
                replacing("Use ReLU, whose slope does not shrink the signal.", {"/network/activation": "relu"}),
                replacing("Normalise every layer.", {"/network/norm": "layer"}),
                replacing("Initialise after He et al.", {"/network/init": "kaiming"}),
            ),
            numbers={"rms": sizes[first][-1], "largest_rms": largest[-1]},
        )

    def _root_mean_squares(self, track: Track, parameters: int) -> list[float]:
        return [norm / math.sqrt(parameters) for norm in track.values(WINDOW)]
