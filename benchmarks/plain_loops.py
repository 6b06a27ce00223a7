"""The loops that a user would write instead, each in a process of its own: ``python -m benchmarks.plain_loops KIND``.

Prints one JSON line: seconds of training and evaluation (imports and reading of files are not counted) and the test
accuracy. Network, optimizer, batch size, epochs, rows and evaluations are those of the job in ``job_overhead``.

``tensors``     whole data set in memory, batches indexed out of it.
``dataloader``  one sample at a time: an image object's bytes to a float tensor, scaled and normalised, as torchvision's
                MNIST with ToTensor and Normalize does, collated by a DataLoader (no worker processes). The image object
                itself is left out, which favours this loop.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

VALIDATION_ROWS = 6000
MEAN, DEVIATION = 0.1307, 0.3081


def read_idx(path: Path) -> np.ndarray:
    """An idx file, plain or gzipped."""
    raw = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    dimensions = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(dimensions)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def mnist(folder: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    arrays = [
        read_idx(folder / name)
        for name in (
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        )
    ]
    return tuple(torch.from_numpy(array.copy()) for array in arrays)  # type: ignore[return-value]


def network() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


@torch.no_grad()
def accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    net.eval()
    right = sum(int((net(x[i : i + 1000]).argmax(1) == y[i : i + 1000]).sum()) for i in range(0, len(x), 1000))
    net.train()
    return right / len(x)


class OneByOne(Dataset[tuple[torch.Tensor, int]]):
    """MNIST as the usual data set: each access converts and normalises one image."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        picture = self.images[index].numpy()
        tensor = torch.from_numpy(np.array(picture, np.uint8, copy=True)).view(28, 28, 1)
        tensor = tensor.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        mean, deviation = torch.as_tensor([MEAN]).view(-1, 1, 1), torch.as_tensor([DEVIATION]).view(-1, 1, 1)
        return tensor.clone().sub_(mean).div_(deviation), int(self.labels[index])


def train(kind: str, folder: Path, *, epochs: int, batch_size: int, seed: int, fused: bool) -> dict[str, float]:
    images, labels, test_images, test_labels = mnist(folder)
    x, test_x = images.float().div(255).unsqueeze(1), test_images.float().div(255).unsqueeze(1)
    y, test_y = labels.long(), test_labels.long()
    torch.manual_seed(seed)
    rows = torch.randperm(len(x))
    train_rows, validation_rows = rows[VALIDATION_ROWS:], rows[:VALIDATION_ROWS]
    x, y, validation_x, validation_y = x[train_rows], y[train_rows], x[validation_rows], y[validation_rows]
    if kind == "dataloader":
        validation_x, test_x = ((pictures - MEAN) / DEVIATION for pictures in (validation_x, test_x))
    loader = DataLoader(OneByOne(images[train_rows], labels[train_rows]), batch_size=batch_size, shuffle=True)
    started = time.perf_counter()
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=fused or None)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(epochs):
        if kind == "tensors":
            order = torch.randperm(len(x))
            batches = ((x[chosen], y[chosen]) for chosen in order.split(batch_size))
        else:
            batches = iter(loader)
        for batch_x, batch_y in batches:
            optimizer.zero_grad()
            loss = loss_of(net(batch_x), batch_y)
            loss.backward()
            optimizer.step()
        accuracy(net, validation_x, validation_y)
    found = accuracy(net, test_x, test_y)
    return {"seconds": time.perf_counter() - started, "accuracy": found}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["tensors", "dataloader"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="0: torch's default")
    parser.add_argument("--fused", action="store_true")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    print(
        json.dumps(
            train(
                given.kind,
                given.folder,
                epochs=given.epochs,
                batch_size=given.batch_size,
                seed=given.seed,
                fused=given.fused,
            )
        )
    )


if __name__ == "__main__":
    main()
