"""A job in one line of the list. ``static/job_list.js`` writes the same line in the browser."""

from datetime import datetime

from api.answers import JobAnswer
from api.dashboard.formats import NOTHING, figure, share, words

SPLITS = ("test", "validation", "train")


def metric_text(name: str, value: float | None) -> str:
    """Shares per cent, all else as figures."""
    return share(value) if name == "accuracy" else figure(value)


def last_metric(job: JobAnswer, evaluated: dict[str, float | None] | None = None) -> str:
    """What the job reached on the split that it was trained for least; ``evaluated``: so far, on validation."""
    metrics = job.result.metrics if job.result else {"validation": evaluated or {}}
    for split in SPLITS:
        found = {name: value for name, value in metrics.get(split, {}).items() if name != "loss"} or metrics.get(split)
        if found:
            name, value = next(iter(found.items()))
            return f"{metric_text(name, value)} {_short(name, split)}"
    return NOTHING


def best_metric(job: JobAnswer) -> str:
    """The best evaluation of the watched metric."""
    best = job.result.best if job.result else None
    if best is None or best.value is None or best.metric is None:
        return NOTHING
    return f"{metric_text(best.metric, best.value)} {_short(best.metric, best.split or '')}"


def standing(job: JobAnswer) -> str:
    """A few words beside the status."""
    if job.error is not None:
        return words(job.error.kind)
    progress = job.progress
    if job.phase == "active" and progress is not None and progress.step is not None and progress.steps:
        return share(min(1.0, progress.step / progress.steps))
    if job.status == "queued" and job.status_reason is not None:
        return words(job.status_reason.code)
    return ""


def took(job: JobAnswer, *, now: float) -> float | None:
    """Seconds from the first claim to the end, or to now."""
    if job.started_at is None:
        return None
    end = now if job.finished_at is None else datetime.fromisoformat(job.finished_at).timestamp()
    return max(0.0, end - datetime.fromisoformat(job.started_at).timestamp())


def _short(name: str, split: str) -> str:
    return f"{'' if name == 'accuracy' else words(name) + ', '}{split}"
