"""Data sources: where the rows of a job come from, and what is known of them before they are read."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from specs.kinds import Spec
from specs.signature import DataSignature, TaskName

Normalization = Literal["none", "standard", "unit"]
TaskChoice = Literal["auto", "classification", "regression", "sequence_classification"]


class SplitSpec(Spec):
    """How rows are divided. Rows of a split keep their order in the source."""

    validation: float = Field(default=0.1, ge=0, lt=1, description="fraction of the rows kept for validation")
    test: float = Field(
        default=0.2, ge=0, lt=1, description="fraction kept for the test; ignored where the source has an official test"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="which rows go where")

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> "SplitSpec":
        if self.validation + self.test >= 1:
            raise PydanticCustomError(
                "split_leaves_no_training_rows",
                "validation and test together must be below 1",
                {"allowed": "validation + test < 1"},
            )
        return self


class DataSourceSpec(Spec):
    """What every data source takes."""

    task: TaskChoice = Field(
        default="auto", description="auto: an integer or text target means classification, sequences included"
    )
    split: SplitSpec = Field(default_factory=SplitSpec)
    normalize: Normalization = Field(
        default="none",
        description="statistics of the training rows alone: standard = mean 0, deviation 1 per feature (per channel of "
        "an image); unit = the range 0 to 1 (one range for a whole image)",
    )


class BuiltinSpec(DataSourceSpec):
    """A small classic that comes with the product; needs no network."""

    kind: Literal["builtin"] = "builtin"
    name: Literal["digits", "iris", "wine", "breast_cancer", "diabetes"]
    normalize: Normalization = Field(
        default="standard", description="default: unit for digits, standard for the tables"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_scale(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("name") == "digits":
            return {"normalize": "unit"} | fields
        return fields


class SyntheticSpec(DataSourceSpec):
    """Rows made by a generator from a seed."""

    kind: Literal["synthetic"] = "synthetic"
    name: Literal["event_xor", "parity", "sequence_image"] = Field(
        description="event_xor: the parity of a bit stream, of which only the changes arrive, at irregular times; "
        "parity: the parity of a vector of bits; sequence_image: which of four ways a blob moves over small frames"
    )
    rows: int = Field(default=8000, ge=10, le=1_000_000, description="rows of all splits together")
    bits: int = Field(default=8, ge=1, le=64, description="event_xor and parity: bits per row")
    length: int | None = Field(
        default=None, ge=1, le=512, description="steps per sequence; event_xor: default bits; sequence_image: default 8"
    )
    jitter: float = Field(
        default=0.1, ge=0, le=0.5, description="event_xor: relative spread of a bit's duration; noise of sequence_image"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the generator")

    @model_validator(mode="after")
    def _room_for_every_event(self) -> "SyntheticSpec":
        if self.name == "event_xor" and self.length is not None and self.length < self.bits:
            raise PydanticCustomError(
                "length_too_short",
                "a stream of {bits} bits can hold {bits} events: length must not be below bits",
                {"bits": self.bits, "pointer": "/length", "allowed": f">= {self.bits}"},
            )
        return self

    @property
    def steps(self) -> int:
        """Steps of a sequence."""
        return self.length or (self.bits if self.name == "event_xor" else 8)


class PublishedSpec(DataSourceSpec):
    """A published data set: its packed files in the data folder, else downloaded; their checksums are verified.

    Of files that lie there unpacked, where the publisher states a checksum of the packed ones alone, the structure is.
    The official test split is kept, so ``split.test`` has no effect.
    """

    kind: Literal["published"] = "published"
    name: Literal["mnist", "fashion_mnist", "cifar10", "cifar100"] = Field(
        description="mnist and fashion_mnist: idx files in the folder of the name; cifar10 and cifar100 (its 100 fine "
        "classes): the binary version, as its archive or unpacked"
    )
    normalize: Normalization = Field(default="unit", description="statistics of the training rows alone")


INSIDE = r"^(?!/)(?!(.*/)?\.\.(/|$))[^\x00]+\.(csv|npz|parquet)$"


class FileSpec(DataSourceSpec):
    """A csv with a header, an npz (``x``, ``y``, for sequences also ``dt``) or a parquet file of the data folder."""

    kind: Literal["file"] = "file"
    path: str = Field(
        min_length=1,
        max_length=512,
        json_schema_extra={"pattern": INSIDE},
        description="relative to the data folder; nothing outside it is read",
        examples=["measurements.csv"],
    )

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        form = "a csv, npz or parquet file, relative to the data folder"
        if path.startswith("/") or ".." in path.split("/"):
            reason = f"{path[:80]!r} leads out of the data folder, and nothing outside it is read"
            raise PydanticCustomError("outside_data_folder", "{reason}", {"reason": reason, "allowed": [form]})
        if re.fullmatch(INSIDE, path, re.DOTALL) is None:
            reason = f"{path[:80]!r} is not {form}"
            raise PydanticCustomError("no_data_file", "{reason}", {"reason": reason, "allowed": [form]})
        return path

    target: str | None = Field(
        default=None, max_length=200, description="name of the target column (csv, parquet); default: the last one"
    )


class UploadedSpec(DataSourceSpec):
    """A file that was uploaded to ``/v1/datasets``: csv, npz, parquet, safetensors or a zip of an image folder."""

    kind: Literal["uploaded"] = "uploaded"
    id: str = Field(
        pattern="^ds_[0-9a-f]{32}$",
        description="of the upload",
        examples=["ds_0123456789abcdef0123456789abcdef"],
    )
    target: str | None = Field(
        default=None, max_length=200, description="name of the target column (csv, parquet); default: the last one"
    )


DatasetSpec = Annotated[
    BuiltinSpec | SyntheticSpec | PublishedSpec | FileSpec | UploadedSpec, Field(discriminator="kind")
]

_SYNTHETIC = ("event_xor", "parity", "sequence_image")
# name -> rows, input shape, outputs, task
_BUILTIN: dict[str, tuple[int, tuple[int, ...], int, TaskName]] = {
    "digits": (1797, (1, 8, 8), 10, "classification"),
    "iris": (150, (4,), 3, "classification"),
    "wine": (178, (13,), 3, "classification"),
    "breast_cancer": (569, (30,), 2, "classification"),
    "diabetes": (442, (10,), 1, "regression"),
}
# name -> rows for training, rows of the official test, input shape, classes
_PUBLISHED: dict[str, tuple[int, int, tuple[int, ...], int]] = {
    "mnist": (60_000, 10_000, (1, 28, 28), 10),
    "fashion_mnist": (60_000, 10_000, (1, 28, 28), 10),
    "cifar10": (50_000, 10_000, (3, 32, 32), 10),
    "cifar100": (50_000, 10_000, (3, 32, 32), 100),
}


def named_datasets() -> tuple[str, ...]:
    """Every data set that has a name of its own."""
    return (*_BUILTIN, *_SYNTHETIC, *_PUBLISHED)


def split_rows(rows: int, split: SplitSpec) -> tuple[int, int, int]:
    """Rows of train, validation and test; each fraction is rounded to the nearest row."""
    validation = round(rows * split.validation)
    test = round(rows * split.test)
    return rows - validation - test, validation, test


def chosen_task(choice: TaskChoice, implied: TaskName) -> TaskName:
    """The task that is trained: the client's choice where the target allows it.

    Classes may be read as numbers (regression); numbers are not classes. Raises ``PydanticCustomError``.
    """
    allowed = ["auto", "regression"] if implied == "regression" else ["auto", implied, "regression"]
    if implied == "sequence_classification":
        allowed.append("classification")
    if choice not in allowed:
        raise PydanticCustomError(
            "task_does_not_fit",
            "the target of this data set is for {implied}",
            {"implied": implied, "pointer": "/dataset/task", "allowed": allowed},
        )
    return "regression" if choice == "regression" else implied


def known_signature(dataset: DatasetSpec) -> DataSignature | None:
    """What is known of a data set before it is read; None for the user's own files.

    Raises ``PydanticCustomError`` where the spec's task does not fit the target.
    """
    if isinstance(dataset, BuiltinSpec):
        rows, shape, outputs, task = _BUILTIN[dataset.name]
        train, validation, test = split_rows(rows, dataset.split)
    elif isinstance(dataset, SyntheticSpec):
        shape, outputs, task = _synthetic_shape(dataset)
        train, validation, test = split_rows(dataset.rows, dataset.split)
    elif isinstance(dataset, PublishedSpec):
        rows, test, shape, outputs = _PUBLISHED[dataset.name]
        task = "classification"
        without_test = dataset.split.model_copy(update={"test": 0.0})
        train, validation, _ = split_rows(rows, without_test)
    else:
        return None
    task = chosen_task(dataset.task, task)
    return DataSignature(
        task=task,
        input_shape=shape,
        outputs=1 if task == "regression" else outputs,
        has_dt=isinstance(dataset, SyntheticSpec) and dataset.name == "event_xor",
        rows_train=train,
        rows_validation=validation,
        rows_test=test,
    )


def _synthetic_shape(dataset: SyntheticSpec) -> tuple[tuple[int, ...], int, TaskName]:
    if dataset.name == "event_xor":
        return (dataset.steps, 2), 2, "sequence_classification"
    if dataset.name == "parity":
        return (dataset.bits,), 2, "classification"
    return (dataset.steps, 64), 4, "sequence_classification"
