"""The names that TensorFlow gives the functions of a SavedModel, made the same in every process.

They end with a number that counts what the process has traced before. So one transform would be another file where
another runner's worker wrote it, and what depends on it would be made anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_NUMBERED = re.compile(r"(.+_)(\d+)")


def settle(saved_model: Path) -> None:
    """Rewrites `saved_model.pb`: functions are numbered from 0 among those of the same name, and stand in order."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(saved_model.read_bytes())
    for meta_graph in model.meta_graphs:
        functions = meta_graph.graph_def.library.function
        _rename(meta_graph, _renaming(settled(function.signature.name for function in functions)))
        functions.sort(key=lambda function: function.signature.name)
    saved_model.write_bytes(model.SerializeToString(deterministic=True))


def settled(names: Iterable[str]) -> dict[str, str]:
    """The new name of each numbered one. Numbers grow with time, so their order says which is which."""
    numbered = [(found[1], int(found[2]), name) for name in names if (found := _NUMBERED.fullmatch(name))]
    counted: dict[str, int] = {}
    new = {}
    for stem, _, name in sorted(numbered):
        counted[stem] = counted.get(stem, -1) + 1
        new[name] = f"{stem}{counted[stem]}"
    return new


def _renaming(new: dict[str, str]) -> Callable[[str], str]:
    """What replaces old names in a text, also within longer ones: names of arguments hold those of functions."""
    if not new:
        return lambda text: text
    old = re.compile(f"(?:{'|'.join(sorted(map(re.escape, new), key=len, reverse=True))})(?!\\d)")
    return lambda text: old.sub(lambda found: new[found[0]], text)


def _rename(message: Any, renamed: Callable[[str], str]) -> None:
    """Renames in every text of a protobuf message, at any depth."""
    for field, value in message.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            _rename_map(value, field.message_type.fields_by_name["value"], renamed)
        elif field.message_type:
            for inner in value if field.is_repeated else [value]:
                _rename(inner, renamed)
        elif field.type == field.TYPE_STRING and field.is_repeated:
            value[:] = map(renamed, value)
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, renamed(value))


def _rename_map(entries: Any, value_field: Any, renamed: Callable[[str], str]) -> None:
    """All at once: the new name of one entry may be the old one of another."""
    found = {}
    for key, value in entries.items():
        if value_field.message_type:
            made = type(value)()
            made.CopyFrom(value)
            _rename(made, renamed)
        else:
            made = renamed(value) if isinstance(value, str) else value
        found[renamed(key) if isinstance(key, str) else key] = made
    entries.clear()
    for key, value in found.items():
        if value_field.message_type:
            entries[key].CopyFrom(value)
        else:
            entries[key] = value
