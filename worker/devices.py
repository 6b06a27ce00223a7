"""The GPUs of this machine, asked of NVML: CUDA is touched by trainers alone."""

import os
from typing import Any

import pynvml


def gpus() -> list[dict[str, Any]]:
    """UUID, name and memory of each GPU that CUDA_VISIBLE_DEVICES leaves visible; none without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        found = [_describe(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()
    return [gpu for gpu in found if _is_visible(gpu)]


def _describe(index: int) -> dict[str, Any]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    return {
        "index": index,
        "uuid": pynvml.nvmlDeviceGetUUID(handle),
        "name": pynvml.nvmlDeviceGetName(handle),
        "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    }


def _is_visible(gpu: dict[str, Any]) -> bool:
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return True
    named = [name.strip() for name in wanted.split(",") if name.strip()]
    return any(name == str(gpu["index"]) or (not name.isdigit() and gpu["uuid"].startswith(name)) for name in named)
