"""A side: the same network and loss in PyTorch, in its fastest form here. Needs PyTorch and NumPy alone.

Twins concatenated into one call, channels last, Adam as one fused operation, with or without autocast.

python -m benchmarks.speed.torch_step DTYPE PAIRS
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from benchmarks.speed.sides import answer

STEPS = 6


def main() -> None:
    dtype, pairs = sys.argv[1], int(sys.argv[2])
    layers: list[nn.Module] = []
    channels = 3
    for number, (filters, size) in enumerate([(64, 10), (128, 7), (128, 4), (256, 4)]):
        layers += [nn.Conv2d(channels, filters, size), nn.ReLU()]
        if number < 3:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        channels = filters
    embedding = nn.Sequential(*layers, nn.Flatten(), nn.Linear(9216, 4096), nn.Sigmoid())
    head = nn.Linear(4096, 1)
    embedding = embedding.to(memory_format=torch.channels_last)
    parameters = [*embedding.parameters(), *head.parameters()]
    assert sum(parameter.numel() for parameter in parameters) == 38_964_545
    optimizer = torch.optim.Adam(parameters, 1e-4, fused=True)
    entropy = nn.BCEWithLogitsLoss()
    images = torch.rand(2 * pairs, 3, 100, 100).to(memory_format=torch.channels_last)
    labels = torch.tensor([[1.0], [0.0]]).repeat(pairs // 2, 1)

    def work() -> dict[str, Any]:
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                anchors, others = embedding(images).float().chunk(2)
                logits = head((anchors - others).abs())
            loss = entropy(logits.float(), labels)
            loss.backward()
            optimizer.step()
            assert torch.isfinite(loss)
        return {"images": STEPS * 2 * pairs}

    answer(work)


if __name__ == "__main__":
    main()
