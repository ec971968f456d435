"""Pipeline step `preprocess`: every image once, as the network sees it, and the transform graph."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def preprocess(
    data: dsl.Input[dsl.Dataset],
    catalog: dsl.Input[dsl.Dataset],
    params: dict,
    max_pixels: int,
    images: dsl.Output[dsl.Dataset],
    transform: dsl.Output[dsl.Artifact],
) -> None:
    """Writes every image once as the network sees it, and the graph that does so.

    Args:
        data: the image folder.
        catalog: `catalog.parquet`, one row an image.
        params: section `preprocess` of params.yaml.
        max_pixels: `data.max_pixels` of params.yaml.
        images: folder of TFRecord shards: uint8 [100, 100, 3] of every image.
        transform: folder of the TFT graph, the only definition of preprocessing.
    """
    from pathlib import Path

    from siamese import preprocess as step
    from siamese.params import PreprocessParams, section

    outputs = Path(images.path), Path(transform.path)
    step.run(Path(data.path), Path(catalog.path), *outputs, section(PreprocessParams, params), max_pixels)
