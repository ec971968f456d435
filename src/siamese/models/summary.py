"""The network's layer table and its drawing, taken from the network itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from siamese import tf_runtime
from siamese.errors import InputError
from siamese.storage.files import atomic_file

BYTES_A_PARAMETER = 4  # float32


@dataclass(frozen=True)
class Layer:
    """A row of the table; `shape` is the output's, None standing for the number of images."""

    name: str
    shape: tuple[int | None, ...]
    parameters: int
    what: str


@dataclass(frozen=True)
class Table:
    """The layers in order, those of the embedding first."""

    network: str
    layers: Sequence[Layer]

    @property
    def parameters(self) -> int:
        """All of them; both images share the embedding's."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def megabytes(self) -> float:
        """The weights' size, 2**20 bytes each."""
        return self.parameters * BYTES_A_PARAMETER / 2**20

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        totals = {"parameters": self.parameters, "megabytes": round(self.megabytes, 1)}
        return {"network": self.network, "layers": [asdict(layer) for layer in self.layers]} | totals


def summary(network: str) -> Table:
    """The layer table of a network by its name in params.yaml."""
    tf_runtime.import_tensorflow()
    from siamese.models.network import build

    return table_of(build(network), network)


def table_of(model: Any, network: str) -> Table:
    """The layer table of a model that `siamese.models.network.build` made."""
    from siamese.models.network import parts

    embedding, distance, head = parts(model)
    return Table(network, [_row(layer) for layer in (*embedding.layers, distance, head)])


def to_text(table: Table) -> str:
    """The table as aligned text, with its totals."""
    rows = [("layer", "output shape", "parameters", "")]
    rows += [(layer.name, str(layer.shape), f"{layer.parameters:,}", layer.what) for layer in table.layers]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join([*lines, lines[1], f"total {table.parameters:,} parameters, {table.megabytes:.1f} MB"])


def draw(table: Table, file: Path) -> None:
    """Draws the two branches that share their weights, from the images to the score.

    Args:
        file: replaced if it's there.

    Raises:
        InputError: as `drawing_kind`, or the file can't be written.
    """
    kind = drawing_kind(file)
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    shared, (distance, head) = table.layers[:-2], table.layers[-2:]
    rows = len(shared) + 2
    figure = Figure(figsize=(9, 0.55 * rows + 0.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 9), ylim=(-0.2, rows + 0.2))
    axes.axis("off")

    def box(layer: Layer, x: float, row: int, color: str) -> None:
        y = rows - row - 0.85
        axes.add_patch(
            FancyBboxPatch((x, y), 3.9, 0.6, boxstyle="round,pad=0.03", facecolor=color, edgecolor="#44546a")
        )
        axes.text(x + 0.1, y + 0.3, layer.name, va="center", weight="bold", size=9)
        axes.text(x + 3.8, y + 0.3, _facts(layer), va="center", ha="right", size=8, color="#333")

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#44546a"})

    for x, image in ((0.3, "anchor"), (4.8, "other")):
        for row, layer in enumerate(shared):
            box(layer if row else replace(layer, name=image), x, row, "#dbe7f5" if row else "#f2f2f2")
            if row:
                arrow((x + 1.95, rows - row + 0.15), (x + 1.95, rows - row - 0.2))
        arrow((x + 1.95, rows - len(shared) + 0.15), (4.5 + (x - 2.55) * 0.4, rows - len(shared) - 0.2))
    axes.text(4.5, rows / 2 + 1, "same\nweights", ha="center", va="center", size=7, color="#44546a")
    box(distance, 2.55, len(shared), "#fbe5d6")
    box(head, 2.55, len(shared) + 1, "#e2f0d9")
    arrow((4.5, 1.15), (4.5, 0.8))
    with atomic_file(file) as beside, mpl.rc_context({"svg.hashsalt": "siamese"}):
        figure.savefig(beside, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def drawing_kind(file: Path) -> str:
    """`svg` or `png`, by the file's suffix.

    Raises:
        InputError: it's another one.
    """
    kind = file.suffix.lower().removeprefix(".")
    if kind not in ("svg", "png"):
        raise InputError(f"{file}: a drawing is .svg or .png: name one of these")
    return kind


def _row(layer: Any) -> Layer:
    shape = layer.output.shape if hasattr(layer.output, "shape") else layer.output[0].shape
    return Layer(layer.name, tuple(shape), layer.count_params(), _what(layer))


def _what(layer: Any) -> str:
    kind = type(layer).__name__
    if kind == "Conv2D":
        height, width = layer.kernel_size
        return f"{layer.filters} filters {height}x{width}, {layer.activation.__name__}"
    if kind == "MaxPooling2D":
        height, width = layer.pool_size
        return f"{height}x{width}, padding {layer.padding}"
    if kind == "Dense":
        return f"{layer.units} unit{'s' * (layer.units > 1)}, {layer.activation.__name__}"
    return {"InputLayer": "pixels in [0, 1]", "L1Distance": "|anchor - other|"}.get(kind, "")


def _facts(layer: Layer) -> str:
    shape = " x ".join(str(size) for size in layer.shape[1:])
    return f"{shape}   {layer.parameters:,} parameters" if layer.parameters else shape
