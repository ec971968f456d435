"""Pipeline step `pairs`: a catalog of images to labelled pairs."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def pairs(
    catalog: dsl.Input[dsl.Dataset],
    params: dict,
    pairs: dsl.Output[dsl.Dataset],
) -> None:
    """Draws which two images are compared, balanced within each split.

    Args:
        catalog: `catalog.parquet`, one row an image.
        params: section `pairs` of params.yaml.
        pairs: `pairs.parquet`, columns anchor_id, other_id, label, split; metadata: the number of pairs.
    """
    from pathlib import Path

    from siamese.config import parse_section
    from siamese.data import pairs as step
    from siamese.errors import exit_in_one_line
    from siamese.params import PairsParams
    from siamese.storage.tables import count_rows

    exit_in_one_line()
    step.run(Path(catalog.path), Path(pairs.path), parse_section(PairsParams, params))
    pairs.metadata.update(pairs=count_rows(Path(pairs.path)))
