"""Parquet tables, read as far as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
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


def count_rows(file: Path) -> int:
    """Rows of a table, from its footer alone."""
    return int(pa.parquet.read_metadata(file).num_rows)
