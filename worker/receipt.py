"""The receipt of an attempt: under what exactly its numbers were made."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import safetensors
import torch

from specs.job import JobSpec


def receipt(
    spec: JobSpec,
    *,
    dataset_sha256: str,
    device: torch.device,
    device_name: str,
    layers: Mapping[str, Sequence[torch.Tensor]],
) -> dict[str, Any]:
    """Versions, device, threads, seeds and determinism settings, the hashes of spec and data, and the layers' sizes."""
    resolved = json.dumps(spec.resolved(), sort_keys=True, separators=(",", ":"))
    return {
        "spec_sha256": hashlib.sha256(resolved.encode()).hexdigest(),
        "dataset_sha256": dataset_sha256,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "safetensors": safetensors.__version__,
        },
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": str(device),
        "device_name": device_name,
        "threads": torch.get_num_threads(),
        "seeds": {"training": spec.training.seed, "split": spec.dataset.split.seed},
        "precision": spec.training.precision,
        "parameters": {name: sum(tensor.numel() for tensor in own) for name, own in layers.items()},
        "determinism": determinism(device),
    }


def determinism(device: torch.device) -> dict[str, Any]:
    """The settings that decide whether equal jobs give equal bits."""
    settings: dict[str, Any] = {
        "streams": "every draw is a pure function of seed, name and counters",
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
    }
    if device.type == "cuda":
        settings |= {
            "cublas_workspace_config": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
            "cuda": torch.version.cuda,
        }
    return settings
