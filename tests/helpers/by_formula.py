"""The arithmetic of network, loss and optimizer a second time: float64, the formulas of the specification, no
TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Weights = Sequence[np.ndarray]  # of a model in Keras's order: kernel and bias of each layer that has them


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def convolution_by_loops(image: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The filter, laid on every place that holds it whole: [H, W, C] and [h, w, C, F] to [H - h + 1, W - w + 1, F]."""
    height, width, channels, filters = kernel.shape
    out = np.zeros((image.shape[0] - height + 1, image.shape[1] - width + 1, filters))
    for row, column, number in np.ndindex(*out.shape):
        total = bias[number]
        for y, x, channel in np.ndindex(height, width, channels):
            total += image[row + y, column + x, channel] * kernel[y, x, channel, number]
        out[row, column, number] = total
    return out


def convolution(image: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The same as one product of matrices, for images too large for loops."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape[:2], axis=(0, 1))  # [., ., C, h, w]
    return np.tensordot(windows, kernel, axes=((3, 4, 2), (0, 1, 2))) + bias


def max_pooling(image: np.ndarray) -> np.ndarray:
    """The highest of each 2x2 square; at an odd edge, of what is left of the square: [H, W, C] to [H / 2, W / 2, C]."""
    rows, columns, channels = image.shape
    out = np.empty(((rows + 1) // 2, (columns + 1) // 2, channels))
    for row, column in np.ndindex(*out.shape[:2]):
        out[row, column] = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].max(axis=(0, 1))
    return out


def embedding(
    image: np.ndarray, weights: Weights, convolve: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Convolutions with relu, a pooling after each but the last; then, row by row, all values into sigmoid units."""
    *convolutions, kernel, bias = [np.asarray(weight, np.float64) for weight in weights]
    x = np.asarray(image, np.float64)
    for number in range(0, len(convolutions), 2):
        x = np.maximum(convolve(x, convolutions[number], convolutions[number + 1]), 0)
        if number + 2 < len(convolutions):
            x = max_pooling(x)
    flat = [x[row, column, channel] for row, column, channel in np.ndindex(*x.shape)]
    return sigmoid(np.array(flat) @ kernel + bias)


def score(anchor: np.ndarray, other: np.ndarray, head: Weights) -> float:
    """A sigmoid unit on the L1 distance, component by component, of two embeddings."""
    kernel, bias = (np.asarray(weight, np.float64) for weight in head)
    return sigmoid(abs(anchor - other) @ kernel + bias).item()


def cross_entropy(labels: np.ndarray, scores: np.ndarray) -> float:
    """The specification's loss: the mean of -[y log p + (1 - y) log(1 - p)]."""
    return float(np.mean([-(y * np.log(p) + (1 - y) * np.log(1 - p)) for y, p in zip(labels, scores, strict=True)]))


class Adam:
    """Adam, Kingma and Ba 2015, in the form at the end of section 2, one array of weights."""

    def __init__(self, weight: np.ndarray, rate: float) -> None:
        self.weight = np.asarray(weight, np.float64).copy()
        self.rate = rate
        self.mean = np.zeros_like(self.weight)
        self.square = np.zeros_like(self.weight)
        self.steps = 0

    def update(self, gradient: np.ndarray, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.steps += 1
        self.mean = beta_1 * self.mean + (1 - beta_1) * gradient
        self.square = beta_2 * self.square + (1 - beta_2) * gradient**2
        rate = self.rate * np.sqrt(1 - beta_2**self.steps) / (1 - beta_1**self.steps)
        self.weight -= rate * self.mean / (np.sqrt(self.square) + epsilon)
