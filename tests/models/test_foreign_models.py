"""Models of other programs, such as a tutorial's, are refused by what they are, wherever a model is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from PIL import Image

from siamese import cli, tf_runtime
from siamese.errors import InputError
from siamese.models.verifier import Verifier
from siamese.registry import locator
from siamese.registry.register import read as read_evaluated

tf_runtime.import_tensorflow()
import keras  # noqa: E402

from model.model import Model  # noqa: E402

TUTORIALS = ["model.h5", "model.keras", "hdf5.keras", "keras2.h5"]


class L1Dist(keras.layers.Layer):
    """As in the face-verification tutorial that many begin with."""

    def call(self, anchor: object, other: object) -> object:
        return keras.ops.abs(anchor - other)


def without_modules(config: object) -> object:
    """As Keras 2 wrote configurations."""
    if isinstance(config, dict):
        return {
            key: without_modules(value) for key, value in config.items() if key not in ("module", "registered_name")
        }
    return [without_modules(value) for value in config] if isinstance(config, list) else config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tutorial")
    image = keras.Input((8, 8, 3), name="input_image")
    units = keras.layers.Dense(4, activation="sigmoid")(keras.layers.Flatten()(image))
    embedding = keras.Model(image, units, name="embedding")
    pair = [keras.Input((8, 8, 3)) for _ in range(2)]
    distance = L1Dist(name="distance")(*map(embedding, pair))
    network = keras.Model(pair, keras.layers.Dense(1, activation="sigmoid")(distance), name="SiameseNetwork")
    network.save(made / "model.h5")
    network.save(made / "model.keras")
    (made / "hdf5.keras").write_bytes((made / "model.h5").read_bytes())
    with h5py.File(made / "keras2.h5", "w") as written, h5py.File(made / "model.h5") as saved:
        written.attrs["model_config"] = json.dumps(without_modules(json.loads(saved.attrs["model_config"])))
    embedding.save(made / "plain.h5")
    (made / "model.onnx").write_bytes(b"\x08\x07")
    for name in ("exported", "model/servable"):
        (made / name).mkdir(parents=True)
        (made / name / "saved_model.pb").touch()
    (made / "with_hdf5").mkdir()
    (made / "with_hdf5/siamesemodelv2.h5").write_bytes((made / "model.h5").read_bytes())
    return made


@pytest.mark.parametrize("name", TUTORIALS)
@pytest.mark.parametrize("use", [locator.resolve_model, locator.initial_weights, Model.from_trained, Verifier.load])
def test_the_custom_layer_and_the_formats_that_are_read_are_named(use: Callable, name: str, folder: Path) -> None:
    with pytest.raises(InputError) as refused:
        use(folder / name)
    kind = "a Keras model" if name == "model.keras" else "an HDF5 file, Keras's older format"
    assert str(refused.value) == (
        f"{folder / name}: is {kind}, with the custom layer L1Dist of the program that saved it; give a folder that "
        "`siamese train` wrote, models:/NAME/VERSION, or a .keras file that save_compiled_model wrote, or train again "
        "with `siamese train`"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plain.h5", "plain.h5: is an HDF5 file, Keras's older format; give a folder"),
        ("with_hdf5", "siamesemodelv2.h5: is an HDF5 file, Keras's older format, with the custom layer L1Dist"),
        ("model.onnx", "model.onnx: is no model that siamese reads; give a folder"),
        ("exported", "exported: is a SavedModel of another program; give a folder"),
        ("model/servable", "model/servable: is a part of a model; name its folder, "),
    ],
)
def test_other_files_and_folders_are_named_by_what_they_are(name: str, said: str, folder: Path) -> None:
    def registered(model: Path) -> object:
        return read_evaluated(model, folder / "threshold.json", folder / "metrics.json")

    for use in (locator.resolve_model, Verifier.load, registered):
        with pytest.raises(InputError) as refused:
            use(folder / name)
        assert said in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "a.png", "a.png", "--model", "model.h5"],
        ["verify", "a.png", "a.png", "--model", "model.keras", "--threshold", "0.5"],
        ["enroll", "new.parquet", ".", "--model", "model.h5"],
    ],
)
def test_commands_name_the_custom_layer(words: list[str], folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    Image.new("RGB", (16, 16)).save("a.png")
    assert cli.run(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].count("with the custom layer L1Dist")
