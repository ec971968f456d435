"""Whether new images still look like those trained on: `drift`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from siamese import paths
from siamese.cli.model import AnyModel
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, where
from siamese.cli.steps import Images
from siamese.console import log
from siamese.errors import ExitCode
from siamese.storage.object_store import as_path
from siamese.storage.staging import staged

if TYPE_CHECKING:
    import pandas as pd


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(rich_help_panel="A model in use")(drift)


def drift(
    new_data: Annotated[str, where(metavar="NEW_DATA", help="Folder of images, or the log of `siamese serve`.")],
    model: AnyModel = str(paths.MODEL),
    catalog_file: Annotated[
        str | None, where("--catalog", help="Catalog that it was trained on.", show_default="the model's own")
    ] = None,
    images_folder: Images = str(paths.IMAGES),
    flat: Annotated[bool, typer.Option("--flat", help="Subfolders of NEW_DATA are no identities.")] = False,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Tell whether new images differ from those trained on: exit code 4 where retraining is advised, else 0."""
    from siamese.config import load_params
    from siamese.monitoring import drift as question
    from siamese.preprocessing import pixel_store
    from siamese.registry import locator

    params = load_params(params_file, settings or [])
    new, pixels = as_path(new_data), as_path(images_folder)
    with staged() as at:
        given = at.input_if_named(catalog_file)
        if new.is_file():
            from siamese.monitoring import prediction_log

            log = prediction_log.read(at.input(new_data))  # before anything else: a wrong path fails at once
            _, catalog = _origin(model, given)
            found = question.of_log(log, catalog, pixel_store.open_store(pixels), params.drift, new_data)
        else:
            from siamese.data.image_folder import detect_layout

            detect_layout(new)
            model, catalog = _origin(at.model(model), given)
            images = pixel_store.open_store(pixels)
            verifier = locator.resolve_model(model).load()
            found = question.of_folder(new, flat, catalog, images, verifier, params.drift, params.data.max_pixels)
    answer(found.as_dict(), question.to_text(found), as_json)
    return ExitCode.RETRAIN if found.retrain else ExitCode.DONE


def _origin(model: str, catalog_file: Path | None) -> tuple[str, pd.DataFrame]:
    """The model, an alias resolved once; and the catalog it was trained on, unless one is given.

    That of a version of the registry lies with its run; that of a folder is the last one made here.
    """
    from siamese.monitoring import drift as question
    from siamese.registry import client

    if model.startswith(client.SCHEME):
        versions, version = client.resolve(model)
        model = version.uri
        if catalog_file is None:
            with TemporaryDirectory() as scratch:
                of_run = versions.artifact(version, client.CATALOG, Path(scratch))
                if of_run:
                    return model, question.read_catalog(of_run)
            log(
                f"{model}: its run has no catalog, so it is unknown what it was trained on: compared with the images "
                f"of {paths.CATALOG}; --catalog names another"
            )
    return model, question.read_catalog(catalog_file or paths.CATALOG)
