"""Parameters: params.yaml is the only place of defaults, and what it may not say is told in one line."""

import json
from pathlib import Path

import pytest

from siamese import cli, config, params
from siamese.errors import InputError


def refusal(*settings: str) -> str:
    with pytest.raises(InputError) as refused:
        config.load_params(config.packaged_file(), settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_packaged_parameters_are_the_specification() -> None:
    values = config.load_params(config.packaged_file())
    assert (values.train.epochs, values.train.checkpoint_every) == (50, 10)
    assert values.train.optimizer.model_dump() == {
        "name": "adam",
        "learning_rate": 1e-4,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-8,
    }
    assert (values.catalog.train, values.catalog.test, values.catalog.validation) == (0.7, 0.2, 0.1)


def test_every_parameter_has_a_comment_of_its_own() -> None:
    lines = config.packaged_file().read_text().splitlines()
    silent = [line for line in lines if line.startswith(" ") and "#" not in line and not line.endswith(":")]
    assert silent == []


def test_no_parameter_has_a_second_default_in_the_library() -> None:
    def defaults(model: type) -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            found += [] if field.is_required() else [name]
            if isinstance(field.annotation, type) and issubclass(field.annotation, params.Section):
                found += defaults(field.annotation)
        return found

    assert defaults(params.Params) == []


def test_a_misspelt_key_is_named_with_its_value_what_is_allowed_and_the_nearest() -> None:
    line = refusal("train.epoch=3")
    assert "unknown key train.epoch (value 3)" in line
    assert "nearest known key: train.epochs" in line
    assert "allowed in train: epochs, batch" in line


def test_a_key_of_another_section_is_found() -> None:
    assert "nearest known key: train.epochs" in refusal("epochs=3")
    assert "nearest known key: train.epochs" in refusal("model.epochs=3")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.epochs=many", "train.epochs = 'many' is not allowed: must be a whole number"),
        ("train.epochs=1.5", "train.epochs = 1.5 is not allowed: must be a whole number"),
        ("train.epochs=0", "train.epochs = 0 is not allowed: must be 1 or more"),
        ("train.epochs=true", "train.epochs = True is not allowed: must be a whole number"),
        ("train.seed=4294967296", "train.seed = 4294967296 is not allowed: must be below 4294967296"),
        ("train.batch=7", "train.batch = 7 is not allowed: must be a multiple of 2"),
        ("train.batch=6", "must hold at least two identities"),
        ("train.pairing=all", "must be one of 'in_batch' or 'listed'"),
        ("train.optimizer.learning_rate=.inf", "train.optimizer.learning_rate = inf"),
        ("catalog.train=0.8", "train, test and validation must add up to 1"),
        ("evaluate.threshold=far=2", "must be eer, far=RATE"),
        ("evaluate.threshold=[1]", "must be eer, far=RATE"),
        ("preprocess.runner=Spark", "'DirectRunner'"),
        ("preprocess.images_per_shard=4097", "= 4097 is not allowed: must be auto or a whole number from 1 to 4096"),
        ("preprocess.images_per_shard=many", "= 'many' is not allowed: must be auto or a whole number from 1 to 4096"),
        ("preprocess.runner_options={a: {b: 1}}", "must be a text, a number"),
        ("preprocess.standardise=1", "must be true or false"),
        ("train=3", "train = 3 is not allowed: must be a section"),
        (
            "data.path=",
            "-S data.path=: the value is missing; write -S data.path=VALUE, an empty text as -S 'data.path=\"\"'",
        ),
        ("train.epochs", "write -S key=value in one word, for example -S train.epochs=3"),
        ("train.epochs: 3", "write -S key=value in one word"),
        ("'train.epochs=3'", "the key begins with a quotation mark; write -S key=value without it"),
        ("“train.epochs”=3", "the key begins with a quotation mark"),
        ("\u200btrain.epochs=3", r"unknown key '\u200btrain'"),
        ("trаin.epochs=3", r"unknown key 'tr\u0430in' (value {'epochs': 3}); nearest known key: train;"),  # Cyrillic а
        ("TRAIN.epochs=3", "unknown key TRAIN (value {'epochs': 3}); nearest known key: train;"),
        ("train.epochs=[", "the value is not YAML"),
        ("train.epochs.x=1", "unknown key train.epochs.x"),
    ],
)
def test_a_value_that_is_not_allowed_is_told_in_one_line(setting: str, expected: str) -> None:
    assert expected in refusal(setting)


@pytest.mark.parametrize(
    "setting", ["train.epochs = 3", "train.epochs=\u00a03", " train.epochs\u3000＝\t3 ", "train.epochs =3"]
)
def test_spaces_around_the_equals_sign_do_not_count(setting: str) -> None:
    assert config.load_params(config.packaged_file(), [setting]).train.epochs == 3
    assert config.load_params(config.packaged_file(), ["data.path=a＝b=c"]).data.path == "a＝b=c"


def test_settings_are_yaml_so_that_numbers_are_numbers() -> None:
    values = config.load_params(
        config.packaged_file(),
        ["train.optimizer.learning_rate=1e-5", "evaluate.threshold=far=0.01", "preprocess.runner_options={region: x}"],
    )
    assert values.train.optimizer.learning_rate == 0.00001
    assert values.evaluate.threshold == "far=0.01"
    assert values.preprocess.runner_options == {"region": "x"}


@pytest.mark.parametrize(
    ("rule", "meaning"),
    [("eer", ("eer", 0.0)), ("far=0.01", ("far", 0.01)), (0.5, ("fixed", 0.5)), (1, ("fixed", 1.0))],
)
def test_threshold_rules(rule: str | float, meaning: tuple[str, float]) -> None:
    assert params.parse_threshold(rule) == meaning


def test_the_file_in_the_working_folder_wins_over_the_packaged_one(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = config.load_params()
    assert "packaged" in capsys.readouterr().err
    Path("params.yaml").touch()  # as the shell does for `siamese params > params.yaml`
    assert config.load_params(may_be_empty=True) == packaged
    assert "params.yaml is empty: using the packaged one" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"params\.yaml: is empty; start from the output of `siamese params`"):
        config.load_params()
    Path("params.yaml").write_text(config.to_yaml(packaged).replace("epochs: 50", "epochs: 7"))
    assert config.load_params().train.epochs == 7
    assert capsys.readouterr().err == ""


def test_effective_parameters_read_back_to_the_same(tmp_path) -> None:
    values = config.load_params(config.packaged_file(), ["evaluate.threshold=far=0.01", "data.path='data/ümläut: x'"])
    (tmp_path / "params.yaml").write_text(config.to_yaml(values))
    assert config.load_params(tmp_path / "params.yaml") == values


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"train: [", "is not YAML"),
        (b"train: {}", "data is missing"),
        *[
            (content, "is empty; start from")
            for content in (b"", b" \n", b"# nothing\n", b"null\n", b"---\n", b"\xef\xbb\xbf")
        ],
        (b"- 1", "contains [1] and no sections; start from"),
        (b"<html>", "contains '<html>' and no sections"),
        (b"data:\n  path: a\n  path: b\n", 'line 3: found duplicate key "path" with value "b" (original value: "a")'),
        (b"data:\n\tpath: a\n", r"line 2: found character '\t' that cannot start any token"),
        (b"data:\n  path: J\xfcrgen\n", "line 2 is not UTF-8 text; save the file as UTF-8"),
        ("data:\n".encode("utf-16"), "line 1 is not UTF-8 text; save the file as UTF-8"),
        ("data:\n".encode("utf-16-le"), "contains zero bytes, as UTF-16 and damaged files do"),
        (b"data:\n  path\xc2\xa0: a\n", r"unknown key 'data.path\xa0' (value 'a'); nearest known key: data.path;"),
    ],
)
def test_an_unusable_file_is_told_in_one_line(tmp_path, content: bytes, expected: str) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(InputError) as refused:
        config.load_params(tmp_path / "params.yaml")
    assert expected in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("ends", [b"\r\n", b"\r"])
def test_a_byte_order_mark_and_other_line_ends_are_accepted(tmp_path, ends: bytes) -> None:
    written = config.packaged_file().read_bytes()
    (tmp_path / "params.yaml").write_bytes(b"\xef\xbb\xbf" + written.replace(b"\n", ends))
    assert config.load_params(tmp_path / "params.yaml") == config.load_params(config.packaged_file())


@pytest.mark.parametrize("words", [["train.epochs", "=", "3"], ["train.epochs:", "3"], ["train.epochs", "3"]])
def test_a_setting_of_several_words_is_named_on_the_command_line(words: list[str], capsys) -> None:
    assert cli.run(["params", "-S", *words]) == 2
    assert f"siamese: -S {words[0]}: write -S key=value in one word, for example" in capsys.readouterr().err


def test_a_section_from_a_plain_dict_is_validated_as_a_component_gets_it() -> None:
    assert config.parse_section(params.PairsParams, {"per_split": 4, "seed": 0}).per_split == 4
    with pytest.raises(InputError, match="per_splt"):
        config.parse_section(params.PairsParams, {"per_splt": 4, "seed": 0})


def test_kubeflows_doubles_are_the_integers_that_they_were() -> None:
    """Where a fraction is allowed it stays, and a whole number of a parameter with fractions stays a number."""
    given = json.loads(json.dumps(config.load_params(config.packaged_file()).model_dump()), parse_int=float)
    assert given["train"]["epochs"] == 50.0 and isinstance(given["train"]["epochs"], float)
    assert config.params_from_sections(given) == config.load_params(config.packaged_file())
    with pytest.raises(InputError, match="per_split"):
        config.parse_section(params.PairsParams, {"per_split": 4.5, "seed": 0.0})


def test_sections_that_are_not_given_are_as_packaged() -> None:
    chosen = config.params_from_sections({"registry": {"name": "faces"}})
    packaged = config.load_params(config.packaged_file())
    assert chosen.registry.name == "faces" and chosen.train == packaged.train
    with pytest.raises(InputError, match="regstry"):
        config.params_from_sections({"regstry": {"name": "faces"}})
