"""Whether new images still look like those trained on: `drift`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from siamese import places
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, where
from siamese.cli.steps import Images
from siamese.cli.use import AnyModel
from siamese.errors import ExitCode
from siamese.progress import say
from siamese.remote import place
from siamese.staging import staged

if TYPE_CHECKING:
    import pandas as pd


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(rich_help_panel="A model in use")(drift)


def drift(
    new_data: Annotated[str, where(metavar="NEW_DATA", help="Folder of images, or the log of `siamese serve`.")],
    model: AnyModel = str(places.MODEL),
    catalog_file: Annotated[
        str | None, where("--catalog", help="Catalog that it was trained on.", show_default="the model's own")
    ] = None,
    images_folder: Images = str(places.IMAGES),
    flat: Annotated[bool, typer.Option("--flat", help="Subfolders of NEW_DATA are no identities.")] = False,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Tell whether new images differ from those trained on: exit code 4 where retraining is advised, else 0."""
    from siamese import drift as question
    from siamese import references, stored
    from siamese.params import load

    params = load(params_file, settings or [])
    new, pixels = place(new_data), place(images_folder)
    with staged() as at:
        given = at.input_if_named(catalog_file)
        if new.is_file():
            from siamese.serving import predictions

            log = predictions.read(at.input(new_data))  # before anything else: a wrong path is told at once
            _, catalog = _origin(model, given)
            found = question.of_log(log, catalog, stored.opened(pixels), params.drift, new_data)
        else:
            from siamese.catalog import detect_layout

            detect_layout(new)
            model, catalog = _origin(at.model(model), given)
            images = stored.opened(pixels)
            verifier = references.find(model).load()
            found = question.of_folder(new, flat, catalog, images, verifier, params.drift, params.data.max_pixels)
    answer(found.as_dict(), question.to_text(found), as_json)
    return ExitCode.RETRAIN if found.retrain else ExitCode.DONE


def _origin(model: str, catalog_file: Path | None) -> tuple[str, pd.DataFrame]:
    """The model, an alias resolved once; and the catalog it was trained on, unless one is given.

    That of a version of the registry lies with its run; that of a folder is the last one made here.
    """
    from siamese import drift as question
    from siamese import registry

    if model.startswith(registry.SCHEME):
        versions, version = registry.resolve(model)
        model = version.uri
        if catalog_file is None:
            with TemporaryDirectory() as scratch:
                of_run = versions.artifact(version, registry.CATALOG, Path(scratch))
                if of_run:
                    return model, question.read_catalog(of_run)
            say(
                f"{model}: its run has no catalog, so it is unknown what it was trained on: compared with the images "
                f"of {places.CATALOG}; --catalog names another"
            )
    return model, question.read_catalog(catalog_file or places.CATALOG)
