"""What a checkpoint of a running job holds beside its tensors, and how a job takes it back."""

from typing import TYPE_CHECKING

from worker.checkpoint import CorruptCheckpoint, Snapshot, restore_training, training_tensors

if TYPE_CHECKING:
    from worker.loop import Loop


def snapshot(loop: "Loop") -> Snapshot:
    """Everything that the rest of training depends on, and what it has cost. No generator states: there are none."""
    course = loop.course
    state = {
        "seed": course.spec.training.seed,
        "step": loop.step,
        "phase": course.phases.state_dict(),
        "dataset_sha256": course.dataset_sha256,
        "learner": course.training.learner.state_dict(),
        "selection": loop.selection.state_dict(),
        "skipped_steps": loop.skipped_steps,
        "bill": course.bill.state_dict(),
        "diagnostics": course.panel.state_dict(),
        "verdicts": course.judge.state_dict(),
    }
    return Snapshot(training_tensors(course.training) | loop.selection.tensors(), state)


def resume(loop: "Loop", saved: Snapshot) -> None:
    """Continues where the snapshot was taken. Raises ``CorruptCheckpoint`` when it is not this job's."""
    course = loop.course
    state = saved.state
    if state["dataset_sha256"] != course.dataset_sha256:
        raise CorruptCheckpoint("the checkpoint was made on other data: the data set has changed since")
    if state["seed"] != course.spec.training.seed:
        raise CorruptCheckpoint("the checkpoint was made with another seed")
    try:
        if state["phase"]["number"]:
            loop.enter(state["phase"]["number"])
        course.phases.load_state_dict(state["phase"])
        restore_training(course.training, saved.tensors)
        course.training.learner.load_state_dict(state["learner"])
        loop.selection.load_state_dict(state["selection"], saved.tensors)
        loop.step = state["step"]
        loop.skipped_steps = state["skipped_steps"]
        course.bill.load_state_dict(state["bill"])
        course.panel.load_state_dict(state["diagnostics"])
        course.judge.load_state_dict(state["verdicts"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptCheckpoint(f"the checkpoint lacks or garbles {error}") from None
