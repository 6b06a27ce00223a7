"""The device of one attempt. CUDA is touched here and nowhere before."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch

from worker.meters.counters import nvml_counter, rapl_counter
from worker.meters.energy import EnergyMeter


class NoSuchDevice(Exception):
    """The device that the worker named is not there."""


@dataclass(frozen=True)
class Device:
    """Where to train, and how to count its joules."""

    torch: torch.device
    name: str
    energy: Callable[[], EnergyMeter]


def chosen_device(name: str) -> Device:
    """``cpu``, or ``cuda:<uuid>``: that GPU alone is made visible, in deterministic mode."""
    if name == "cpu":
        return Device(
            torch.device("cpu"), platform.processor() or platform.machine(), lambda: EnergyMeter(*rapl_counter())
        )
    kind, _, uuid = name.partition(":")
    if kind != "cuda":
        raise NoSuchDevice(f"no such device: {name}")
    if uuid:
        os.environ["CUDA_VISIBLE_DEVICES"] = uuid
    _be_deterministic()
    if not torch.cuda.is_available():
        raise NoSuchDevice(f"{name} is not available to this process")
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)

    def energy() -> EnergyMeter:
        return EnergyMeter(*nvml_counter(_uuid_of(device, uuid), lambda: torch.cuda.synchronize(device)))

    return Device(device, torch.cuda.get_device_name(device), energy)


def _uuid_of(device: torch.device, named: str) -> str:
    return named or f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def _be_deterministic() -> None:
    """Equal jobs give equal bits. Must come before CUDA starts: cuBLAS reads its workspace setting once."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # An operation without a deterministic kernel warns in the log instead of refusing the whole network.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
