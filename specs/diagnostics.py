"""Diagnostics: what is measured while a job trains, how often, and what it may cost."""

from typing import ClassVar, Final, Literal

from pydantic import Field

from specs.kinds import Spec

GRADIENT_BIN: Final = "gradient_bin_"
GRADIENT_BINS: Final = 64
LOWEST_EXPONENT: Final = -50
"""Bin k of a gradient histogram begins at 2^(LOWEST_EXPONENT + k): from 9e-16 to 16,384."""


class DiagnosticKindSpec(Spec):
    """What every diagnostic declares for the catalog."""

    quantities: ClassVar[dict[str, str]] = {}
    """Name of the series -> unit."""
    needs_probe_step: ClassVar[bool] = False
    """Measured at ``alignment_every_steps`` instead of ``every_steps``."""
    switch: ClassVar[str | None] = None
    """The field of the job's ``diagnostics`` that turns it on; None: it is always on."""
    paper: ClassVar[str | None] = None


class NormsSpec(DiagnosticKindSpec):
    """L2 norms of pseudo-gradient (before clipping), weights and updates: whole, by layer."""

    kind: Literal["norms"] = "norms"
    quantities: ClassVar[dict[str, str]] = {
        "grad_norm": "",
        "weight_norm": "",
        "update_norm": "",
        "update_ratio": "ratio",
    }


class ClippingSpec(DiagnosticKindSpec):
    """Share of the steps since the last point whose gradient was clipped."""

    kind: Literal["clipping"] = "clipping"
    quantities: ClassVar[dict[str, str]] = {"clipped_share": "share"}


class NonfiniteSpec(DiagnosticKindSpec):
    """Whether the loss or a pseudo-gradient of this step was NaN or infinite, 1 or 0."""

    kind: Literal["nonfinite"] = "nonfinite"
    quantities: ClassVar[dict[str, str]] = {"nonfinite": "flag"}


class ActivationsSpec(DiagnosticKindSpec):
    """How a layer's units answer a fixed probe batch in eval mode: mean (of spiking units the spike rate), standard
    deviation, share of zeros, share of units that are zero on every row, and, where the output is that of a tanh, a
    sigmoid or a hard sigmoid, share of the activations whose slope is below a thousandth of the largest. Of the inputs
    themselves mean and standard deviation, as series of the whole network."""

    kind: Literal["activations"] = "activations"
    quantities: ClassVar[dict[str, str]] = {
        "activation_mean": "",
        "activation_std": "",
        "zero_share": "share",
        "dead_share": "share",
        "saturated_share": "share",
        "input_mean": "",
        "input_std": "",
    }
    needs_probe_step: ClassVar[bool] = True


class AlignmentSpec(DiagnosticKindSpec):
    """Cosine of the pseudo-gradient with the true backprop gradient of the same batch, and what a correct
    estimate of this kind is expected to reach; share of the reference's entries with the same sign; the ratio of the
    two norms; and how much the layer's own step lowered the reference's loss, to first order (negative: raised it).
    Missing, with a reason, where the reference is nothing but rounding."""

    kind: Literal["alignment"] = "alignment"
    quantities: ClassVar[dict[str, str]] = {
        "alignment_cosine": "cosine",
        "alignment_expected": "cosine",
        "alignment_norm_ratio": "ratio",
        "alignment_sign_agreement": "share",
        "first_order_decrease": "",
    }
    needs_probe_step: ClassVar[bool] = True
    paper: ClassVar[str | None] = "Lillicrap et al. 2016; Nøkland 2016, arXiv 1609.01596; arXiv 2606.21126"


class SignalOverTimeSpec(DiagnosticKindSpec):
    """How the gradient fares on its way back through time, by recurrent layer: norm of d loss / d state at up to 31
    steps (series ``time_signal_<step>``), the earliest over the largest, and the slope of log10 over steps."""

    kind: Literal["signal_over_time"] = "signal_over_time"
    quantities: ClassVar[dict[str, str]] = {"time_signal_ratio": "ratio", "time_signal_slope": "decades/step"}
    needs_probe_step: ClassVar[bool] = True
    paper: ClassVar[str | None] = "Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063"


class TimeConstantsSpec(DiagnosticKindSpec):
    """Shortest and longest time constant that the neurons of a liquid layer can take, in the unit of the time steps."""

    kind: Literal["time_constants"] = "time_constants"
    quantities: ClassVar[dict[str, str]] = {"tau_min": "dt", "tau_max": "dt"}
    needs_probe_step: ClassVar[bool] = True
    paper: ClassVar[str | None] = "Hasani et al. 2020, arXiv 2006.04439"


class RowGradientsSpec(DiagnosticKindSpec):
    """Norms of the single rows' true gradients by ghost norms: mean, standard deviation, maximum, 99th percentile. Of
    the whole network also the gradient noise scale in rows, from moving averages over about ten probes of its two
    estimates, and the diversity of the rows. Refused under batch normalisation, which mixes rows."""

    kind: Literal["row_gradients"] = "row_gradients"
    quantities: ClassVar[dict[str, str]] = {
        "row_grad_norm_mean": "",
        "row_grad_norm_std": "",
        "row_grad_norm_max": "",
        "row_grad_norm_p99": "",
        "gradient_signal": "",
        "gradient_noise": "",
        "gradient_diversity": "ratio",
        "noise_scale": "rows",
    }
    needs_probe_step: ClassVar[bool] = True
    switch: ClassVar[str | None] = "row_gradients"
    paper: ClassVar[str | None] = "Goodfellow 2015, arXiv 1510.01799; McCandlish et al. 2018, arXiv 1812.06162"


class GradientHistogramSpec(DiagnosticKindSpec):
    """How many entries of a layer's pseudo-gradient (before clipping) have which magnitude: series
    ``gradient_bin_00`` to ``gradient_bin_63``, of which bin k counts 2^(k - 50) <= abs(g) < 2^(k - 49), 0.301 decades;
    the ends hold what is beyond them. Zeros and numbers that are not finite are counted apart. Bins are the same for
    every job, so histograms can be added up."""

    kind: Literal["gradient_histogram"] = "gradient_histogram"
    quantities: ClassVar[dict[str, str]] = {
        **{f"{GRADIENT_BIN}{number:02d}": "entries" for number in range(GRADIENT_BINS)},
        "gradient_zeros": "entries",
        "gradient_nonfinite": "entries",
    }
    switch: ClassVar[str | None] = "gradient_histogram"


class ThroughputSpec(DiagnosticKindSpec):
    """Speed and position of training: samples per second, wall seconds and samples so far."""

    kind: Literal["throughput"] = "throughput"
    quantities: ClassVar[dict[str, str]] = {
        "samples_per_s": "1/s",
        "wall_s": "s",
        "samples": "rows",
        "energy_joules": "J",
    }


class OwnQuantitiesSpec(DiagnosticKindSpec):
    """What the learner itself reports: goodness, inference energy, sizes of perturbations ..."""

    kind: Literal["own_quantities"] = "own_quantities"


DIAGNOSTIC_KINDS: tuple[type[DiagnosticKindSpec], ...] = (
    NormsSpec,
    ClippingSpec,
    NonfiniteSpec,
    ActivationsSpec,
    AlignmentSpec,
    SignalOverTimeSpec,
    TimeConstantsSpec,
    RowGradientsSpec,
    GradientHistogramSpec,
    ThroughputSpec,
    OwnQuantitiesSpec,
)


class DiagnosticsSpec(Spec):
    """How often training is measured. A point is taken at step 1, at multiples of the interval and at the last step.

    Nothing measured here changes training by a bit.
    """

    every_steps: int | None = Field(
        default=10,
        ge=1,
        le=10_000_000,
        description="steps between two points; null: the loss alone, at the first and the last step",
    )
    alignment_every_steps: int | None = Field(
        default=100, ge=1, le=10_000_000, description="steps between two probes against the true gradient; null: none"
    )
    row_gradients: bool = Field(
        default=False,
        description="at the probes against the true gradient also measure the norms of single rows' gradients and the "
        "gradient noise scale, at one more pass there and back",
    )
    gradient_histogram: bool = Field(
        default=False,
        description="with the norms also count each layer's gradient entries by magnitude, in 64 fixed bins",
    )
    leave_out: tuple[Literal["norms", "activations", "alignment", "signal_over_time", "time_constants"], ...] = Field(
        default=(),
        strict=False,
        max_length=5,
        description="what is measured by default and shall not be; verdicts that need it are not found",
    )
    budget_percent: float | None = Field(
        default=1.0,
        gt=0,
        le=100,
        description="measuring takes at most this share of training time: intervals widen by themselves, and after the "
        "first step, which is always measured, norms and probes wait until there is room; null: no limit",
    )
