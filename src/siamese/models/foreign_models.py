"""Models that other programs saved: what they are, for the message that refuses them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from siamese import tf_runtime
from siamese.errors import InputError

READ = "a folder that `siamese train` wrote, models:/NAME/VERSION, or a .keras file that save_compiled_model wrote"
_HDF5 = b"\x89HDF\r\n\x1a\n"


def refuse(place: Path) -> None:
    """Raise InputError for a file or folder that another program wrote; a `.keras` file may be anybody's."""
    for file in (place, *(sorted(place.glob("*")) if place.is_dir() else ())):
        if what := _what(file):
            raise InputError(f"{file}: is {what}; give {READ}, or train again with `siamese train`")
    if (place / "saved_model.pb").is_file():
        if place.name == "servable":
            raise InputError(f"{place}: is a part of a model; name its folder, {place.parent}")
        raise InputError(f"{place}: is a SavedModel of another program; give {READ}")
    if place.is_file() and place.suffix != ".keras":
        raise InputError(f"{place}: is no model that siamese reads; give {READ}")


def no_model(place: Path) -> InputError:
    """What to raise for a folder without a model of `siamese train`."""
    try:
        refuse(place)
    except InputError as error:
        return error
    return InputError(f"{place}: no trained model here: run `siamese train` first, or name its folder")


def _what(file: Path) -> str | None:
    """The kind of a Keras model that this package can't read; None for other files. HDF5 may have any name."""
    if file.is_file() and _begins_with(file, _HDF5):
        return f"an HDF5 file, Keras's older format{_with_custom_layers(_hdf5_config(file))}"
    if file.suffix == ".keras":
        with suppress(OSError, BadZipFile, KeyError, ValueError), ZipFile(file) as archive:
            layers = _with_custom_layers(json.loads(archive.read("config.json")))
            return f"a Keras model{layers}" if layers else None
    return None


def _begins_with(file: Path, signature: bytes) -> bool:
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(len(signature)) == signature
    return False


def _hdf5_config(file: Path) -> Any:
    with suppress(ImportError, OSError, KeyError, ValueError):
        import h5py  # type: ignore[import-untyped]

        with h5py.File(file, "r") as opened:
            return json.loads(opened.attrs["model_config"])
    return {}


def _with_custom_layers(config: Any) -> str:
    names = sorted(set(_custom_layers(config)))
    if not names:
        return ""
    return f", with the custom layer{'s' * (len(names) > 1)} {', '.join(names)} of the program that saved it"


def _custom_layers(config: Any) -> Iterator[str]:
    """Class names of a model and its layers, nested ones included, that are neither Keras's nor this package's."""
    if not isinstance(config, Mapping) or "class_name" not in config:
        return
    if not _is_known(config):
        yield str(config["class_name"])
    inner = config.get("config")
    for layer in inner.get("layers", []) if isinstance(inner, Mapping) else []:
        yield from _custom_layers(layer)


def _is_known(layer: Mapping[str, Any]) -> bool:
    module, registered = str(layer.get("module") or ""), str(layer.get("registered_name") or "")
    if module.partition(".")[0] in ("keras", "siamese") or registered.startswith("siamese>"):
        return True
    tf_runtime.import_tensorflow()
    import keras

    name = str(layer["class_name"])  # older Keras names no module
    return not registered.endswith(f">{name}") and (hasattr(keras.layers, name) or name in ("Functional", "Model"))
