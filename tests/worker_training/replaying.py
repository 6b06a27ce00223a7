"""A job that has ended, made in this process with all that it left, as the order of its replay."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from specs.reports import Checkpoint
from tests.worker_training.running import LEARNERS, Listener, attempt, prepared
from tests.worker_training.test_bits import PAIRS
from worker import answer_file, replay
from worker.storable import storable

NETWORK = "mlp batch dropout"
MEASURED = {"every_steps": 2, "alignment_every_steps": None, "budget_percent": None}
FITTING = {learner: [network for each, network in PAIRS if each == learner] for learner in LEARNERS}
CHEAPEST = {learner: NETWORK if NETWORK in names else names[0] for learner, names in FITTING.items()}
STOPS_EARLY = {"early_stopping": {"patience": 1, "restore_best": True}, "budget": {"kind": "epochs", "value": 8}}
COVERED: dict[str, dict[str, Any]] = {
    "adamw, a cosine with warm-up, clipping": {
        "optimizer": {
            "kind": "adamw", "lr": 0.01, "clip_grad_norm": 0.5, "schedule": {"kind": "cosine", "warmup_steps": 2},
        },
    },
    "momentum, drops of the rate, micro-batches": {
        "optimizer": {
            "kind": "sgd", "lr": 0.05, "momentum": 0.9, "schedule": {"kind": "step", "every_steps": 3},
        },
        "training": {"micro_batch_size": 30},
    },
    "early stopping with the best weights restored": {
        "optimizer": {"kind": "adam", "lr": 0.5}, "training": STOPS_EARLY,
    },
    "a length by the clock": {"training": {"budget": {"kind": "seconds", "value": 0.5}}},
    "float64": {"training": {"precision": "float64"}},
}  # fmt: skip


def ended(
    fields: Mapping[str, Any], folder: Path, *, kept: tuple[int, ...] = (2, 5), device: str = "cpu"
) -> dict[str, Any]:
    """The job trained to its end with checkpoints after these steps, as the order of its replay from the first."""
    link = Listener()
    made = attempt(fields, folder, link=link, device=device)
    one_step = made.loop._one_step

    def save_after_it() -> None:
        one_step()
        made.loop._poll._next = 0.0
        link.checkpoint_wanted = made.loop.step in kept

    made.loop._one_step = save_after_it  # type: ignore[method-assign]
    result = made.run()
    checkpoints = [
        {"path": report.path, "sha256": sha256(report.path), "step": report.step} for report in link.of(Checkpoint)
    ]
    assert [checkpoint["step"] for checkpoint in checkpoints] == list(kept)
    losses = folder / "losses.npy"
    np.save(losses, np.array(sorted(_losses(link).items()), dtype=np.float64).T)
    spec = made.order.spec
    return {
        "job": {
            "spec": spec.resolved(),
            "dataset": prepared(spec, folder),
            "device": device,
            "resume": checkpoints[0] if checkpoints else None,
        },
        "checkpoints": checkpoints[1:],
        "last_step": result.step,
        "weights": result.artifacts["weights.safetensors"],
        "losses": str(losses),
        "metrics": storable({"metrics": result.metrics})["metrics"],
        "receipt": result.receipt,
        "tolerance": 1e-5,
    }


def _losses(link: Listener) -> dict[int, float]:
    ears = replay.Ears()
    for report in link.reports:
        if not isinstance(report, Checkpoint):
            ears.send(report)
    return ears.losses


def replayed(order: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the process would answer."""
    own = folder / "replay"
    own.mkdir(exist_ok=True)
    answer = replay._replayed(order, own)
    answer_file.write(own, answer)
    read = answer_file.read(own)
    assert read is not None
    return read


def sha256(path: str) -> str:
    """The digest by which a file is registered."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
