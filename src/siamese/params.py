"""Schema of params.yaml: sections, types, ranges, and the sizes of each network. Defaults are in params.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
AboveZero = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy and TensorFlow take


class Section(BaseModel):
    """A section of params.yaml: every key named, none unknown, none missing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataParams(Section):
    """Section `data`: where the images are."""

    path: str = Field(min_length=1, pattern=r"^[^\x00]+$")
    max_pixels: int = Field(ge=1, le=10**10)


class SampleParams(Section):
    """Section `sample`: the built-in stand-in for real data."""

    identities: int = Field(ge=2, le=100_000)
    images: int = Field(ge=2, le=1000)
    seed: Seed
    layout: Literal["identities", "roles"]
    forgeries: bool


class CatalogParams(Section):
    """Section `catalog`: who decides about splits, and their shares, which add up to 1."""

    splits: str = Field(min_length=1)
    train: OpenShare
    test: OpenShare
    validation: OpenShare
    seed: Seed

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        if abs(self.train + self.test + self.validation - 1) > 1e-9:
            raise ValueError("train, test and validation must add up to 1")
        return self


class PairsParams(Section):
    """Section `pairs`."""

    per_split: int = Field(ge=2)
    seed: Seed


class PreprocessParams(Section):
    """Section `preprocess`: the transform graph's choices, and the engine that applies it."""

    crop: float = Field(gt=0, le=1)
    standardise: bool
    images_per_shard: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"]
    runner: Literal["DirectRunner", "PortableRunner", "DataflowRunner", "FlinkRunner", "SparkRunner"]
    runner_options: dict[str, str | int | float | bool | list[str]]


class ModelParams(Section):
    """Section `model`."""

    network: Literal["specification", "convolutional", "residual", "pooled"]
    views: Literal["one", "mirrored", "moved"]
    initial_weights: str
    initial_head: Literal["own", "fitted"]


class OptimizerParams(Section):
    """Section `train.optimizer`: Kingma and Ba 2015, Adam, in its notation."""

    name: Literal["adam"]
    learning_rate: AboveZero
    beta_1: float = Field(ge=0, lt=1)
    beta_2: float = Field(ge=0, lt=1)
    epsilon: float = Field(ge=1e-30)  # what float32 tells from 0


class AugmentationParams(Section):
    """Section `train.augmentation`."""

    affine: float = Field(ge=0, le=0.5)
    elastic: float = Field(ge=0, le=0.2)
    flip: bool
    rotations: bool
    blend: float = Field(ge=0, le=0.5)
    brightness: Share
    blur: float = Field(ge=0, le=5)


class TrainParams(Section):
    """Section `train`."""

    epochs: int = Field(ge=1, le=10**6)
    batch: int = Field(ge=4, le=1024, multiple_of=2)
    images_per_identity: int = Field(ge=2)
    pairing: Literal["in_batch", "listed"]
    loss: Literal["binary_cross_entropy", "n_pair"]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    strategy: Literal["auto", "one", "mirrored", "multi_worker"]
    optimizer: OptimizerParams
    schedule: Literal["constant", "cosine"]
    seed: Seed
    early_stopping: int = Field(ge=0)
    average: float = Field(ge=0, lt=1)
    keep: Literal["best", "last"]
    checkpoint_every: int = Field(ge=1)
    checkpoint_minutes: float = Field(ge=0)
    augmentation: AugmentationParams

    @model_validator(mode="after")
    def _batch_holds_two_identities(self) -> Self:
        if self.pairing == "in_batch" and self.batch < 2 * self.images_per_identity:
            raise ValueError("batch must hold at least two identities: 2 x images_per_identity or more")
        return self

    @model_validator(mode="after")
    def _listed_pairs_know_their_identities(self) -> Self:
        for name in ("rotations", "blend"):
            if self.pairing == "listed" and getattr(self.augmentation, name):
                raise ValueError(f"augmentation.{name} makes identities of its own, which pairing listed doesn't know")
        return self


class EvaluateParams(Section):
    """Section `evaluate`."""

    threshold: str | float
    bootstrap: int = Field(ge=100, le=10**6)
    one_shot_trials: int = Field(ge=1, le=10**7)
    seed: Seed

    @field_validator("threshold")
    @classmethod
    def _known_rule(cls, rule: str | float) -> str | float:
        parse_threshold(rule)
        return rule


class TrackingParams(Section):
    """Section `tracking`: the record of a training in MLflow."""

    enabled: bool
    experiment: str = Field(min_length=1)
    checkpoints: str

    @field_validator("checkpoints")
    @classmethod
    def _known_place(cls, place: str) -> str:
        if place not in ("run", "none") and not re.match(r"[a-z][a-z0-9+.-]*://.", place):
            raise ValueError("must be run, none, or the URI of a folder such as s3://bucket/checkpoints")
        return place


class RegistryParams(Section):
    """Section `registry`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


class PromoteParams(Section):
    """Section `promote`: the gate's limits."""

    min_precision: Share
    max_eer: Share
    max_regression: Share
    max_p_value: Share
    allow_unknown_training_data: bool
    bootstrap: int = Field(ge=100, le=10**6)
    seed: Seed


class ServeParams(Section):
    """Section `serve`: the limits of the server."""

    batch: int = Field(ge=1, le=1024)
    wait_ms: float = Field(ge=0, le=1000)
    queue: int = Field(ge=2)
    max_bytes: int = Field(ge=1)
    seconds: AboveZero


class IdentifyParams(Section):
    """Section `identify`: who of a gallery an image shows."""

    score: Literal["best", "mean"]
    top: int = Field(ge=1)
    far: OpenShare


class DriftParams(Section):
    """Section `drift`."""

    significance: OpenShare
    min_effect: Share
    size_tolerance: Share
    permutations: int = Field(ge=100, le=10**6)
    images: int = Field(ge=10)
    seed: Seed


class Params(Section):
    """params.yaml as a whole."""

    data: DataParams
    sample: SampleParams
    catalog: CatalogParams
    pairs: PairsParams
    preprocess: PreprocessParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    tracking: TrackingParams
    registry: RegistryParams
    promote: PromoteParams
    serve: ServeParams
    identify: IdentifyParams
    drift: DriftParams


def parse_threshold(rule: str | float) -> tuple[Literal["eer", "far", "fixed"], float]:
    """A threshold rule's kind and number: `eer` (no number: 0), `far=0.01`, or a fixed score.

    Raises:
        ValueError: the rule is none of the three.
    """
    text = str(rule)
    if text == "eer":
        return "eer", 0.0
    kind: Literal["far", "fixed"] = "far" if text.startswith("far=") else "fixed"
    try:
        number = float(text.removeprefix("far="))
    except ValueError:
        number = -1.0
    allowed = 0 < number < 1 if kind == "far" else 0 <= number <= 1
    if not allowed:
        raise ValueError("must be eer, far=RATE with a rate between 0 and 1, or a score from 0 to 1")
    return kind, number


@dataclass(frozen=True)
class NetworkSizes:
    """`image`: height, width and channels of what the network sees, 1 channel being grey; no two networks' differ in
    these and agree in their product. `units`: of an embedding."""

    image: tuple[int, int, int]
    units: int


IMAGE_SHAPE = (100, 100, 3)  # of the specification
EMBEDDING_UNITS = 4096
SIZES = {
    "specification": NetworkSizes(IMAGE_SHAPE, EMBEDDING_UNITS),
    "convolutional": NetworkSizes((48, 48, 1), 512),
    "residual": NetworkSizes((64, 64, 1), 512),
    "pooled": NetworkSizes((64, 64, 1), 512),
}
