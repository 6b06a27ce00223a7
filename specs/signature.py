"""What a prepared data set looks like: all that a network must know to be built for it."""

from typing import Literal

from pydantic import Field

from specs.kinds import Spec

TaskName = Literal["classification", "regression", "sequence_classification"]


class DataSignature(Spec):
    """Shapes and task of a prepared data set. ``input_shape`` is without the batch."""

    task: TaskName
    input_shape: tuple[int, ...] = Field(strict=False, description="[D] vector, [C,H,W] image or [T,I] sequence")
    outputs: int = Field(gt=0, description="classes, or regression targets")
    has_dt: bool = Field(default=False, description="sequences carry a time step per row and step, dt [N,T]")
    rows_train: int = Field(gt=0)
    rows_validation: int = Field(default=0, ge=0)
    rows_test: int = Field(default=0, ge=0)
    feature_names: tuple[str, ...] | None = Field(default=None, strict=False)
    class_names: tuple[str, ...] | None = Field(default=None, strict=False)

    @property
    def layout(self) -> Literal["vector", "image", "sequence"]:
        if len(self.input_shape) == 3:
            return "image"
        return "sequence" if len(self.input_shape) == 2 else "vector"
