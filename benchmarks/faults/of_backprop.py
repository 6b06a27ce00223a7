"""What is spoilt in jobs of backpropagation: rates, depth, initial weights, clipping, schedules, data."""

from benchmarks.faults.scenario import NETWORK, Body, Fault

TOO_HIGH = ("lr_too_high",)
TOO_LOW = ("lr_too_low",)
LOWEST = ("blocks.0", "blocks.1")
BLOCKS = ("blocks.*",)
WHOLE = (NETWORK,)
INPUT = (NETWORK,)
LATER = 40
"""A loss that does not fall can be told from one that falls slowly after some steps alone."""


def rate(lr: float) -> Body:
    return {"optimizer": {"lr": lr}}


def deep(activation: str, depth: int, **fields: object) -> Body:
    return {"network": {"hidden": [32] * depth, "activation": activation, **fields}}


RATES = (
    Fault("backprop relu adam", "rate 1", rate(1.0), TOO_HIGH),
    Fault("backprop relu sgd", "rate 20", rate(20.0), TOO_HIGH),
    Fault("backprop tanh sgd", "rate 10", rate(10.0), TOO_HIGH),
    Fault("backprop sigmoid adam", "rate 3", rate(3.0), TOO_HIGH),
    Fault("backprop deep layer norm", "rate 1", rate(1.0), TOO_HIGH),
    Fault("backprop residual", "rate 3", rate(3.0), TOO_HIGH),
    Fault("backprop batch norm", "rate 3", rate(3.0), TOO_HIGH),
    Fault("backprop cnn", "rate 1", rate(1.0), TOO_HIGH),
    Fault("backprop gru", "rate 3", rate(3.0), TOO_HIGH),
    Fault("backprop transformer", "rate 1", rate(1.0), TOO_HIGH),
    Fault("backprop spiking", "rate 3", rate(3.0), TOO_HIGH),
    Fault("backprop wine", "rate 10", rate(10.0), TOO_HIGH),
    Fault("backprop relu adam", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault("backprop relu sgd", "rate 1e-6", rate(1e-6), TOO_LOW, WHOLE, LATER),
    Fault("backprop cnn", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault("backprop lstm", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault("backprop linear", "rate 1e-6", rate(1e-6), TOO_LOW, WHOLE, LATER),
    Fault("backprop regression", "rate 1e-8", rate(1e-8), TOO_LOW, WHOLE, LATER),
    Fault("backprop relu sgd", "clipped to 1e-6", {"optimizer": {"clip_grad_norm": 1e-6}}, TOO_LOW, WHOLE, LATER),
    Fault(
        "backprop gelu nadam",
        "rate halved every step",
        {"optimizer": {"schedule": {"kind": "exponential", "factor": 0.5}}},
        TOO_LOW,
        WHOLE,
        LATER,
    ),
    Fault(
        "backprop cnn",
        "warm-up of a million steps",
        {"optimizer": {"schedule": {"kind": "constant", "warmup_steps": 10**6}}},
        TOO_LOW,
        WHOLE,
        LATER,
    ),
    Fault("backprop relu adam", "epsilon 1", {"optimizer": {"lr": 1e-4, "eps": 1.0}}, TOO_LOW, WHOLE, LATER),
)

SIGNAL = (
    Fault("backprop deep relu", "sigmoid 10", deep("sigmoid", 10), ("vanishing",), LOWEST),
    Fault("backprop deep relu", "sigmoid 16", deep("sigmoid", 16), ("vanishing",), LOWEST),
    Fault("backprop deep relu", "hard sigmoid 12", deep("hard_sigmoid", 12), ("vanishing",), LOWEST),
    Fault("backprop tanh sgd", "sigmoid 8", deep("sigmoid", 8, init="default"), ("vanishing",), LOWEST),
    Fault("backprop deep layer norm", "sigmoid 14", deep("sigmoid", 14, norm="none"), ("vanishing",), LOWEST),
    Fault("backprop relu sgd", "step units", {"network": {"activation": "step"}}, ("vanishing",), BLOCKS),
    Fault("backprop parity", "step units", {"network": {"activation": "step"}}, ("vanishing",), BLOCKS),
    Fault("backprop relu adam", "zero weights", {"network": {"init": "zeros"}}, ("vanishing", "dead_units"), BLOCKS),
    Fault("backprop tanh sgd", "zero weights", {"network": {"init": "zeros"}}, ("vanishing", "dead_units"), BLOCKS),
    Fault(
        "backprop residual",
        "no norm",
        {"network": {"hidden": [32] * 24, "norm": "none", "init": "kaiming"}, "optimizer": {"kind": "sgd", "lr": 0.01}},
        ("exploding",),
    ),
    Fault(
        "backprop deep relu",
        "identity 24",
        {**deep("identity", 24), "optimizer": {"kind": "sgd", "lr": 0.01}},
        ("exploding",),
    ),
    Fault(
        "backprop deep relu",
        "leaky relu and xavier residual",
        {
            "network": {"hidden": [32] * 30, "activation": "leaky_relu", "residual": True},
            "optimizer": {"kind": "sgd", "lr": 0.02},
        },
        ("exploding",),
    ),
)

UNITS = (
    Fault("backprop relu adam", "rate 0.3", rate(0.3), ("dead_units", "lr_too_high")),
    Fault("backprop cnn", "rate 0.5", rate(0.5), ("dead_units", "lr_too_high")),
    Fault("backprop deep relu", "rate 2", rate(2.0), ("dead_units", "lr_too_high")),
    Fault("backprop small sgd", "rate 5", rate(5.0), ("dead_units", "lr_too_high")),
    Fault(
        "backprop small sgd",
        "rate 5, seldom measured",
        {**rate(5.0), "diagnostics": {"every_steps": 40, "alignment_every_steps": 40}},
        ("dead_units",),
        BLOCKS,
        40,
    ),
    Fault("backprop small sgd", "zero weights", {"network": {"init": "zeros"}}, ("vanishing", "dead_units"), BLOCKS),
    Fault("backprop spiking", "threshold 1000", {"network": {"threshold": 1000.0}}, ("dead_units",), BLOCKS),
)

ROWS = (
    Fault("backprop wine", "raw features", {"dataset": {"normalize": "none"}}, ("input_scale",), INPUT),
    Fault("backprop linear", "raw features", {"dataset": {"normalize": "none"}}, ("input_scale",), INPUT),
    Fault(
        "backprop own rows",
        "times 1000",
        {"dataset": {"path": "large.npz", "normalize": "none"}},
        ("input_scale",),
        INPUT,
    ),
    Fault(
        "backprop own rows sgd",
        "times 1000",
        {"dataset": {"path": "large.npz", "normalize": "none"}},
        ("input_scale",),
        INPUT,
    ),
    Fault(
        "backprop own rows",
        "offset of 400",
        {"dataset": {"path": "offset.npz", "normalize": "none"}},
        ("input_scale",),
        INPUT,
    ),
    Fault(
        "backprop own rows sgd",
        "tiny features",
        {"dataset": {"path": "tiny.npz", "normalize": "none"}},
        ("input_scale",),
        INPUT,
    ),
    Fault(
        "backprop own rows",
        "constant columns",
        {"dataset": {"path": "constant.npz", "normalize": "none"}},
        ("input_scale",),
        INPUT,
    ),
    Fault(
        "backprop own rows momentum",
        "outliers",
        {"dataset": {"path": "outliers.npz", "normalize": "none"}},
        ("grad_spike", "exploding"),
        WHOLE,
        60,
    ),
    Fault(
        "backprop own rows",
        "labels by chance",
        {
            "dataset": {"path": "guesses.npz"},
            "network": {"hidden": [256, 256]},
            "training": {"budget": {"kind": "steps", "value": 400}, "evaluate_every_epochs": 1},
        },
        ("overfit",),
        WHOLE,
        235,
    ),
    Fault(
        "backprop relu adam",
        "few rows",
        {
            "dataset": {"split": {"validation": 0.4, "test": 0.55}},
            "network": {"hidden": [256, 256]},
            "optimizer": {"lr": 0.01},
            "training": {"budget": {"kind": "steps", "value": 400}, "evaluate_every_epochs": 5},
        },
        ("overfit",),
        WHOLE,
        150,
    ),
    Fault(
        "backprop parity",
        "chance of parity",
        {"dataset": {"bits": 24, "rows": 600}, "network": {"hidden": [128]}, "training": {"evaluate_every_epochs": 1}},
        ("overfit",),
        WHOLE,
        100,
    ),
)

FAULTS: tuple[Fault, ...] = (*RATES, *SIGNAL, *UNITS, *ROWS)
