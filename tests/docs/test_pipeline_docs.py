"""docs/kubeflow.md and docs/vertex.md: their commands, options and variables are those that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pipelines.__main__ import app
from pipelines.options import RunExitCode

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("kubeflow.md", "vertex.md")


def commands_of(page: str) -> Iterator[list[str]]:
    """The words after `python -m pipelines` of every such line in a block of commands."""
    for block in re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:3] == ["python", "-m", "pipelines"]:
                yield words[3:]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words begin with, and the rest of them."""
    found: Any = typer.main.get_command(app)
    while hasattr(found, "commands"):
        assert words and words[0] in found.commands, words
        found, words = found.commands[words[0]], words[1:]
    return found, words


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one(page: str) -> None:
    commands = list(commands_of(page))
    assert len(commands) >= 3
    for words in commands:
        command, rest = command_of(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert given <= known, (words, given - known)
        context = command.make_context("docs", [word.replace("$", "") for word in rest])  # values are parsed, too
        assert not context.args, words


@pytest.mark.parametrize(("page", "words"), [("kubeflow.md", ["submit"]), ("vertex.md", ["vertex", "submit"])])
def test_every_option_has_the_variable_that_the_table_says(page: str, words: list[str]) -> None:
    command, _ = command_of(words)
    variables = {}
    for parameter in command.params:
        named = parameter.envvar or []
        variables[parameter.opts[0]] = {named} if isinstance(named, str) else set(named)
    rows = re.findall(r"^\| `(--[a-z-]+)` \| (.*?) \|", (DOCS / page).read_text(), flags=re.MULTILINE)
    assert len(rows) > 7
    for option, cell in rows:
        assert set(re.findall(r"`([A-Z_]+)`", cell)) == variables[option], option
    tabled = {option for option, _ in rows}
    assert {option for option, named in variables.items() if named} <= tabled | {"--cluster", "--repository"} | (
        {"--tracking-uri", "--checkpoints"} if page == "vertex.md" else set()
    )


def test_the_exit_codes_are_those_of_the_page() -> None:
    text = (DOCS / "kubeflow.md").read_text()
    assert f"{RunExitCode.RUN_FAILED} the run failed or was cancelled" in text
    assert f"{RunExitCode.STILL_RUNNING} it still runs" in text
