"""Pipeline step `catalog`: image folders to a catalog of images and their splits."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def catalog(
    data: dsl.Input[dsl.Dataset],
    params: dict,
    max_pixels: int,
    repository: str,
    revision: str,
    path: str,
    hash: str,
    catalog: dsl.Output[dsl.Dataset],
    rejected: dsl.Output[dsl.Dataset],
) -> None:
    """Lists the usable images of a folder, and gives each identity its split.

    Args:
        data: the image folder, `<identity>/*` or `{anchor,positive,negative}/*`.
        params: section `catalog` of params.yaml.
        max_pixels: `data.max_pixels` of params.yaml.
        repository: git repository or object store that the data comes from.
        revision: which version of the data it is.
        path: of the image folder in the repository.
        hash: what step `data_version` says of it; "": unknown.
        catalog: `catalog.parquet`, one row an image; metadata: repository, revision, path, hash, number of images.
        rejected: `rejected.csv`, one row a file that was not taken, with the reason.
    """
    from pathlib import Path

    from siamese.config import parse_section
    from siamese.data import catalog as step
    from siamese.errors import exit_in_one_line
    from siamese.params import CatalogParams
    from siamese.storage.tables import count_rows
    from siamese.tracking.client import without_credentials

    exit_in_one_line()
    step.run(Path(data.path), Path(catalog.path), Path(rejected.path), parse_section(CatalogParams, params), max_pixels)
    origin = {"repository": without_credentials(repository), "revision": revision, "path": path, "hash": hash}
    catalog.metadata.update(origin, images=count_rows(Path(catalog.path)))
