"""Runs a GitHub workflow's jobs on this machine: its own `run:` steps, its own conditions, artifacts between its jobs.

What GitHub itself would do is done here in the simplest way: checking out is a shallow clone, Python is there already,
artifacts are folders. Any other action fails the test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_TOKEN = re.compile(r"\s*(?:'(?P<text>(?:[^']|'')*)'|(?P<sign>\|\||&&|==|!=|[!()])|(?P<name>[A-Za-z_][\w.-]*))")


class Expression:
    """GitHub's expressions, as far as the workflows use them: names, texts, == != && || ! and parentheses.

    As there, && and || give one of their operands, and a name that stands for nothing is the empty text.
    """

    def __init__(self, text: str, contexts: Mapping[str, Any]) -> None:
        self._contexts = contexts
        self._tokens: list[tuple[str, str]] = []
        at, text = 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            assert found, f"not understood: {text[at:]}"
            self._tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            at = found.end()

    def value(self) -> Any:
        found = self._either()
        assert not self._tokens, f"not understood: {self._tokens}"
        return found

    def _either(self) -> Any:
        found = self._both()
        while self._next("||"):
            other = self._both()
            found = found or other
        return found

    def _both(self) -> Any:
        found = self._compared()
        while self._next("&&"):
            other = self._compared()
            found = found and other
        return found

    def _compared(self) -> Any:
        found = self._single()
        for sign in ("==", "!="):
            if self._next(sign):
                return (found == self._single()) == (sign == "==")
        return found

    def _single(self) -> Any:
        if self._next("!"):
            return not self._single()
        if self._next("("):
            found = self._either()
            assert self._next(")")
            return found
        kind, word = self._tokens.pop(0)
        assert kind in ("text", "name"), word
        return word.replace("''", "'") if kind == "text" else self._looked_up(word)

    def _looked_up(self, name: str) -> Any:
        found: Any = self._contexts
        first, *rest = name.split(".")
        assert first in self._contexts, f"no context {first}"
        for part in (first, *rest):
            found = found.get(part, "") if isinstance(found, Mapping) else ""
        return "" if found is None else found

    def _next(self, sign: str) -> bool:
        if self._tokens[:1] != [("sign", sign)]:
            return False
        self._tokens.pop(0)
        return True


def filled_in(text: Any, contexts: Mapping[str, Any]) -> str:
    """A value of the workflow with each ${{ }} replaced."""
    return re.sub(r"\$\{\{(.+?)\}\}", lambda found: _as_text(Expression(found[1], contexts).value()), str(text))


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass
class Job:
    """What came of a job.

    Attributes:
        folder: where its steps ran.
        result: success, failure or skipped.
        said: what its steps printed.
        outputs, summary: what it told GitHub.
        skipped: steps whose condition didn't hold, or that the test left out.
    """

    folder: Path
    result: str = "success"
    said: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Runner:
    """Runs workflows of one repository.

    Attributes:
        check_out: clones into a folder, so many commits deep.
        folder: where jobs and artifacts lie; new folders are made in it.
        leave_out: names of steps that need GitHub itself.
    """

    check_out: Callable[[Path, int], None]
    folder: Path
    leave_out: Collection[str] = ()

    def run(self, workflow: Path, contexts: Mapping[str, Any]) -> dict[str, Job]:
        """Every job, in the order of their needs.

        Args:
            contexts: github, vars, secrets, inputs.
        """
        jobs = yaml.safe_load(workflow.read_text())["jobs"]
        done: dict[str, Job] = {}
        self.folder.mkdir(parents=True)
        (self.folder / "artifacts").mkdir()
        while len(done) < len(jobs):
            for name, job in jobs.items():
                needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
                if name not in done and all(need in done for need in needs):
                    done[name] = self._job(name, job, contexts, {need: done[need] for need in needs})
        return done

    def _job(self, name: str, job: Mapping[str, Any], contexts: Mapping[str, Any], needs: Mapping[str, Job]) -> Job:
        told = {need: {"result": its.result, "outputs": its.outputs} for need, its in needs.items()}
        inside = dict(contexts) | {"needs": told, "steps": {}}
        result = Job(self.folder / name)
        met = all(its.result == "success" for its in needs.values())
        if not met or not Expression(job.get("if", "'always'"), inside).value():
            result.result = "skipped"
            return result
        result.folder.mkdir()
        for step in job["steps"]:
            if not self._step(step, inside, result):
                result.result = "failure"
                break
        result.outputs = {key: filled_in(value, inside) for key, value in job.get("outputs", {}).items()}
        return result

    def _step(self, step: Mapping[str, Any], contexts: dict[str, Any], job: Job) -> bool:
        title = step.get("name", step.get("uses", step.get("run", "")))
        if title in self.leave_out or not Expression(step.get("if", "'always'"), contexts).value():
            job.skipped.append(title)
            return True
        if "uses" in step:
            options = {key: filled_in(value, contexts) for key, value in step.get("with", {}).items()}
            self._action(step["uses"].split("@")[0], options, job)
            return True
        told = {"GITHUB_OUTPUT": self.folder / "output", "GITHUB_STEP_SUMMARY": self.folder / "summary"}
        for file in told.values():
            file.write_text("")
        given = {key: filled_in(value, contexts) for key, value in step.get("env", {}).items()}
        command = filled_in(step["run"], contexts)
        done = subprocess.run(
            ["bash", "-e", "-c", command],
            cwd=job.folder,
            env=environment() | given | {name: str(file) for name, file in told.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        job.said += done.stdout
        job.summary += told["GITHUB_STEP_SUMMARY"].read_text()
        outputs = dict(line.split("=", 1) for line in told["GITHUB_OUTPUT"].read_text().splitlines())
        contexts["steps"][step.get("id")] = {"outputs": outputs}
        return done.returncode == 0

    def _action(self, action: str, options: Mapping[str, str], job: Job) -> None:
        if action == "actions/checkout":
            assert options["persist-credentials"] == "False"
            self.check_out(job.folder, int(options.get("fetch-depth", "1")))
        elif action == "actions/upload-artifact":
            self._upload(options, job.folder)
        elif action == "actions/download-artifact":
            shutil.copytree(self.folder / "artifacts" / options["name"], job.folder, dirs_exist_ok=True)
        else:
            assert action == "actions/setup-python", action

    def _upload(self, options: Mapping[str, str], folder: Path) -> None:
        """Files by their paths from the folder, hidden ones left out, as the action does where one lies at the top."""
        found = [path for pattern in options["path"].split() for path in folder.glob(pattern)]
        files = {file for path in found for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()}
        shown = [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
        if options.get("archive") == "False":
            assert len(shown) <= 1
            for file in shown:
                shutil.copy(file, self.folder / "artifacts" / file.name)
            return
        for file in shown:
            to = self.folder / "artifacts" / options["name"] / file.relative_to(folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)


def environment() -> dict[str, str]:
    """What a runner's machine has, and nothing of the developer's."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "COVERAGE_PROCESS_START")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"CI": "true"}


def borrow_environment(clone: Path) -> None:
    """Lends a clone the virtual environment that runs the tests, so that `make setup` finds it made."""
    (clone / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        (clone / ".venv" / entry.name).symlink_to(entry)
    for name in ("requirements.txt", "requirements/build.txt", "pyproject.toml"):
        os.utime(clone / name, (0, 0))
    made = clone / ".venv/for-users"
    made.unlink(missing_ok=True)
    made.touch()
