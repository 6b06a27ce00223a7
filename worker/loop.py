"""The one training loop for all learners: batches -> learner -> optimizer -> diagnostics -> checkpoint.

A step is a pure function of the job's seed and its number. Nothing here knows which learner trains: the learner writes
gradients, the context steps, the panel measures. ``step`` steps are done; the running one is the next, counted from 1.
"""

from collections.abc import Callable, Sequence
from typing import Final, final

from torch import Tensor

from learners.build import Training
from learners.context import merged
from learners.learner import Batch, ParameterGroup, StepReport
from specs.reports import Checkpoint, Event, Progress, Verdict
from worker import checkpoint, resumption
from worker.batches import Rows
from worker.course import Course
from worker.diagnostics.diagnostic import WHOLE, Point, StepView
from worker.evaluation import CHUNK_ROWS, evaluate
from worker.finite import Diverged, watch_for
from worker.link import POLL_S, StopReason, Ticker
from worker.selection import Selection, add_to_series, evaluation_event
from worker.withheld import Withheld

PROGRESS_S: Final = 0.2
FLUSH_S: Final = 1.0


class Stop(Exception):
    """Training was asked to end; everything is checkpointed."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


@final
class Loop:
    """Trains to the end of the course, to a stop or to a finding."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.step = 0
        self.skipped_steps = 0
        self.withheld = Withheld(course)
        self._follow(course.training)
        self._poll = Ticker(POLL_S, at_once=True)
        self._progress = Ticker(PROGRESS_S)
        self._flush = Ticker(FLUSH_S)
        self._save = Ticker(course.spec.training.checkpoint_every_s)
        self._saved_at = -1
        self._provisional = False
        self._steps_here = 0
        self._seconds_before = 0.0

    def _follow(self, training: Training) -> None:
        """Looks at this training from here on."""
        spec = self.course.spec
        self.selection = Selection(spec.training.early_stopping, training)
        self.watch = watch_for(spec, training, self.course.batches.rows.x.device)
        # In-place rules make their gradient only to be read: a look at it would cost them their memory.
        self._makes_gradients = not training.rule.in_place
        self._follows_clipping = spec.diagnostics.every_steps is not None and training.update.clip_grad_norm is not None

    def enter(self, number: int) -> None:
        """Begins phase ``number``: setup, groups, new optimizers, a new best evaluation.

        State is kept where the same kind of rule goes on with a group.
        """
        course = self.course
        self.flush()
        phase = course.phases.enter(number, self.step)
        course.training = course.build(phase, course.training)
        course.panel.look_at(course.training)
        course.judge.look_at(course.training, phase)
        course.bill.expect_other_steps()
        self._follow(course.training)

    def run(self) -> None:
        """Trains. Raises ``Stop``, ``Diverged``, ``WorkerGone`` or ``LeaseOver``."""
        course = self.course
        course.training.train()
        course.bill.training.start()
        self._seconds_before = course.bill.training.seconds
        while not (self.selection.stopped or course.length.is_over(self.step)):
            if self._poll.due():
                self._attend()
            self._one_step()
            if self._steps_here == 1:
                self._send_progress()
            if self.step % course.batches.per_epoch == 0:
                self._end_epoch(self.step // course.batches.per_epoch)
            if self._provisional and not self.selection.stopped:
                course.panel.retract(self.step)
            if not self.selection.stopped and course.phases.is_over(self.step):
                with course.bill.training.aside():
                    self._check_finite(look=True)
                    self.enter(course.phases.number + 1)
                    course.training.train()
        self._check_finite(look=True)
        self._send_progress()
        self.flush()

    def _one_step(self) -> None:
        course, step = self.course, self.step
        batch = course.batches.at(step)
        share = batch.rows[2] / course.batches.size
        last = course.length.is_last(step)
        self._provisional = not last and self._may_stop_early() and not course.panel.on_grid(step + 1)
        view = course.panel.open(
            step + 1,
            lambda: batch.split(course.spec.training.micro_batch_size),
            last=last or self._provisional,
            autocast=course.autocast,
        )
        self.watch.begin(step + 1)
        course.training.context.read = self._read_point(view)
        if course.bill.counted:
            report = self._update(batch)
        else:
            with course.bill.counting_step(course.training, share=share):
                report = self._update(batch)
        course.bill.add_step(share=share, forwards=report.forwards * share, backwards=report.backwards * share)
        self.step = step + 1
        self._steps_here += 1
        if view is not None:
            self._measure(view, report)
        self._check_finite(look=view is not None, report=None if view is not None else report)

    def _update(self, batch: Batch) -> StepReport:
        """The learner's update and the optimizers' steps, unless a number is not finite."""
        training = self.course.training
        context = training.context
        context.begin(self.step)
        with self.course.autocast():
            report = merged([(part.weight, training.learner.update(part, context)) for part in context.passes(batch)])
        if context.withheld:
            self.watch.refuse(self.step + 1)
        elif self.watch.admits_loss(report.loss, self.step + 1):
            context.finish()
        if self._follows_clipping:
            self.course.panel.clipped += [coefficient for _, coefficient in context.clippings]
        return report

    def _may_stop_early(self) -> bool:
        """Whether the evaluation after the running step may end training."""
        if not self.selection.best.may_stop_next:
            return False
        epochs, rest = divmod(self.step + 1, self.course.batches.per_epoch)
        return rest == 0 and epochs % self.course.spec.training.evaluate_every_epochs == 0

    def _read_point(
        self, view: StepView | None
    ) -> Callable[[Sequence[ParameterGroup], Sequence[Sequence[Tensor]]], bool] | None:
        if view is None:
            return self.watch.admits if self._makes_gradients and self.watch.reads(self.step + 1) else None
        panel, watch = self.course.panel, self.watch

        def read(groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
            panel.read(groups, gradients)
            return watch.admits(groups, gradients)

        return read

    def _measure(self, view: StepView, report: StepReport) -> None:
        course, bill = self.course, self.course.bill
        measuring_before = course.panel.spent_s
        optimizers = course.training.optimizers
        view.learning_rate = optimizers.rate(next(iter(optimizers.groups)))
        view.samples = course.batches.samples_before(self.step)
        view.wall_s, view.joules = bill.training.seconds, bill.energy.resolved_joules()
        if len(course.phases) > 1:
            course.series.add(view.step, Point("phase", "", WHOLE, float(course.phases.number)))
        course.panel.close(view, report)
        bill.training.leave_out(course.panel.spent_s - measuring_before)
        if self._steps_here > 1:
            course.panel.step_takes((bill.training.seconds - self._seconds_before) / self._steps_here)

    def _check_finite(self, *, look: bool, report: StepReport | None = None) -> None:
        """A step that was withheld is skipped, or ends training with the layer where it began."""
        bad = self.watch.bad_step(look=look)
        if bad is None:
            return
        origin = self.withheld.take(bad, done=self.step, report=report, seen_in=self.watch.layers)
        if self.course.spec.training.on_nan == "continue":
            self.skipped_steps += 1
            return
        self.step = bad
        self.flush()
        raise Diverged(bad, origin)

    def _end_epoch(self, epoch: int) -> None:
        """Evaluation of the validation split, where it is due."""
        course = self.course
        if len(course.validation) == 0 or epoch % course.spec.training.evaluate_every_epochs:
            return
        with course.bill.training.aside():
            metrics = self.evaluate(course.validation)
            self.selection.take(metrics, self.step)
            course.phases.take(metrics, self.step)
            add_to_series(course.series, "validation", metrics, step=self.step)
            course.link.send(evaluation_event("validation", metrics, step=self.step, epoch=epoch))

    def evaluate(self, rows: Rows) -> dict[str, float]:
        """Means over ``rows`` by the learner's own prediction."""
        size = self.course.spec.training.micro_batch_size
        return evaluate(
            self.course.training,
            rows,
            autocast=self.course.autocast,
            between_chunks=self.course.link.poll,
            chunk_rows=CHUNK_ROWS if size is None else min(size, CHUNK_ROWS),
        )

    def _attend(self) -> None:
        """Between two steps, every few milliseconds: orders from above, and what is due to be sent."""
        link = self.course.link
        link.poll()
        if link.stop_reason is not None:
            self.save()
            raise Stop(link.stop_reason)
        if link.checkpoint_wanted or self._save.due():
            link.checkpoint_wanted = False
            self.save()
        if self._progress.due():
            self._send_progress()
        if self._flush.due():
            self.flush()
            self.course.bill.energy.joules()  # a counter that wraps must be read before it wraps twice
            if latest := self.course.panel.take_latest():
                link.send(Event(event="metrics", detail=latest))

    def save(self) -> None:
        """A checkpoint of the steps done. Series go first: what is in a checkpoint is in the series.

        Raises ``Diverged``: a resumed job would not know of a step that was withheld and not looked at yet.
        """
        self._check_finite(look=True)
        with self.course.bill.training.aside():
            self.flush()
            if self._saved_at == self.step:
                return
            path = self.course.folder / f"checkpoint-{self.step}.safetensors"
            checkpoint.save(resumption.snapshot(self), path)
            self.course.link.send(Checkpoint(path=str(path), step=self.step))
            self._saved_at = self.step

    def flush(self) -> None:
        """Sends all open points, and what they say of faults."""
        self._judge()
        for frame in self.course.series.take():
            self.course.link.send(frame)

    def _judge(self) -> None:
        course = self.course
        seconds, spent_before = course.bill.training.seconds, course.judge.spent_s
        with course.bill.training.aside():
            found = course.judge.judge(
                course.series, share_done=course.length.share_done(self.step), training_s=seconds
            )
        course.panel.spent_s += course.judge.spent_s - spent_before
        for finding in found:
            course.link.send(Verdict(finding=finding))

    def _send_progress(self) -> None:
        course = self.course
        seconds = course.bill.training.seconds - self._seconds_before
        rows = course.batches.samples_before(self.step) - course.batches.samples_before(self.step - self._steps_here)
        share = course.length.share_done(self.step)
        spent = course.bill.training.seconds
        course.link.send(
            Progress(
                step=self.step,
                steps=course.length.steps,
                epoch=self.step // course.batches.per_epoch,
                epochs=course.length.epochs,
                samples_per_s=rows / seconds if seconds > 0 else None,
                eta_s=spent * (1 - share) / share if share > 0 else None,
            )
        )
