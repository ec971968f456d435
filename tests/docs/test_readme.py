"""The README tells the truth: its commands run, and what it quotes of the project is there."""

from __future__ import annotations

import re
import shlex

import pytest
from conftest import ROOT, Repository

from siamese import config
from siamese.data.synthetic import sample
from siamese.errors import ExitCode, InputError
from siamese.params import SampleParams

README = (ROOT / "README.md").read_text()
ELSEWHERE = ("make repro", "make test", "source ")  # the two commands themselves; the environment is on the path here
REFUSED = "siamese params -S train.epoch=3"
EXIT_CODES = {  # where they are the answer
    "siamese verify": [0, 1],
    REFUSED: [2],
    "siamese promote --dry-run": [3],
    "siamese drift": [0, 4],
}


def commands() -> list[str]:
    found = []
    for kind, block in re.findall(r"```(sh|console)\n(.*?)```", README, flags=re.DOTALL):
        lines = block.splitlines()
        found += [line[2:] for line in lines if line.startswith("$ ")] if kind == "console" else lines
    return [re.sub(r"\s+#.*", "", command) for command in found if not command.startswith(ELSEWHERE)]


@pytest.mark.slow
def test_every_command_runs(repository: Repository) -> None:
    faces = SampleParams(identities=8, images=4, seed=5, layout="identities", forgeries=False)
    sample.run(repository.folder / "data/faces", faces)
    assert len(commands()) >= 20
    try:
        for key, old, new in (("min_precision", "0.6", "0.0"), ("max_eer", "0.35", "1.0")):
            repository.set(key, old, new)  # two epochs make no model that the gate would accept
        for command in commands():
            allowed = next((codes for begin, codes in EXIT_CODES.items() if command.startswith(begin)), [0])
            repository.run(*shlex.split(command), exit_codes=allowed)
    finally:
        repository.reset()


def test_the_quoted_refusal_is_what_is_said() -> None:
    quoted = README.partition(f"$ {REFUSED}\n")[2].splitlines()[0]
    with pytest.raises(InputError) as refused:
        config.load_params(ROOT / "params.yaml", ["train.epoch=3"])
    assert str(refused.value).replace(f"{ROOT}/", "") == quoted.removeprefix("siamese: ")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_table_of_exit_codes_is_complete() -> None:
    rows = re.findall(r"^\| (\d) \|", README, flags=re.MULTILINE)
    assert rows == [str(int(code)) for code in ExitCode]


def test_nothing_is_left_to_fill_in() -> None:
    assert re.findall(r"@[A-Z0-9_]+@|TODO|TBD", README) == []
