"""A gallery's file: Parquet, a row an image.

Columns: image_id, identity, path, best_impostor, mean_impostor, and embedding, a list of fixed size of float32. The
file's metadata: siamese.format, siamese.model (digest of the weights), and siamese.head, the model's last layer as
base64 of little-endian float32, the bias last. That layer is all that compares embeddings: to take somebody out, no
model is needed. siamese.checksum, the SHA-256 of digest and layer, guards both as Parquet's own checksums guard rows.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import stat
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from siamese.console import log
from siamese.data.names import listed, look_alikes
from siamese.errors import InputError
from siamese.identification.gallery import COLUMNS, Gallery, How
from siamese.models.scoring import Head
from siamese.storage.files import atomic_file, only_one, unwritable

FORMAT = "1"
CHECKSUM = b"siamese.checksum"
_ROWS_A_GROUP = 4096


def read(file: Path, model: str | None = None) -> Gallery:
    """The gallery in a file. Where files of before hold several spellings of a name, it has one, and that is said.

    Args:
        file: as `change` wrote it.
        model: the digest that its model must have; None: any.

    Raises:
        InputError: it is missing, no gallery, or of another model.
    """
    found = _open(file)
    if model is not None and found.model != model:
        raise InputError(
            f"{file}: its images were embedded by another model ({found.model[:12]}, not {model[:12]}): "
            "name that one with --model, or enroll the images again in another file"
        )
    alike = look_alikes(found.identities)
    if alike:
        log(f"{file}: names that look the same are read as one identity: {listed(alike)}")
    return found.with_one_spelling()


def _open(file: Path) -> Gallery:
    if file.exists() and not file.is_file():  # a pipe would be waited for
        raise InputError(f"{file}: is no regular file: name one that `siamese enroll` wrote")
    try:
        with pa.parquet.ParquetFile(file, page_checksum_verification=True) as opened:
            found = _read(opened)
            if CHECKSUM not in opened.schema_arrow.metadata:
                log(f"{file}: an older version wrote it, without a checksum of its model: `siamese enroll` adds one")
            return found
    except FileNotFoundError:
        raise InputError(f"{file} is missing: make it by `siamese enroll {file} FOLDER`, or name another") from None
    except PermissionError as error:
        raise InputError(f"{file}: can't be read ({error.strerror}): see to its permissions") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{file}: is no gallery ({reason}): name one that `siamese enroll` wrote") from error


def change(file: Path, changed: Callable[[Gallery | None], Gallery]) -> Gallery:
    """Replaces the gallery in a file, whole, by what `changed` makes of it; of two at once, the second waits.

    Args:
        file: where it is, or will be. The lock beside it, `.NAME.lock`, stays.
        changed: given what is there, or None where nothing is.

    Raises:
        InputError: what is there is no gallery, or it can't be written.
    """
    try:
        file = file.resolve()  # behind a link, so that all who change it wait for one lock
    except RuntimeError:
        raise InputError(f"{file}: is a link to itself: name another file") from None
    with ExitStack() as held:
        try:
            held.enter_context(only_one(file.with_name(f".{file.name}.lock")))
        except OSError as error:
            raise unwritable(file, error) or error from error
        made = changed(_open(file).with_one_spelling() if file.exists() else None).with_impostors()
        _clear_unfinished(file)
        with atomic_file(file) as beside:
            _write(beside, made)
            if file.exists():  # who may read it is for its owner to say
                beside.chmod(stat.S_IMODE(file.stat().st_mode))
    return made


def remove(file: Path, identities: Collection[str], images: Collection[str], unknown: bool) -> tuple[int, Gallery]:
    """Takes images from the gallery in a file, as `Gallery.without` does.

    Returns:
        How many went, and what is left.

    Raises:
        InputError: nothing is named, or something that isn't there; the gallery is missing, or can't be written.
    """
    if not (identities or images or unknown):
        raise InputError("name what to remove: identities, --image PATH or --unknown")
    read(file)  # before a lock is made beside a file that isn't there
    gone = 0

    def less(there: Gallery | None) -> Gallery:
        nonlocal gone
        old = there if there is not None else _open(file)
        left = old.without(identities, images, unknown)
        gone = len(old.images) - len(left.images)
        return left

    left = change(file, less)
    return gone, left


def _clear_unfinished(file: Path) -> None:
    """Remove what killed processes left: embeddings, maybe of somebody who is being removed. The lock must be held."""
    for leftover in file.parent.glob(f".{glob.escape(file.name)}.unfinished-*"):
        leftover.unlink(missing_ok=True)


def _read(opened: pa.parquet.ParquetFile) -> Gallery:
    notes = opened.schema_arrow.metadata or {}
    version = notes.get(b"siamese.format", b"none").decode()
    if version != FORMAT:
        raise ValueError(f"format {version}, not {FORMAT}")
    model = notes[b"siamese.model"].decode()
    whole = _checksum(model, notes[b"siamese.head"])
    if notes.get(CHECKSUM, whole) != whole:  # files of older versions have none
        raise ValueError("the model's digest or last layer is damaged")
    head = np.frombuffer(base64.b64decode(notes[b"siamese.head"], validate=True), "<f4").astype(np.float32)
    rows, units = opened.metadata.num_rows, opened.schema_arrow.field("embedding").type.list_size
    if units != len(head) - 1:
        raise ValueError(f"{units} numbers an embedding, of a model of {len(head) - 1}")
    embeddings = np.empty((rows, units), np.float32)
    at = 0
    for batch in opened.iter_batches(_ROWS_A_GROUP, columns=["embedding"]):
        embeddings[at : at + len(batch)] = batch.column(0).flatten().to_numpy().reshape(-1, units)
        at += len(batch)
    if not (np.isfinite(embeddings).all() and np.isfinite(head).all()):
        raise ValueError("numbers that aren't finite")
    others: dict[How, str] = {"best": "best_impostor", "mean": "mean_impostor"}
    table = opened.read([*COLUMNS, *others.values()])
    images = pd.DataFrame({name: pd.Series(table[name].to_pylist(), dtype=object) for name in COLUMNS})
    owners = [name for name in images["identity"] if name is not None]
    if owners != sorted(owners) or owners != images["identity"][: len(owners)].tolist():
        raise ValueError("rows not sorted by identity")
    impostors = {how: table[name].to_numpy().astype(np.float32) for how, name in others.items()}
    return Gallery(model, Head(head[:-1], float(head[-1])), images, embeddings, impostors)


def _write(file: Path, gallery: Gallery) -> None:
    head = base64.b64encode(np.append(gallery.head.weights, np.float32(gallery.head.bias)).astype("<f4").tobytes())
    notes = {
        "siamese.format": FORMAT,
        "siamese.model": gallery.model,
        "siamese.head": head,
        CHECKSUM: _checksum(gallery.model, head),
    }
    columns = {name: pa.array(gallery.images[name].tolist(), pa.string()) for name in COLUMNS}
    for how, found in gallery.impostors.items():
        columns[f"{how}_impostor"] = pa.array(found, pa.float32(), from_pandas=True)
    flat = pa.array(np.ascontiguousarray(gallery.embeddings, np.float32).ravel())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, len(gallery.head.weights))
    table = pa.table(columns).replace_schema_metadata(notes)
    pa.parquet.write_table(
        table,
        file,
        row_group_size=_ROWS_A_GROUP,
        compression="none",  # embeddings hardly get smaller
        use_dictionary=["identity"],
        write_page_checksum=True,  # a flipped bit would name another person
    )


def _checksum(model: str, head: bytes) -> bytes:
    return hashlib.sha256(model.encode() + head).hexdigest().encode()
