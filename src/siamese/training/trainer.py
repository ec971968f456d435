"""A training as it stands: its network, optimizer and running means, the best weights so far, and the step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from siamese import tf_runtime
from siamese.models.verifier import Verifier
from siamese.params import TrainParams
from siamese.training.checkpoints import TrainingState
from siamese.training.distribution import Distribution


class Trainer:
    """What changes from step to step, and what a checkpoint holds of it.

    Attributes:
        state: where training stands.
        best_weights: the best epoch's; None before the first.
        model: the network that is trained.
        scoring: the same one in float32: what validation scores with, by `verifier`, and what is saved, as `servable`.
        units: values of an embedding.
        step: as `siamese.training.step.compile_step` gives it.
    """

    best_weights: list[np.ndarray] | None

    def __init__(
        self,
        network: str,
        precision: str,
        transform_folder: Path,
        params: TrainParams,
        steps_per_epoch: int,
        replicas: Distribution,
        views: str = "one",
    ) -> None:
        """Begins with fresh weights.

        Args:
            network: its name, `model.network`.
            precision: dtype of the embedding's arithmetic in steps.
            transform_folder: what step `preprocess` wrote.
            params: section `train`.
            steps_per_epoch: what the schedule of the learning rate counts by.
            replicas: the devices that train.
            views: of an image, `model.views`.

        Raises:
            InputError: there is no transform in the folder.
        """
        tf_runtime.import_tensorflow()
        from siamese.models.network import build, parts
        from siamese.models.servable import Servable
        from siamese.preprocessing.transform import Transform
        from siamese.training import step
        from siamese.training.optimizer import optimizer

        self.params, self.replicas, self.steps_per_epoch = params, replicas, steps_per_epoch
        self.state, self.best_weights = TrainingState(), None
        transform = self._transform = Transform.load(transform_folder)
        with replicas.scope():
            self.model = build(network, precision=precision, seed=params.seed)
            self.optimizer = optimizer(params, precision, steps_per_epoch)
            self.optimizer.build(self.model.trainable_variables)
            self.averages = [step.average_of(weight) for weight in self.model.weights] if params.average else []
        self.scoring = build(network)
        self.servable = Servable(self.scoring, transform, views)
        self.verifier = Verifier(self.servable)
        self.units: int = parts(self.model)[0].output_shape[1]
        self.step = step.compile_step(self.model, self.optimizer, self.averages, transform, params, precision, replicas)

    def embedded_as_in_a_step(self, pixels: np.ndarray) -> np.ndarray:
        """Embeddings by the weights as they are, normalised by these images' own statistics, as in a step, but in
        float32 and not augmented: float32 [images, units].

        Args:
            pixels: uint8 [images, *image_shape].
        """
        from siamese.models.network import parts

        self.scoring.set_weights(self.model.get_weights())  # it is given them anew before it scores
        return np.asarray(parts(self.scoring)[0](self._transform.image(pixels), training=True))

    def begin_averages(self) -> None:
        """Lets the running means begin with the weights as they are."""
        for average, weight in zip(self.averages, self.model.weights, strict=False):
            average.assign(weight)

    def variables(self) -> list[np.ndarray]:
        """Weights, optimizer variables and averages, as a checkpoint holds them."""
        return [np.asarray(variable) for variable in self._variables()]

    def measured_weights(self) -> list[np.ndarray]:
        """The weights that are measured and kept: their running means, where `train.average` asks for these."""
        return [np.asarray(variable) for variable in self.averages or self.model.weights]

    def shapes(self) -> dict[str, list[tuple[int, ...]]]:
        """Of the arrays that a checkpoint holds: `last`, as `variables` gives them, and `best`, the weights alone."""
        weights = [tuple(variable.shape) for variable in self.model.weights]
        return {"last": [tuple(variable.shape) for variable in self._variables()], "best": weights}

    def restore(self, state: TrainingState, last: list[np.ndarray], best: list[np.ndarray] | None) -> None:
        """Takes up where a checkpoint left off."""
        for variable, value in zip(self._variables(), last, strict=True):
            variable.assign(value)
        self.state = state
        self.best_weights = self.measured_weights() if best is None and state.best_epoch else best

    def kept_weights(self) -> list[np.ndarray]:
        """The weights that `train.keep` asks for."""
        if self.params.keep == "best" and self.best_weights is not None:
            return self.best_weights
        return self.measured_weights()

    def kept_epoch(self) -> int:
        """The epoch that `kept_weights` are from."""
        return self.state.best_epoch if self.params.keep == "best" else self.state.epoch

    def _variables(self) -> tuple[Any, ...]:
        return (*self.model.weights, *self.optimizer.variables, *self.averages)
