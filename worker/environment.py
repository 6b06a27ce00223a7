"""The environment of what a worker starts: an allow-list, so that no credential of the service is in it."""

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]

_ALLOWED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "SYSTEMROOT")
_ALLOWED_PREFIXES: Final = ("CUDA_", "NVIDIA_", "CUBLAS_")
_NETWORK: Final = (
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HF_ENDPOINT", "AFTERPROP_MNIST_MIRROR_URL",
)  # fmt: skip


def training_environment(*, threads: int = 1) -> dict[str, str]:
    """For template and trainers. The thread count and the hash seed decide bits, so both are fixed here."""
    environment = {
        name: value for name, value in os.environ.items() if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }
    return {
        **environment,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }


def preparing_environment() -> dict[str, str]:
    """For the process that fetches and prepares data: the same, and the way out to the network."""
    return {**training_environment(), **{name: os.environ[name] for name in _NETWORK if name in os.environ}}
