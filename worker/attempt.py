"""One attempt at a job, from its work order to its result: data, network, learner, loop, weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from safetensors.torch import save_file

from learners.build import DoesNotFit, Training, build, build_network, build_task
from learners.learner import Batch, ParameterGroup
from learners.streams import Streams
from specs.data_sources import known_signature
from specs.job import JobSpec, check_fit
from specs.limits import Limits
from specs.phases import Phase
from specs.reports import Result, Started
from specs.signature import DataSignature
from worker import checkpoint, resumption
from worker.accelerator import Device, chosen_device
from worker.batches import Batches, Rows, load_rows
from worker.course import Course
from worker.diagnostics.diagnostic import Layer, Scope, Subject
from worker.diagnostics.panel import Panel
from worker.diagnostics.series import SeriesBuffer, Split
from worker.diagnostics.verdicts.history import Case
from worker.diagnostics.verdicts.judge import Judge
from worker.evaluation import MAX_TRAIN_ROWS
from worker.foretold import foretold
from worker.length import Length, Spent
from worker.link import Link
from worker.loop import Loop
from worker.meters.bill import Bill
from worker.meters.holdings import holdings
from worker.meters.inference import inference_bill
from worker.meters.memory import MemoryMeter
from worker.phases import Phases
from worker.precision import autocast_for, weights_dtype
from worker.receipt import receipt
from worker.selection import evaluation_event

PROBE_ROWS = 256
WEIGHTS = "weights.safetensors"


class DataMismatch(Exception):
    """The data set, once known, does not fit the job."""


@dataclass(frozen=True)
class WorkOrder:
    """What the worker asks for."""

    spec: JobSpec
    dataset_folder: Path
    dataset_sha256: str
    signature: DataSignature
    device: str
    resume: Mapping[str, Any] | None

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> "WorkOrder":
        """Raises ``DataMismatch`` when spec and data do not fit together, or make a job above the service's limits."""
        dataset = fields["dataset"]
        try:
            spec = JobSpec.model_validate(fields["spec"])
            signature = DataSignature.model_validate(dataset["signature"])
            check_fit(spec, signature, _limits(fields, spec))
        except (ValidationError, PydanticCustomError) as error:
            raise DataMismatch(str(error)) from None
        return cls(
            spec,
            Path(dataset["folder"]),
            dataset["sha256"],
            signature,
            fields.get("device", "cpu"),
            fields.get("resume"),
        )


def _limits(fields: Mapping[str, Any], spec: JobSpec) -> Limits | None:
    """The limits that the door could not apply, since it did not know the data; what began is not refused later."""
    if "limits" not in fields or fields.get("resume") is not None or known_signature(spec.dataset) is not None:
        return None
    return Limits.model_validate(fields["limits"])


@final
class Attempt:
    """Built from a work order; ``run`` trains and reports."""

    def __init__(self, order: WorkOrder, link: Link, *, folder: Path) -> None:
        self.order = order
        self._link = link
        self._folder = folder
        torch.set_num_threads(order.spec.resources.threads)
        self.device: Device = chosen_device(order.device)
        self.loop = self._loop()
        self.receipt = receipt(
            order.spec,
            dataset_sha256=order.dataset_sha256,
            device=self.device.torch,
            device_name=self.device.name,
            layers={group.name: group.parameters for group in trained_layers(self.loop.course.training)},
        )
        if order.resume is not None:
            saved = checkpoint.load(Path(order.resume["path"]), sha256=order.resume["sha256"])
            resumption.resume(self.loop, saved)

    def run(self) -> Result:
        """Trains to the end and evaluates. What the loop raises passes through."""
        loop = self.loop
        self._link.send(Started(step=loop.step, device=str(self.device.torch), receipt=self.receipt))
        loop.run()
        restored = loop.selection.restore_best()
        metrics = self._metrics(restored=restored)
        loop.flush()
        return self._result(metrics, restored=restored)

    def _loop(self) -> Loop:
        order, spec = self.order, self.order.spec
        bill = Bill(self.device.torch, self.device.energy(), MemoryMeter(self.device.torch))
        streams = Streams(spec.training.seed)
        train = self._rows("train")
        batches = Batches(train, batch_size=spec.training.batch_size, streams=streams.child("order"))
        spent = Spent(lambda: bill.training.seconds, lambda: bill.flops.total, bill.energy.joules)
        length = Length(spec.training, batches, spent)
        course = spec.learner.course()
        build_phase = self._builder(streams, planned_steps=length.steps)
        training = build_phase(course[0], None)
        series = SeriesBuffer()
        case_of = partial(case, spec, order.signature)
        return Loop(
            Course(
                spec=spec,
                training=training,
                phases=Phases(course, per_epoch=batches.per_epoch, seconds=spent.seconds),
                build=build_phase,
                batches=batches,
                validation=self._rows("validation"),
                length=length,
                panel=Panel(spec.diagnostics, partial(subject, train), training, series, trained=spent.seconds),
                judge=Judge(spec.diagnostics, case_of, training, course[0]),
                series=series,
                bill=bill,
                link=self._link,
                folder=self._folder,
                dataset_sha256=order.dataset_sha256,
                autocast=autocast_for(spec.training.precision, self.device.torch),
            )
        )

    def _builder(self, streams: Streams, *, planned_steps: int | None) -> Callable[[Phase, Training | None], Training]:
        """Makes each phase's training, all on one network."""
        spec, signature = self.order.spec, self.order.signature
        try:
            network = build_network(
                spec.network,
                signature,
                streams,
                learner=spec.learner,
                dtype=weights_dtype(spec.training.precision),
                device=self.device.torch,
                activation_checkpointing=spec.training.activation_checkpointing,
                every_k=spec.training.checkpoint_every_k,
            )
        except DoesNotFit as error:
            raise DataMismatch(str(error)) from None
        network.scope.outlives_nan = spec.training.on_nan == "continue"
        task = build_task(signature)

        def build_phase(phase: Phase, before: Training | None) -> Training:
            return build(
                network,
                task,
                phase.rule,
                phase.optimizer or spec.optimizer,
                streams,
                planned_steps=planned_steps,
                micro_batch_size=spec.training.micro_batch_size,
                before=before,
            )

        return build_phase

    def _rows(self, split: Split) -> Rows:
        return load_rows(self.order.dataset_folder, split, device=self.device.torch)

    def _metrics(self, *, restored: bool) -> dict[str, dict[str, float | None]]:
        """Final metrics of every split that has rows and may be read; train on its first rows alone."""
        loop, selection = self.loop, self.loop.selection
        metrics: dict[str, dict[str, float | None]] = {}
        splits: tuple[Split, ...] = ("train", "validation", "test")
        if not loop.course.spec.training.evaluate_test:
            splits = ("train", "validation")
        for split in splits:
            if split == "validation" and selection.latest_step == loop.step and not restored:
                metrics[split] = dict(selection.latest)
                continue
            rows = loop.course.batches.rows if split == "train" else self._rows(split)
            if len(rows) == 0:
                continue
            found = loop.evaluate(rows.slice(0, MAX_TRAIN_ROWS) if split == "train" else rows)
            metrics[split] = dict(found)
            self._link.send(evaluation_event(split, found, step=loop.step, epoch=None))
        return metrics

    def _result(self, metrics: dict[str, dict[str, float | None]], *, restored: bool) -> Result:
        loop, course = self.loop, self.loop.course
        tensors = checkpoint.model_tensors(course.training.network, course.training.own)
        digest = checkpoint.weights_digest(tensors)
        path = self._folder / WEIGHTS
        save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, path)
        trained = sum(p.numel() for group in course.training.groups for p in group.parameters)
        best, samples = loop.selection.summary(), course.batches.samples_before(loop.step)
        inference = inference_bill(course.training, self._rows("train"), course.bill.energy, autocast=course.autocast)
        return Result(
            step=loop.step,
            metrics=metrics,
            best=best,
            cost={
                **course.bill.total(parameters=trained, samples=samples, held=holdings(course.training)),
                **inference,
                "predicted": foretold(course.bill, course.batches, course.length),
            },
            artifacts={WEIGHTS: str(path)},
            weights_sha256=digest,
            diagnostics={
                **course.panel.summary(course.bill.training.seconds),
                "skipped_steps": loop.skipped_steps,
                "restored_best": restored,
                "not_judged": course.judge.unfit,
            },
            receipt={**self.receipt, "loss_trace_sha256": course.panel.loss_trace_sha256, "weights_sha256": digest},
        )


def case(spec: JobSpec, signature: DataSignature, training: Training, phase: Phase) -> Case:
    """What the rules of verdicts know of the job in this phase."""
    layers = trained_layers(training)
    return Case(
        spec=spec,
        rule=training.rule,
        optimizer=training.update,
        optimizer_pointer="/optimizer" if phase.optimizer is None else f"/learner{phase.pointer}/optimizer",
        signature=signature,
        layers=tuple(group.name for group in layers),
        parameters={group.name: sum(parameter.numel() for parameter in group.parameters) for group in layers},
    )


def trained_layers(training: Training) -> list[ParameterGroup]:
    """The trained parameters by layer: the network's in order, then the learner's own."""
    order = {name: place for place, name in enumerate(training.network.names)}
    return sorted(training.groups, key=lambda group: order.get(group.name, len(order)))


def subject(train: Rows, training: Training) -> Subject:
    """What the diagnostics look at."""
    groups = trained_layers(training)
    layers = tuple(Layer(Scope(group.name, place), group.parameters) for place, group in enumerate(groups))
    probe = train.slice(0, PROBE_ROWS)
    return Subject(
        network=training.network,
        own=training.own,
        learner=training.learner,
        learner_spec=training.rule,
        optimizer_spec=training.update,
        layers=layers,
        probe=Batch.whole(probe.x, probe.y, probe.dt),
    )
