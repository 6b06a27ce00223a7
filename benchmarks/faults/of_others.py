"""What is spoilt in jobs of the other rules: at least three faults of its own for each."""

from benchmarks.faults.of_backprop import BLOCKS, INPUT, LATER, TOO_HIGH, TOO_LOW, WHOLE, rate
from benchmarks.faults.scenario import Body, Fault

UNSCALED: Body = {
    "dataset": {"kind": "builtin", "name": "wine", "normalize": "none"},
    "training": {"batch_size": 32},
}


def learner(**fields: object) -> Body:
    return {"learner": fields}


FEEDBACK = (
    Fault("feedback_alignment", "rate 1", rate(1.0), TOO_HIGH),
    Fault("feedback_alignment", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault("feedback_alignment sgd", "no feedback", learner(feedback_scale=1e-7), ("vanishing",), BLOCKS),
    Fault("feedback_alignment sgd", "huge feedback", learner(feedback_scale=1e3), ("exploding", "lr_too_high"), BLOCKS),
    Fault("feedback_alignment", "step units", {"network": {"activation": "step"}}, ("vanishing",), BLOCKS),
    Fault("feedback_alignment sequential", "rate 3", rate(3.0), TOO_HIGH),
    Fault(
        "feedback_alignment sequential",
        "tiny feedback",
        {**learner(feedback_scale=1e-4), "optimizer": {"kind": "sgd", "lr": 0.1}},
        ("vanishing",),
        BLOCKS,
    ),
    Fault("random_target_projection sgd", "no projection", learner(projection_scale=1e-7), ("vanishing",), BLOCKS),
    Fault(
        "random_target_projection sgd",
        "huge projection",
        learner(projection_scale=1e3),
        ("exploding", "lr_too_high"),
        BLOCKS,
    ),
    Fault("random_target_projection", "rate 3", rate(3.0), TOO_HIGH),
    Fault("random_target_projection", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault("target_propagation", "rate 3", rate(3.0), TOO_HIGH),
    Fault("target_propagation", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault("target_propagation", "step units", {"network": {"activation": "step"}}, ("vanishing",), BLOCKS),
    Fault("target_propagation", "zero weights", {"network": {"init": "zeros"}}, ("vanishing", "dead_units"), BLOCKS),
    Fault("pepita", "no feedback", learner(feedback_scale=1e-7), ("vanishing",), BLOCKS),
    Fault("pepita", "huge feedback", learner(feedback_scale=30.0), ("exploding", "lr_too_high", "misaligned"), BLOCKS),
    Fault("pepita", "rate 100", rate(100.0), TOO_HIGH),
    Fault("pepita", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
)

ENERGY = (
    Fault("predictive_coding", "one inference step", learner(inference_steps=1), ("vanishing",), ("blocks.0",)),
    Fault("predictive_coding deep", "two inference steps", learner(inference_steps=2), ("vanishing",), ("blocks.*",)),
    Fault(
        "predictive_coding", "inference overshoots", learner(inference_rate=2.0, inference_steps=32), ("not_settled",)
    ),
    Fault("predictive_coding deep", "inference overshoots", learner(inference_rate=2.0), ("not_settled",)),
    Fault(
        "predictive_coding errors",
        "inference overshoots",
        learner(inference_rate=2.0, inference_steps=16, output_weight=50.0),
        ("not_settled",),
    ),
    Fault("predictive_coding fixed", "one sweep", learner(inference_steps=1), ("vanishing",), ("blocks.0",)),
    Fault("predictive_coding", "rate 1", rate(1.0), TOO_HIGH),
    Fault("predictive_coding fixed", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault(
        "equilibrium_propagation", "nudge below precision", learner(nudging_strength=1e-7), ("signal_below_precision",)
    ),
    Fault("equilibrium_propagation deep", "one free step", learner(num_free_steps=1), ("not_settled",)),
    Fault("equilibrium_propagation", "one free step", learner(num_free_steps=1), ("not_settled",)),
    Fault(
        "equilibrium_propagation deep", "one nudged step", learner(num_nudged_steps=1), ("vanishing",), ("blocks.0",)
    ),
    Fault("equilibrium_propagation", "rate 1", rate(1.0), TOO_HIGH),
    Fault("equilibrium_propagation deep", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
)

GRADIENT_FREE = (
    Fault("forward_gradient", "rate 1", rate(1.0), TOO_HIGH),
    Fault("forward_gradient", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault(
        "forward_gradient",
        "one direction for all weights",
        {**learner(perturb="weights"), "network": {"hidden": [128, 128]}},
        ("estimate_too_noisy",),
        WHOLE,
        LATER,
    ),
    Fault("forward_gradient guesses", "rate 1", rate(1.0), TOO_HIGH),
    Fault("forward_gradient resnet", "rate 1", rate(1.0), TOO_HIGH),
    Fault(
        "evolution_strategies", "scale below precision", learner(perturbation_scale=1e-8), ("signal_below_precision",)
    ),
    Fault("evolution_strategies", "scale 5", learner(perturbation_scale=5.0), ("perturbation_too_large",)),
    Fault("evolution_strategies low rank", "scale 3", learner(perturbation_scale=3.0), ("perturbation_too_large",)),
    Fault(
        "evolution_strategies low rank",
        "population of two",
        {**learner(population_size=2), "optimizer": {"lr": 0.001}},
        ("estimate_too_noisy",),
        WHOLE,
        LATER,
    ),
    Fault("evolution_strategies", "rate 3", rate(3.0), TOO_HIGH),
    Fault("evolution_strategies", "rate 1e-8", rate(1e-8), TOO_LOW, WHOLE, LATER),
    Fault("mezo", "scale below precision", learner(perturbation_scale=1e-8), ("signal_below_precision",)),
    Fault("mezo", "scale 1", learner(perturbation_scale=1.0), ("perturbation_too_large",)),
    Fault("mezo", "rate 10", rate(10.0), TOO_HIGH),
    Fault("mezo", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault(
        "mezo",
        "one direction",
        {**learner(num_directions=1), "network": {"hidden": [128, 128]}, "optimizer": {"lr": 1e-4}},
        ("estimate_too_noisy",),
        WHOLE,
        LATER,
    ),
)

LOCAL = (
    Fault("forward_forward", "threshold 1000", learner(goodness_threshold=1000.0), ("threshold_off",), BLOCKS),
    Fault("forward_forward", "threshold 1e-5", learner(goodness_threshold=1e-5), ("threshold_off",), BLOCKS),
    Fault(
        "forward_forward",
        "sum under the mean's threshold",
        learner(goodness="sum_squares", goodness_threshold=0.01),
        ("threshold_off",),
        BLOCKS,
    ),
    Fault("forward_forward", "rate 3", rate(3.0), TOO_HIGH),
    Fault("mono_forward", "rate 1", rate(1.0), TOO_HIGH),
    Fault("mono_forward sgd", "rate 20", rate(20.0), TOO_HIGH),
    Fault("mono_forward", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault("mono_forward", "raw features", UNSCALED, ("input_scale",), INPUT),
    Fault("mono_forward sgd", "step units", {"network": {"activation": "step"}}, ("vanishing",), BLOCKS),
    Fault("local_loss", "rate 1", rate(1.0), TOO_HIGH),
    Fault("local_loss", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault("local_loss", "zero weights", {"network": {"init": "zeros"}}, ("vanishing", "dead_units"), BLOCKS),
    Fault("local_loss", "raw features", UNSCALED, ("input_scale",), INPUT),
    Fault("noprop", "rate 1", rate(1.0), TOO_HIGH),
    Fault("noprop", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault(
        "noprop",
        "weightless loss",
        {
            **learner(denoising_loss="squared_error", denoising_weight=1e-6),
            "optimizer": {"kind": "sgd", "lr": 0.1},
        },
        ("lr_too_low", "vanishing"),
        WHOLE,
        LATER,
    ),
    Fault("noprop", "raw features", UNSCALED, ("input_scale",), INPUT),
    Fault("soft_hebb fast", "all units win", learner(inverse_temperature=1e-3), ("collapsed",), BLOCKS),
    Fault("soft_hebb", "rate 3", rate(3.0), TOO_HIGH),
    Fault("soft_hebb", "blocks race", learner(hebbian_rate=1e3), TOO_HIGH, BLOCKS),
    Fault("soft_hebb", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault("e_prop", "threshold 1000", {"network": {"threshold": 1000.0}}, ("dead_units",), BLOCKS),
    Fault("e_prop", "rate 3", rate(3.0), TOO_HIGH),
    Fault("e_prop leaky", "rate 3", rate(3.0), TOO_HIGH),
    Fault("e_prop", "rate 1e-8", rate(1e-8), TOO_LOW, WHOLE, LATER),
    Fault("readout_only", "rate 30", rate(30.0), TOO_HIGH),
    Fault("readout_only", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
    Fault(
        "readout_only",
        "zero weights",
        {"network": {"init": "zeros"}},
        ("dead_units", "plateau"),
        (*BLOCKS, *WHOLE),
        60,
    ),
    Fault("readout_only sgd", "clipped to 1e-6", {"optimizer": {"clip_grad_norm": 1e-6}}, TOO_LOW, WHOLE, LATER),
    Fault("readout_only sgd", "raw features", UNSCALED, ("input_scale",), INPUT),
    Fault("hybrid mix", "rate 1", rate(1.0), TOO_HIGH),
    Fault("hybrid mix", "zero weights", {"network": {"init": "zeros"}}, ("vanishing", "dead_units"), BLOCKS),
    Fault("hybrid segments", "rate 1", rate(1.0), TOO_HIGH),
    Fault("hybrid segments", "rate 1e-7", rate(1e-7), TOO_LOW, WHOLE, LATER),
)

FAULTS: tuple[Fault, ...] = (*FEEDBACK, *ENERGY, *GRADIENT_FREE, *LOCAL)
