"""What tuning tries next: Optuna's tree-structured Parzen estimator (Bergstra et al., 2011) over a learner's own space.

A trial depends on the space, on the seed, and on how the trials before it of the same arm rank; on nothing else. So a
second run tries the same settings bit for bit, whichever job of another arm ended first, and a conductor that comes
after one that died asks for the same ones: the study is told anew from the finished trials, which the database keeps.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from specs.comparison_trials import Asked
from store.comparisons import Row
from worker.comparison import scores

STARTUP_TRIALS: Final = 2
"""Before the estimator speaks: the posted settings, and a point drawn by the seed, which is the same for every learner.
With Optuna's ten, eight trials would be a random search."""
DIGITS: Final = 4
"""Of a setting, so that it can be read and repeated."""


def asked(plan: Mapping[str, Any], runs: Sequence[Row], tuning: Mapping[str, Any]) -> Asked:
    """The next settings of every arm whose trials have all ended and that has some left to try."""
    found: Asked = {}
    for arm in plan["arms"]:
        tried = len(arm["trials"])
        if not 0 < tried < tuning["trials"]:
            continue
        own = [run for run in runs if run.arm == arm["name"] and run.trial < tried]
        if all(run.ended for run in own):
            values = ranks(own, arm["name"])
            settings = suggested(arm["space"], arm["trials"], values, seed=tuning["sampler_seed"])
            found[arm["name"]] = tried, settings
    return found


def ranks(runs: Sequence[Row], arm: str) -> list[float]:
    """How many trials each trial is better than, in the order in which tuning chooses."""
    by_trial = scores.by_trial(runs, arm, scores.metric_of(runs))
    ordered = [by_trial[trial] for trial in sorted(by_trial)]
    return [float(sum(other < own for other in ordered)) for own in ordered]


def suggested(
    space: Sequence[Mapping[str, Any]], tried: Sequence[Mapping[str, float]], values: Sequence[float], *, seed: int
) -> dict[str, float]:
    """Settings by pointer after ``tried`` had ``values``, the higher the better."""
    import optuna  # here: a worker whose comparisons are untuned does not hold it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    axes: dict[str, optuna.distributions.BaseDistribution] = {
        axis["pointer"]: optuna.distributions.FloatDistribution(axis["low"], axis["high"], log=axis["log"])
        for axis in space
    }
    posted = {axis["pointer"]: axis["posted"] for axis in space}
    draws = random.Random(f"{seed} {len(tried)}").getrandbits(32)  # noqa: S311 - a search, no secret
    sampler = optuna.samplers.TPESampler(seed=draws, n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for settings, value in zip(tried, values, strict=True):
        params = {**posted, **settings}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=axes, value=value))
    drawn = study.ask(axes).params
    return {axis["pointer"]: _readable(drawn[axis["pointer"]], axis["low"], axis["high"]) for axis in space}


def _readable(value: float, low: float, high: float) -> float:
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)
