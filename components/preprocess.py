"""Pipeline step `preprocess`: every image once, as the network sees it, and the transform graph."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def preprocess(
    data: dsl.Input[dsl.Dataset],
    catalog: dsl.Input[dsl.Dataset],
    params: dict,
    model_params: dict,
    max_pixels: int,
    images: dsl.Output[dsl.Dataset],
    transform: dsl.Output[dsl.Artifact],
) -> None:
    """Writes every image once as the network sees it, and the graph that does so.

    Args:
        data: the image folder.
        catalog: `catalog.parquet`, one row an image.
        params: section `preprocess` of params.yaml.
        model_params: section `model`: its network says which size.
        max_pixels: `data.max_pixels` of params.yaml.
        images: folder of TFRecord shards: uint8 [height, width, channels] of every image.
        transform: folder of the TFT graph, the only definition of preprocessing.
    """
    from pathlib import Path

    from siamese.config import parse_section
    from siamese.errors import exit_in_one_line
    from siamese.params import ModelParams, PreprocessParams
    from siamese.preprocessing import preprocess as step

    exit_in_one_line()
    files = [Path(one.path) for one in (data, catalog, images, transform)]
    network = parse_section(ModelParams, model_params).network
    step.run(*files, parse_section(PreprocessParams, params), network, max_pixels)
