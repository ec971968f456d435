"""Effective parameters: params.yaml and -S settings, merged and validated, with one line for what is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from siamese.errors import InputError
from siamese.params import Params, Section


def key_and_text(setting: str) -> tuple[str, str]:
    """The dotted key and the value's text of `key=value`; spaces around `=` don't count, no-break spaces included.

    Raises:
        InputError: the text isn't written like this, or its value is missing.
    """
    key, *value = (part.strip() for part in re.split("[=＝]", setting, maxsplit=1))
    if not key or not value:
        raise InputError(f"-S {setting}: write -S key=value in one word, for example -S train.epochs=3")
    [text] = value
    if not text:
        raise InputError(f"-S {setting}: the value is missing; write -S {key}=VALUE, an empty text as -S '{key}=\"\"'")
    if key[0] in "'\"“”‘’":
        raise InputError(f"-S {setting}: the key begins with a quotation mark; write -S key=value without it")
    return key, text


def load_params(file: Path | None = None, settings: Iterable[str] = (), *, may_be_empty: bool = False) -> Params:
    """The effective parameters.

    Args:
        file: a params.yaml; None: the one in the working folder, else the packaged one.
        settings: single values, each `key=value` with a dotted key and a YAML value.
        may_be_empty: use the packaged one for an empty file, which the shell makes for `siamese params > params.yaml`.

    Raises:
        InputError: a file that can't be read, an unknown key or a value that isn't allowed, in one line.
    """
    source = file or Path("params.yaml")
    is_empty = may_be_empty and source.is_file() and not source.stat().st_size
    if file is None and (is_empty or not source.exists()):
        from siamese.console import log

        missing = "params.yaml is empty" if is_empty else "no params.yaml here"
        source = packaged_file()
        log(f"{missing}: using the packaged one (`siamese params > params.yaml` makes your own)")
    values = _read(source)
    for setting in settings:
        _set(values, setting)
    return _validated(values, str(source))


def parse_section(kind: type[Section], values: Mapping[str, Any]) -> Any:
    """One section from a plain dict, as a Kubeflow component gets it, validated.

    Raises:
        InputError: an unknown key or a value that isn't allowed, in one line.
    """
    values = _whole_numbers(values)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(_one_line(error, values, kind.__name__)) from None


def params_from_sections(sections: Mapping[str, Mapping[str, Any]]) -> Params:
    """All parameters from some sections, as a Kubeflow component gets those that concern it.

    The others, which it doesn't look at, are as packaged.

    Raises:
        InputError: an unknown section, key or a value that isn't allowed, in one line.
    """
    values = _read(packaged_file()) | _whole_numbers(sections)
    return _validated(values, "the sections given")


def deep_merge(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with what `given` says otherwise, mapping by mapping."""
    merged = dict(values)
    for key, value in given.items():
        old = merged.get(key)
        merged[key] = deep_merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def packaged_file() -> Path:
    """The params.yaml that the wheel carries; in an editable installation, the repository's own."""
    here = Path(__file__).parent
    carried = here / "params.yaml"
    return carried if carried.exists() else here.parents[1] / "params.yaml"


def to_yaml(params: Params) -> str:
    """The parameters as YAML text that `load` reads back to the same."""
    import io

    from ruamel.yaml import YAML

    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(params.model_dump(), text)
    return text.getvalue()


def _whole_numbers(values: Any) -> Any:
    """The same with 50 for 50.0: Kubeflow hands all numbers on as doubles. A parameter that may have a fraction takes
    either."""
    if isinstance(values, Mapping):
        return {key: _whole_numbers(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_whole_numbers(value) for value in values]
    return int(values) if isinstance(values, float) and values.is_integer() else values


def _validated(values: Mapping[str, Any], source: str) -> Params:
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise InputError(_one_line(error, values, source)) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: can't be read ({error.strerror}): name an existing file with --params") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}: line {line} is not UTF-8 text; save the file as UTF-8") from None
    if "\0" in text:
        raise InputError(f"{file}: contains zero bytes, as UTF-16 and damaged files do; save the file as UTF-8 text")
    try:
        values = _parse(text)
    except ValueError as error:
        raise InputError(f"{file}: is not YAML ({error}): mend that line or the one before it") from None
    if not isinstance(values, dict):
        problem = "is empty" if values is None else f"contains {_short(values)} and no sections"
        raise InputError(f"{file}: {problem}; start from the output of `siamese params` in an empty folder")
    return values


def _parse(text: str) -> Any:
    # YAML 1.2: 1e-4 is a number and `no` a string; PyYAML's 1.1 says the opposite of both.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark and text.strip().count("\n") else ""
        raise ValueError(f"{line}{_flat(error.problem)}") from None
    except YAMLError as error:
        raise ValueError(_flat(error)) from None
    except RecursionError:
        raise ValueError("too deeply nested") from None


def _set(values: dict[str, Any], setting: str) -> None:
    key, text = key_and_text(setting)
    try:
        value = _parse(text)
    except ValueError as error:
        raise InputError(f"-S {setting}: the value is not YAML ({error})") from None
    *parents, last = key.split(".")
    inner: Any = values
    for parent in parents:
        if isinstance(inner, dict) and inner.get(parent) is None:
            inner[parent] = {}
        inner = inner[parent] if isinstance(inner, dict) else None
    if not isinstance(inner, dict):
        raise InputError(_unknown_key(key, value, "-S"))
    inner[last] = value


def known_keys(model: type[BaseModel] = Params, prefix: str = "") -> list[str]:
    """Every dotted key of params.yaml, sections included, in order."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
    return keys


def _one_line(error: ValidationError, values: Mapping[str, Any], source: str) -> str:
    # A misspelt key is at once unknown and missing: naming the misspelling mends both.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    path = [str(part) for part in first["loc"]]
    while (
        path
        and ".".join(path) not in (*known_keys(), ".".join(path[:1]))
        and first["type"]
        not in (
            "extra_forbidden",
            "missing",
        )
    ):
        path.pop()  # pydantic appends the tried member of a union to the path
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return _unknown_key(key, first["input"], source)
    if first["type"] == "missing":
        return f"{source}: {key} is missing: add it (`siamese params` in an empty folder shows the defaults)"
    value: Any = values
    for part in path:
        value = value[part] if isinstance(value, Mapping) and part in value else first["input"]
    return f"{source}: {key or 'the file'} = {_short(value)} is not allowed: {_allowed(first)}"


def _unknown_key(key: str, value: Any, source: str) -> str:
    parent, _, name = key.rpartition(".")
    known = known_keys()
    siblings = [one.rpartition(".")[2] for one in known if one.rpartition(".")[0] == parent]
    same_name = [one for one in known if one.rpartition(".")[2] == name]
    nearest = (same_name or difflib.get_close_matches(key.lower(), known, n=1, cutoff=0) or known)[0]
    where = f"in {parent}" if parent and siblings else "at the top"
    allowed = ", ".join(siblings or [one for one in known if "." not in one])
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        key = ascii(key)  # an invisible space, or a letter that looks like another one
    return (
        f"{source}: unknown key {key} (value {_short(value)}); nearest known key: {nearest}; allowed {where}: {allowed}"
    )


def _allowed(found: Any) -> str:
    kind, context = found["type"], found.get("ctx", {})
    texts = {
        "int_type": "must be a whole number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "string_type": "must be a text",
        "dict_type": "must be a mapping of names to values",
        "model_type": "must be a section with keys of its own",
        "greater_than": f"must be above {context.get('gt')}",
        "greater_than_equal": f"must be {context.get('ge')} or more",
        "less_than": f"must be below {context.get('lt')}",
        "less_than_equal": f"must be {context.get('le')} or less",
        "multiple_of": f"must be a multiple of {context.get('multiple_of')}",
        "literal_error": f"must be one of {context.get('expected')}",
        "value_error": str(context.get("error")),
        "string_too_short": "must not be empty",
        "string_pattern_mismatch": f"must match {context.get('pattern')}",
    }
    if found["loc"][:2] == ("preprocess", "runner_options"):
        return "must be a text, a number, true or false, or a list of texts"
    if found["loc"][:2] == ("preprocess", "images_per_shard"):
        return "must be auto or a whole number from 1 to 4096"
    if found["loc"][-1:] in (("str",), ("float",)):
        return "must be eer, far=RATE with a rate between 0 and 1, or a score from 0 to 1"
    return texts.get(kind, _flat(found["msg"]))


def _short(value: Any) -> str:
    text = _flat(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _flat(message: Any) -> str:
    return " ".join(str(message).split())


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of all that is no mapping, in order; an empty mapping has nothing."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
