"""Checkpoints: everything that a job needs to go on, in one safetensors file. No pickle, no generator states.

Tensors are named by prefix: ``network.``, ``own.``, ``optimizer.<group>.``, ``best.network.``, ``best.own.``. All
else is JSON in the file's metadata.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from learners.build import Training

VERSION = 3
_KEY = "afterprop"


class CorruptCheckpoint(Exception):
    """The checkpoint's file is not the one that was registered, or does not hold what it must."""


class OtherFormat(CorruptCheckpoint):
    """The checkpoint was written by another version of the service, and is not read by this one."""


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds: tensors by prefixed name, and plain numbers."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def model_tensors(network: nn.Module, own: nn.Module | None) -> dict[str, Tensor]:
    """All tensors of the model, buffers included, by prefixed name."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    if own is not None:
        tensors |= {f"own.{name}": tensor for name, tensor in own.state_dict().items()}
    return tensors


def training_tensors(training: Training) -> dict[str, Tensor]:
    """The model's tensors and the optimizers' states."""
    optimizers = training.optimizers.state_tensors()
    return model_tensors(training.network, training.own) | {f"optimizer.{k}": v for k, v in optimizers.items()}


def restore_model(network: nn.Module, own: nn.Module | None, tensors: Mapping[str, Tensor]) -> None:
    """Takes back ``model_tensors``. Raises ``CorruptCheckpoint`` when names or shapes differ."""
    try:
        network.load_state_dict(below("network.", tensors))
        if own is not None:
            own.load_state_dict(below("own.", tensors))
    except RuntimeError as error:
        raise CorruptCheckpoint(f"the tensors do not fit this network: {error}") from None


def restore_training(training: Training, tensors: Mapping[str, Tensor]) -> None:
    """Takes back ``training_tensors``."""
    restore_model(training.network, training.own, tensors)
    training.optimizers.load_state_tensors(below("optimizer.", tensors))


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name starts with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state as a checkpoint gives it back: tuples are lists, and every number is one of JSON."""
    found: dict[str, Any] = json.loads(json.dumps(state))
    return found


def save(snapshot: Snapshot, path: Path) -> None:
    """Write whole or not at all: a temporary file, flushed to the disk, renamed, and the folder flushed too."""
    unfinished = path.with_suffix(".unfinished")
    metadata = {_KEY: json.dumps({"version": VERSION, **snapshot.state})}
    # Each tensor needs memory of its own in the file; a view shares it with its base.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in snapshot.tensors.items()}
    save_file(tensors, unfinished, metadata=metadata)
    with unfinished.open("rb+") as stream:
        os.fsync(stream.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: Path, *, sha256: str | None = None) -> Snapshot:
    """Read a checkpoint, its digest verified first. Raises ``CorruptCheckpoint``."""
    try:
        if sha256 is not None:
            _verify(path, sha256)
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CorruptCheckpoint(f"{path.name} cannot be read: {type(error).__name__}: {error}") from None
    if state.get("version") != VERSION:
        raise OtherFormat(
            f"{path.name} has format {state.get('version')}; this version reads {VERSION}. "
            "Go on with the version that wrote it, or fork the job to start it anew."
        )
    return Snapshot(tensors, state)


def _verify(path: Path, sha256: str) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise CorruptCheckpoint(f"{path.name} has the digest {found}, registered is {sha256}")


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """One digest of names, dtypes, shapes and bytes, in the order of names: equal bits give an equal digest."""
    digest = hashlib.sha256()
    for chunk in _chunks(tensors):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
        if tensor.numel():
            yield tensor.reshape(-1).view(torch.uint8).numpy().data
