"""A liquid network learns what only elapsed times tell: the parity of a bit stream of which the runs arrive."""

import time

import pytest
import torch

from learners.build import build, build_network, build_task
from learners.learner import Batch
from learners.streams import Streams
from specs.data_sources import SyntheticSpec
from specs.learners.backprop import BackpropSpec
from specs.networks.cfc import CfcSpec
from specs.optimizers import AdamSpec
from specs.signature import DataSignature
from worker.data_sources.source import Folders
from worker.data_sources.synthetic import Synthetic

ROWS, HELD_OUT, BATCH = 8000, 2000, 128


@pytest.mark.slow
def test_cfc_learns_event_xor_of_eight_bits_within_a_minute_of_cpu(tmp_path: object) -> None:
    table = Synthetic(SyntheticSpec(name="event_xor", bits=8, rows=ROWS)).load(Folders(tmp_path, tmp_path))  # type: ignore[arg-type]
    x, dt, y = (torch.tensor(array) for array in (table.x, table.dt, table.y))
    x, dt = x.float(), dt.float()
    signature = DataSignature(
        task="sequence_classification", input_shape=tuple(x.shape[1:]), outputs=2, has_dt=True, rows_train=ROWS
    )
    streams = Streams(0)
    network = build_network(CfcSpec(hidden=(32,)), signature, streams)
    optimizer = AdamSpec(lr=0.002, clip_grad_norm=1.0)
    training = build(network, build_task(signature), BackpropSpec(), optimizer, streams, planned_steps=None)
    started, step, accuracy = time.process_time(), 0, {"true": 0.0, "shuffled": 0.0}
    while accuracy["true"] < 0.97 and time.process_time() - started < 60:
        order = torch.randperm(ROWS - HELD_OUT, generator=streams.generator("order", step))
        training.train()
        for rows in order.split(BATCH):
            training.context.begin(step)
            for part in training.context.passes(Batch.whole(x[rows], y[rows], dt[rows])):
                training.learner.update(part, training.context)
            training.context.finish()
            step += 1
        training.eval()
        held = slice(ROWS - HELD_OUT, None)
        with torch.no_grad():
            for name, times in (("true", dt[held]), ("shuffled", dt[held].flip(0))):
                right = training.learner.predict(x[held], times).argmax(1) == y[held]
                accuracy[name] = float(right.double().mean())
    assert accuracy["true"] >= 0.97
    # The control: with other rows' times the answer is lost, so it was the times that told.
    assert accuracy["shuffled"] < 0.7
