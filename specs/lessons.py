"""Lessons: jobs that are meant to fail in a way that their diagnostics show, each with the one change that mends it."""

from specs.recipe import DIGITS, Lesson, Recipe

BACKPROP = {"kind": "backprop"}
MEASURED = {"every_steps": 10, "alignment_every_steps": 50, "budget_percent": None}
"""At fixed steps, so that nothing is missing where the lesson looks."""

LESSONS: tuple[Recipe, ...] = (
    Recipe(
        name="lesson_vanishing_gradient",
        description="Ten sigmoid layers: each divides the error by about four, and the first layers never learn.",
        paper="Hochreiter 1991; Glorot & Bengio 2010: Understanding the difficulty of training deep networks",
        spec={
            "dataset": DIGITS,
            "network": {"kind": "mlp", "hidden": [32] * 10, "activation": "sigmoid", "init": "kaiming"},
            "learner": BACKPROP,
            "optimizer": {"kind": "sgd", "lr": 0.02, "momentum": 0.9},
            "training": {"epochs": 10},
            "diagnostics": MEASURED,
        },
        lesson=Lesson(
            shows="grad_norm falls from the read-out to blocks.0 by four orders of magnitude; accuracy stays at chance",
            cure={"network": {"activation": "relu"}},
            because="the slope of a sigmoid is at most 1/4, that of a rectifier 1 wherever the unit is active",
        ),
    ),
    Recipe(
        name="lesson_exploding_gradient",
        description="24 residual blocks without normalisation: each adds its variance to the last, and all multiply.",
        paper="Pascanu, Mikolov & Bengio 2013, arXiv 1211.5063; Zhang, Dauphin & Ma 2019, arXiv 1901.09321",
        spec={
            "dataset": DIGITS,
            "network": {"kind": "mlp", "hidden": [32] * 24, "residual": True, "init": "kaiming"},
            "learner": BACKPROP,
            "optimizer": {"kind": "sgd", "lr": 0.01},
            "training": {"epochs": 5},
            "diagnostics": {"every_steps": 1, "alignment_every_steps": None, "budget_percent": None},
        },
        lesson=Lesson(
            shows="grad_norm is in the millions at the first step; the job fails as diverged a step or two later",
            cure={"network": {"norm": "layer"}},
            because="every block then reads inputs of unit variance, so what it adds no longer grows with depth",
        ),
    ),
    Recipe(
        name="lesson_dead_relu",
        description="A learning rate so high that one step pushes rectifiers below zero on every row, for good.",
        paper="Lu, Shin, Su & Karniadakis 2020, arXiv 1903.06733",
        spec={
            "dataset": DIGITS,
            "network": {"kind": "mlp", "hidden": [64, 64]},
            "learner": BACKPROP,
            "optimizer": {"kind": "adam", "lr": 0.3},
            "training": {"epochs": 10},
            "diagnostics": MEASURED,
        },
        lesson=Lesson(
            shows="dead_share goes to 1 in all blocks, their grad_norm to 0; accuracy stays at chance",
            cure={"optimizer": {"lr": 0.003}},
            because="small steps leave most units active on some rows; a leaky_relu has no dead side at all",
        ),
    ),
    Recipe(
        name="lesson_checkpointing",
        description="A hundred blocks keep all their activations for the backward pass, most of a step's memory.",
        paper="Chen, Xu, Zhang & Guestrin 2016, arXiv 1604.06174",
        spec={
            "dataset": DIGITS,
            "network": {"kind": "mlp", "hidden": [32] * 100, "residual": True, "norm": "layer"},
            "learner": BACKPROP,
            "optimizer": {"kind": "adam", "lr": 0.001},
            "training": {"budget": {"kind": "steps", "value": 20}},
            "diagnostics": MEASURED,
        },
        lesson=Lesson(
            shows="cost.memory.activation_bytes, what is kept between the passes, grows with the number of blocks",
            cure={"training": {"activation_checkpointing": "sqrt"}},
            because="ten groups of ten blocks keep their inputs alone and are computed again on the way back, in turn: "
            "the same weights bit for bit, for about one more forward pass",
        ),
    ),
    Recipe(
        name="lesson_step_activation",
        description="Units that are 0 or 1 have slope 0 everywhere: backpropagation trains the read-out and nothing "
        "below it, and parity cannot be read off five random features.",
        paper="Malladi et al. 2023 (MeZO), arXiv 2305.17333; Salimans et al. 2017, arXiv 1703.03864",
        spec={
            "dataset": {"kind": "synthetic", "name": "parity", "bits": 3, "rows": 1000},
            "network": {"kind": "mlp", "hidden": [5], "activation": "step"},
            "learner": BACKPROP,
            "optimizer": {"kind": "sgd", "lr": 0.1},
            "training": {"epochs": 40, "batch_size": 32},
            "diagnostics": MEASURED,
        },
        lesson=Lesson(
            shows="grad_norm of blocks.0 is exactly 0, missing.alignment says zero_norm; accuracy stays below 1",
            cure={"learner": {"kind": "mezo", "perturbation_scale": 0.3, "num_directions": 8}},
            because="a rule that only compares losses at some distance sees the slope of the smoothed loss, which is "
            "not 0; nothing has to be differentiable",
        ),
    ),
)
