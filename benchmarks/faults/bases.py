"""The healthy jobs of the suite: every learner of the menu, over networks, data sets and optimizers."""

from typing import Any, Final

from benchmarks.faults.scenario import Body

EVERY_STEPS: Final = 5
STEPS: Final = 200

DIGITS: Body = {"kind": "builtin", "name": "digits"}
WINE: Body = {"kind": "builtin", "name": "wine"}
CANCER: Body = {"kind": "builtin", "name": "breast_cancer"}
DIABETES: Body = {"kind": "builtin", "name": "diabetes"}
BLOB: Body = {"kind": "synthetic", "name": "sequence_image", "rows": 1200, "length": 6}
EVENTS: Body = {"kind": "synthetic", "name": "event_xor", "bits": 3, "rows": 1200}
PARITY: Body = {"kind": "synthetic", "name": "parity", "bits": 3, "rows": 1000}
OWN_ROWS: Body = {"kind": "file", "path": "rows.npz", "normalize": "standard"}


def sgd(lr: float, momentum: float = 0.0) -> Body:
    return {"kind": "sgd", "lr": lr, "momentum": momentum}


def adam(lr: float, kind: str = "adam") -> Body:
    return {"kind": kind, "lr": lr}


def mlp(*hidden: int, **fields: Any) -> Body:
    return {"kind": "mlp", "hidden": list(hidden), **fields}


def job(
    learner: str | Body,
    network: Body,
    optimizer: Body,
    dataset: Body = DIGITS,
    *,
    steps: int = STEPS,
    batch_size: int = 64,
) -> Body:
    """A whole job, measured at fixed steps so that nothing depends on the machine's speed."""
    return {
        "dataset": dataset,
        "network": network,
        "learner": {"kind": learner} if isinstance(learner, str) else learner,
        "optimizer": optimizer,
        "training": {"budget": {"kind": "steps", "value": steps}, "batch_size": batch_size, "evaluate_every_epochs": 2},
        "diagnostics": {
            "every_steps": EVERY_STEPS,
            "alignment_every_steps": EVERY_STEPS,
            "budget_percent": None,
        },
    }


BACKPROP: dict[str, Body] = {
    "backprop relu adam": job("backprop", mlp(64, 64), adam(0.003)),
    "backprop relu sgd": job("backprop", mlp(64, 64), sgd(0.1, 0.9)),
    "backprop tanh sgd": job("backprop", mlp(*[32] * 6, activation="tanh", init="xavier"), sgd(0.1, 0.9)),
    "backprop sigmoid adam": job("backprop", mlp(64, activation="sigmoid"), adam(0.01)),
    "backprop gelu nadam": job("backprop", mlp(64, 32, activation="gelu"), adam(0.003, "nadam")),
    "backprop deep relu": job("backprop", mlp(*[32] * 10, init="kaiming"), sgd(0.02, 0.9)),
    "backprop deep layer norm": job("backprop", mlp(*[32] * 12, norm="layer"), adam(0.003, "adamw")),
    "backprop residual": job("backprop", mlp(*[32] * 12, residual=True, norm="layer"), adam(0.003)),
    "backprop batch norm": job("backprop", mlp(64, 64, norm="batch"), adam(0.002, "rmsprop")),
    "backprop dropout": job("backprop", mlp(128, 64, dropout=0.3), adam(0.003)),
    "backprop cnn": job("backprop", {"kind": "cnn", "channels": [8, 16]}, adam(0.01)),
    "backprop resnet": job(
        "backprop", {"kind": "resnet", "channels": [8, 16], "blocks_per_stage": 1}, sgd(0.05, 0.9), steps=120
    ),
    "backprop gru": job("backprop", {"kind": "rnn", "hidden": [24]}, adam(0.01), BLOB),
    "backprop lstm": job("backprop", {"kind": "rnn", "hidden": [24], "cell": "lstm"}, adam(0.01), BLOB),
    "backprop leaky rnn": job("backprop", {"kind": "rnn", "hidden": [24], "cell": "leaky"}, adam(0.01), BLOB),
    "backprop ltc": job("backprop", {"kind": "ltc", "hidden": [8], "ode_unfolds": 3}, adam(0.02), EVENTS),
    "backprop cfc": job("backprop", {"kind": "cfc", "hidden": [16], "backbone_units": 16}, adam(0.01), EVENTS),
    "backprop transformer": job(
        "backprop", {"kind": "transformer", "width": 32, "layers": 2, "feedforward": 64}, adam(0.003), BLOB
    ),
    "backprop spiking": job("backprop", {"kind": "spiking", "hidden": [64]}, adam(0.005), BLOB),
    "backprop wine": job("backprop", mlp(32), adam(0.01), WINE, batch_size=32),
    "backprop linear": job("backprop", mlp(), sgd(0.1), CANCER, batch_size=32),
    "backprop regression": job("backprop", mlp(32), adam(0.01), DIABETES, batch_size=32),
    "backprop own rows": job("backprop", mlp(32, 32), adam(0.005), OWN_ROWS, batch_size=32),
    "backprop own rows sgd": job("backprop", mlp(32, 32), sgd(0.1), OWN_ROWS, batch_size=32),
    "backprop own rows momentum": job("backprop", mlp(32, 32), sgd(0.1, 0.9), OWN_ROWS, batch_size=32),
    "backprop small sgd": job("backprop", mlp(32, 32), sgd(0.1)),
    "backprop parity": job("backprop", mlp(32), adam(0.01), PARITY),
}

SPIKING: Body = {"kind": "spiking", "hidden": [48], "recurrent": True}
FEEDBACK: Body = {"kind": "feedback_alignment", "route": "direct"}
SEQUENTIAL: Body = {"kind": "feedback_alignment", "route": "sequential"}
STRICT: Body = {"kind": "predictive_coding"}
DENSE: Body = {"kind": "evolution_strategies", "population_size": 32}
LOW_RANK: Body = {"kind": "evolution_strategies", "population_size": 64, "rank": 1}
MEZO: Body = {"kind": "mezo", "num_directions": 8}
MIXED: Body = {
    "kind": "hybrid",
    "mix": [
        {"weight": 0.5, "learner": {"kind": "backprop"}},
        {"weight": 0.5, "learner": {"kind": "mono_forward"}},
    ],
}
SEGMENTS: Body = {
    "kind": "hybrid",
    "phases": [
        {
            "segments": [
                {"blocks": "0", "learner": {"kind": "mono_forward"}},
                {"blocks": "1-", "learner": {"kind": "backprop"}},
            ]
        }
    ],
}

OTHERS: dict[str, Body] = {
    "feedback_alignment": job(FEEDBACK, mlp(64, 64), adam(0.003)),
    "feedback_alignment sgd": job(FEEDBACK, mlp(64, 64, activation="tanh"), sgd(0.1, 0.9)),
    "feedback_alignment sequential": job(SEQUENTIAL, mlp(64, 64, activation="tanh"), adam(0.003)),
    "random_target_projection": job("random_target_projection", mlp(128, activation="tanh"), adam(0.003)),
    "random_target_projection sgd": job("random_target_projection", mlp(128, activation="tanh"), sgd(0.1, 0.9)),
    "target_propagation": job("target_propagation", mlp(64, 64, activation="tanh"), adam(0.003)),
    "predictive_coding": job(STRICT, mlp(64, 64), adam(0.003)),
    "predictive_coding deep": job(STRICT, mlp(32, 32, 32, 32, activation="tanh"), adam(0.003)),
    "predictive_coding fixed": job({**STRICT, "mode": "fixed_prediction"}, mlp(64, 64), adam(0.003)),
    "predictive_coding errors": job({**STRICT, "mode": "error_based"}, mlp(64, 64), adam(0.003)),
    "equilibrium_propagation": job("equilibrium_propagation", mlp(64, activation="hard_sigmoid"), adam(0.005)),
    "equilibrium_propagation deep": job(
        {"kind": "equilibrium_propagation", "num_free_steps": 20, "num_nudged_steps": 6},
        mlp(64, 64, activation="hard_sigmoid"),
        adam(0.005),
        steps=150,
    ),
    "forward_gradient": job("forward_gradient", mlp(32), adam(0.003)),
    "forward_gradient guesses": job({"kind": "forward_gradient", "guess": "local"}, mlp(64, 64), adam(0.003)),
    "forward_gradient resnet": job(
        "forward_gradient", {"kind": "resnet", "channels": [8, 16], "blocks_per_stage": 1}, adam(0.003), steps=120
    ),
    "forward_gradient cnn": job("forward_gradient", {"kind": "cnn", "channels": [8, 16]}, adam(0.003), steps=120),
    "evolution_strategies": job(DENSE, mlp(16), adam(0.01)),
    "evolution_strategies low rank": job(LOW_RANK, mlp(32), adam(0.01)),
    "mezo": job(MEZO, mlp(16), sgd(0.03), steps=300),
    "pepita": job("pepita", mlp(128), sgd(0.1, 0.9)),
    "noprop": job({"kind": "noprop", "num_denoising_steps": 3}, mlp(64), adam(0.003), steps=150),
    "soft_hebb": job("soft_hebb", mlp(128), adam(0.003)),
    "soft_hebb fast": job({"kind": "soft_hebb", "hebbian_rate": 3.0}, mlp(128), adam(0.003)),
    "e_prop": job("e_prop", SPIKING, adam(0.005), BLOB, steps=150),
    "e_prop leaky": job("e_prop", {"kind": "rnn", "cell": "leaky", "hidden": [32]}, adam(0.005), BLOB, steps=150),
    "forward_forward": job("forward_forward", mlp(64, 64), adam(0.01), steps=300),
    "mono_forward": job("mono_forward", mlp(64, 64), adam(0.003)),
    "mono_forward sgd": job("mono_forward", mlp(64, 64), sgd(0.1, 0.9)),
    "local_loss": job("local_loss", mlp(64, 64), adam(0.003)),
    "readout_only": job("readout_only", mlp(256), adam(0.01)),
    "readout_only sgd": job("readout_only", mlp(256), sgd(0.3, 0.9)),
    "hybrid mix": job(MIXED, mlp(64, 64), adam(0.003)),
    "hybrid segments": job(SEGMENTS, mlp(64, 64), adam(0.003)),
}

BASES: dict[str, Body] = {**BACKPROP, **OTHERS}
HEALTHY_SEEDS: Final = 3
