"""Published data sets as identity folders, with their protocol beside them: `siamese fetch`.

What a data set is stands in its module. It is checked by content, so that it doesn't matter how a copy is packed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from json import loads
from pathlib import Path

from siamese.console import track
from siamese.data.datasets.base import DataSet, content_mark
from siamese.data.datasets.lfw import LFW
from siamese.data.datasets.omniglot import OMNIGLOT
from siamese.data.datasets.orl import ORL
from siamese.data.datasets.sigcomp2009 import SIGNATURES
from siamese.data.datasets.sources import download, open_archive, read
from siamese.data.synthetic.sample import refuse_used
from siamese.errors import InputError, as_input_error
from siamese.storage.files import atomic_folder, digest, write_json

DATA_SETS = {data.name: data for data in (ORL, LFW, OMNIGLOT, SIGNATURES)}
PROTOCOL = "protocol"  # the folder of lists; no image lies in it
SOURCE = f"{PROTOCOL}/source.json"


def run(name: str, sources: Sequence[Path], folder: Path, downloads: Path) -> bool:
    """Lays a data set out in a new folder: `<identity>/*`, and `protocol/` with its lists and where it is from.

    Args:
        name: of `DATA_SETS`.
        sources: archives, or folders that hold them or what was in them; none: it is downloaded.
        folder: new or empty, or one that this has made before.
        downloads: where downloads are kept.

    Returns:
        Whether anything was written: where the same data set lies already, nothing is.

    Raises:
        InputError: no such data set; it isn't whole, or not the published one; `folder` holds something else.
    """
    data = of(name)
    if is_there(data, folder):
        return False
    refuse_used(folder)
    if not sources and not data.addresses:
        raise InputError(f"{name}: has to be asked for at {data.page}: then name the archive with --from")
    places = list(sources) or [download(address, downloads / name) for address in data.addresses]
    where = ", ".join(map(str, places))
    with _advised(None if sources else downloads / name), open_archive(places, data.archives) as files:
        contents = {path: read(path, get) for path, get in track(data.images(files).items(), "reading images")}
        texts = {path: read(path, get) for path, get in data.texts(files).items()}
        check(data, contents, texts, where)
    with atomic_folder(folder.resolve(), own=[]) as beside:
        for path, content in track(contents.items(), "writing images"):
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            (beside / path).write_bytes(content)
        (beside / PROTOCOL).mkdir()
        for table, rows in data.protocol(contents, texts).items():
            rows.to_csv(beside / PROTOCOL / f"{table}.csv", index=False, lineterminator="\n")
        about = {field: getattr(data, field) for field in ("name", "title", "publisher", "cite", "terms", "page")}
        write_json(beside / SOURCE, {**about, "images": len(contents), "digest": data.digest, "edition": data.edition})
        refuse_used(folder)  # something may have been put there meanwhile
    return True


def of(name: str) -> DataSet:
    """The data set of that name.

    Raises:
        InputError: there is none.
    """
    if name not in DATA_SETS:
        raise InputError(f"{name}: is no data set that can be fetched: name one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def is_there(data: DataSet, folder: Path) -> bool:
    """Whether `folder` is what `run` made of this data set.

    Raises:
        InputError: it is, by a version of siamese that drew other lists.
    """
    made = {}
    with suppress(OSError, ValueError):
        made = loads((folder / SOURCE).read_text(encoding="utf-8"))
    if not isinstance(made, dict) or made.get("digest") != data.digest:
        return False
    if made.get("edition", 1) != data.edition:
        raise InputError(
            f"{folder}: was made by another version of siamese, which drew other lists: name a new folder with "
            "--to, or delete this one"
        )
    return True


@contextmanager
def _advised(downloaded: Path | None) -> Iterator[None]:
    """Says where the downloads lie if what is in them is wrong."""
    try:
        yield
    except InputError as error:
        if downloaded is None:
            raise
        raise InputError(f"{error}; what was downloaded lies in {downloaded}: delete it to download anew") from None


def check(data: DataSet, contents: Mapping[str, bytes], texts: Mapping[str, bytes], where: str) -> None:
    """That these are the published images.

    Raises:
        InputError: they aren't, or a list that belongs to them isn't there.
    """
    missing = sorted(set(data.lists) - set(texts))
    if missing:
        raise InputError(f"{where}: {' and '.join(missing)} of {data.name} are not there: name them, too, with --from")
    if len(contents) != data.count:
        raise InputError(
            f"{where}: {len(contents)} of the {data.count} images of {data.name} are there: "
            f"name all of its archives with --from, or get them again (see {data.page})"
        )
    found = digest_of(data, contents, texts)
    if found != data.digest:
        raise InputError(
            f"{where}: some images of {data.name} aren't the published ones ({found[:12]}, not {data.digest[:12]}): "
            f"take another copy (see {data.page})"
        )


def digest_of(data: DataSet, contents: Mapping[str, bytes], texts: Mapping[str, bytes]) -> str:
    """SHA-256 of the names and contents of all images and texts, the same in whatever order or archive they come.

    Raises:
        InputError: an image is none.
    """
    marks = {path: content_mark(text) for path, text in texts.items()}
    for path, content in contents.items():
        with as_input_error(f"{path}: is no image that can be read, take another copy, see {data.page}"):
            marks[path] = data.mark(content)
    return digest(part.encode() for path in sorted(marks) for part in (path, marks[path]))
