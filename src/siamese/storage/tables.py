"""Tables: Parquet as steps write it, read as far as needed; and lists of a user's own, CSV."""

from __future__ import annotations

import gzip
import hashlib
import re
import warnings
import zlib
from codecs import BOM_UTF8
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from siamese.errors import InputError


def read_table(file: Path, columns: Sequence[str], splits: Sequence[str] | None = None) -> pd.DataFrame:
    """`columns` of a table, in the file's order.

    Args:
        file: Parquet, as a step wrote it.
        columns: which columns; `split` among the file's where `splits` is given.
        splits: only the rows of these splits; None: all rows.

    Raises:
        InputError: it can't be read as Parquet, or lacks a column.
    """
    try:
        lacking = set(columns) - set(pa.parquet.read_schema(file).names)
        if lacking:
            raise InputError(f"{file}: lacks column {', '.join(sorted(lacking))}: make it again, or name another file")
        chosen = [("split", "in", list(splits))] if splits is not None else None
        return pd.read_parquet(file, columns=list(columns), filters=chosen)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{file}: can't be read as Parquet ({reason}): make it again") from error


def read_list(file: Path, columns: Sequence[str], wants: str) -> tuple[pd.DataFrame, str]:
    """A user's list, as text, and the SHA-256 of the file that it was read from, once.

    Args:
        file: CSV with a header; .gz: packed by gzip.
        columns: that it must have, none of them empty in a row.
        wants: what to write, for messages.

    Returns:
        The table, by the number of each row, the header being 1 and blank lines counting; and 64 hexadecimal digits.

    Raises:
        InputError: it can't be read, isn't CSV, lacks a column, has no rows, or one is without a value.
    """
    try:
        content = file.read_bytes()
        text = gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InputError(f"{file}: can't be read ({reason}): name a CSV file") from None
    table = parse_column(text, file, columns, wants)
    if not len(table):
        raise InputError(f"{file}: has no rows: {wants}")
    for name in columns:
        without = table.index[table[name].eq("") | table[name].str.contains("\0", regex=False)]
        if len(without):
            raise InputError(f"{file}: row {without[0]}: {name} without a value: {wants}")
    return table, hashlib.sha256(content).hexdigest()


def parse_column(content: bytes, named: object, columns: Sequence[str], wants: str) -> pd.DataFrame:
    """The rows of a CSV file with a header, as text, by their numbers: the first line's is 1, blank ones count.

    Args:
        content: of the file.
        named: the file, for messages.
        columns: that it must have.
        wants: what to write, for messages.

    Raises:
        InputError: it isn't CSV, lacks a column, or has a row longer than the header.
    """
    content = content.removeprefix(BOM_UTF8)
    rest = re.sub(rb"\A(?:[ \t\r]*\n)+", b"", content)
    before = content.count(b"\n") - rest.count(b"\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header would be cut short
            table = pd.read_csv(
                BytesIO(rest), dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False
            )
    except pd.errors.ParserWarning:
        raise InputError(f"{named}: a row has more values than the header has columns: {wants}") from None
    except ValueError as error:
        raise InputError(f"{named}: is not CSV ({' '.join(str(error).split())}): {wants}") from None
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise InputError(f"{named}: lacks the column {' and '.join(lacking)}: {wants}")
    table = table.set_axis(range(before + 2, before + len(table) + 2))
    return table[table.apply(lambda column: column.str.strip() != "").any(axis=1)]


def count_rows(file: Path) -> int:
    """Rows of a table, from its footer alone."""
    return int(pa.parquet.read_metadata(file).num_rows)
