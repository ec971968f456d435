"""Many known identities: `enroll`, `identify`, `watch`, `gallery list`, `gallery remove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siamese import paths
from siamese.cli.model import AnyModel
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, here
from siamese.console import log
from siamese.storage.staging import staged

if TYPE_CHECKING:
    from siamese.params import Params

GalleryFile = Annotated[Path, here(metavar="GALLERY", help="The gallery's file, Parquet.")]
Score = Annotated[
    str | None,
    typer.Option("--score", help="Of an identity: best | mean of its references.", show_default="identify.score"),
]
Top = Annotated[int | None, typer.Option("--top", help="Identities named an image.", show_default="identify.top")]
Far = Annotated[
    float | None,
    typer.Option("--far", help="False-accept rate that sets the threshold.", show_default="identify.far"),
]
GivenThreshold = Annotated[
    float | None,
    typer.Option("--threshold", min=0, max=1, help="Decide at this score.", show_default="the one for --far"),
]

held = typer.Typer(name="gallery", help="Look into a gallery, or take from it.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (enroll, identify, watch):
        app.command(rich_help_panel="A model in use")(command)
    held.command("list")(list_held)
    held.command()(remove)
    app.add_typer(held, rich_help_panel="A model in use")


def enroll(
    gallery_file: GalleryFile,
    sources: Annotated[
        list[Path], here(metavar="FOLDER", help="Folder <identity>/*; with --identity or --unknown: images.")
    ],
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="NAME", help="The images given are this one's.")
    ] = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="They are of people not to be recognised: they set the threshold.")
    ] = False,
    model: AnyModel = str(paths.MODEL),
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Add images of known identities to a gallery, which is made where there is none."""
    from siamese.config import load_params
    from siamese.identification import enroll as command
    from siamese.registry.locator import resolve_model

    params = load_params(params_file, settings or [])
    with staged() as at:
        resolved = resolve_model(at.model(model))
        done = command.run(gallery_file, sources, identity, unknown, resolved, params.data.max_pixels)
    answer(done.as_dict(), str(done), as_json)


def identify(
    gallery_file: GalleryFile,
    images: Annotated[list[Path], here(metavar="IMAGE...", help="Images to ask about.")],
    model: AnyModel = str(paths.MODEL),
    score: Score = None,
    top: Top = None,
    far: Far = None,
    threshold: GivenThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Tell who of a gallery each image shows: exit code 0 if all are known, 1 if one is unknown."""
    from siamese.identification import identify as command
    from siamese.registry.locator import resolve_model

    params = _asked(params_file, settings, score, top, far)
    command.check(images, params.data.max_pixels)
    how = params.identify
    with staged() as at:
        resolved = resolve_model(at.model(model))
        identifier = command.prepare(gallery_file, resolved, how.score, how.top, how.far, threshold)
    if identifier.threshold.warning:
        log(f"siamese: {identifier.threshold.warning}")
    found = command.identify(identifier, images, params.data.max_pixels)
    answer(found.as_dict(), str(found), as_json)
    return 0 if found.all_known else 1


def watch(
    gallery_file: GalleryFile,
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A camera's index, rtsp://…, a video file, or a folder."),
    ],
    model: AnyModel = str(paths.MODEL),
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="X,Y,W,H", help="Look at this place.", show_default="the whole frame"),
    ] = None,
    faces: Annotated[bool, typer.Option("--faces", help="Look at faces, which OpenCV finds.")] = False,
    every: Annotated[int, typer.Option("--every", min=1, metavar="N", help="Look at each Nth frame.")] = 1,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play a file at its own rate, and skip frames when behind.")
    ] = False,
    idle: Annotated[
        float | None,
        typer.Option("--idle", min=0, metavar="SECONDS", help="End when a folder gets nothing for so long."),
    ] = None,
    lines_file: Annotated[
        Path | None, here("--jsonl", metavar="FILE", help="Append the lines here.", show_default="terminal")
    ] = None,
    video_file: Annotated[
        Path | None, here("--video", metavar="FILE", help="Write the annotated video, .mp4 or .avi.")
    ] = None,
    window: Annotated[bool, typer.Option("--window/--headless", help="Show the annotated picture.")] = False,
    score: Score = None,
    top: Top = None,
    far: Far = None,
    threshold: GivenThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
) -> None:
    """Tell who of a gallery is seen by a camera or in a video, a line of JSON a frame, until it ends or Ctrl-C."""
    from siamese.identification.watch import run as command
    from siamese.registry.locator import resolve_model

    params = _asked(params_file, settings, score, top, far)
    wishes = command.WatchOptions(region, faces, lines_file, video_file, window, every, realtime, idle)
    with staged() as at:
        resolved = resolve_model(at.model(model))
        command.run(gallery_file, source, resolved, params.identify, threshold, wishes, params.data.max_pixels)


def list_held(gallery_file: GalleryFile, as_json: AsJson = False) -> None:
    """Show who is enrolled, with how many images."""
    from siamese.identification.gallery import summary
    from siamese.identification.gallery_file import read

    found = summary(read(gallery_file))
    answer(found.as_dict(), str(found), as_json)


def remove(
    gallery_file: GalleryFile,
    identities: Annotated[
        list[str] | None, typer.Argument(metavar="IDENTITY...", help="All images of these.", show_default=False)
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="PATH", help="One image, by its path as enrolled or its id; may be repeated."),
    ] = None,
    unknown: Annotated[bool, typer.Option("--unknown", help="All images that aren't to be recognised.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take identities or single images from a gallery. Needs no model."""
    from siamese.identification import gallery_file as gallery_file_module
    from siamese.identification.gallery import summary

    removed, left = gallery_file_module.remove(gallery_file, identities or [], images or [], unknown)
    found = summary(left)
    answer({"removed": removed, **found.as_dict()}, f"removed {removed} images\n{found.headline}", as_json)


def _asked(
    params_file: Path | None, settings: list[str] | None, score: str | None, top: int | None, far: float | None
) -> Params:
    """The parameters, with what was given by options of their own."""
    from siamese.config import load_params

    given = {"score": score, "top": top, "far": far}
    own = [f"identify.{key}={value}" for key, value in given.items() if value is not None]
    return load_params(params_file, [*(settings or []), *own])
