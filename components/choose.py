"""Pipeline step `choose`: of several trainings, the one that did best on validation pairs."""

from typing import List  # noqa: UP035  kfp reads no other

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def choose(
    models: dsl.Input[List[dsl.Model]],  # noqa: UP006
    histories: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    runs: dsl.Input[List[dsl.Artifact]],  # noqa: UP006
    model: dsl.Output[dsl.Model],
    history: dsl.Output[dsl.Dataset],
    run: dsl.Output[dsl.Artifact],
) -> None:
    """Hands on what the best training wrote. The test split has no say in it.

    Args:
        models: what step `train` wrote, once for each candidate.
        histories: their `history.csv`, in the same order.
        runs: their `run.json`.
        model: the best one's.
        history: its `history.csv`.
        run: its `run.json`.
    """
    import json
    from pathlib import Path

    from siamese.console import log
    from siamese.errors import exit_in_one_line
    from siamese.orchestration import choose as step

    exit_in_one_line()
    trainings = [tuple(Path(one.path) for one in of_one) for of_one in zip(models, histories, runs, strict=True)]
    keeps = [json.loads(one.metadata["params"])["train"]["keep"] for one in models]
    chosen = step.run(trainings, keeps, Path(model.path), Path(history.path), Path(run.path))
    model.metadata.update(params=models[chosen].metadata["params"])
    log(f"candidate {chosen + 1} of {len(models)} did best on validation pairs")
