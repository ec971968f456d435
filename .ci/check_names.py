"""Check the layout of the code: named root modules, one meaning per class name, and no path to code that is gone.

Run from the repository's root. Prints a line for each fault, and exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT_MODULES = {"__init__", "config", "console", "errors", "params", "paths", "process", "tf_runtime"}
FACADE = Path("src/model")  # the original's names, which its users know
CODE = ("src", "components", "pipelines")
PATH_OF_CODE = re.compile(r"\b(?:src/siamese|components|pipelines|tests|benchmarks)/[\w/]+\.(?:py|css)\b")
HISTORY = {"CHANGELOG.md", "dvc.lock"}


def loose_modules() -> Iterator[str]:
    for file in sorted(Path("src/siamese").glob("*.py")):
        if file.stem not in ROOT_MODULES:
            yield f"{file}: not one of the root modules: move it into the package that its idea belongs to"


def shadowing_modules() -> Iterator[str]:
    for file in sorted(Path("src/siamese").rglob("*.py")):
        if file.stem in sys.stdlib_module_names and not file.stem.startswith("__"):
            yield f"{file}: shadows the standard library's module {file.stem}: rename it"


def classes_defined_twice() -> Iterator[str]:
    places = defaultdict(list)
    for file in (file for folder in CODE for file in sorted(Path(folder).rglob("*.py"))):
        if FACADE in file.parents:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file}:{node.lineno}")
    for name, where in sorted(places.items()):
        if len(where) > 1:
            yield f"class {name}: defined in {', '.join(where)}: rename all but one"


def paths_to_nothing() -> Iterator[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for file in (Path(name) for name in listed.split("\0") if name and name not in HISTORY):
        if file.suffix not in {".md", ".py", ".yaml", ".yml", ".toml", ""} or not file.is_file():
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="ignore").splitlines(), start=1):
            for path in PATH_OF_CODE.findall(line):
                if not Path(path).exists() and not (file.parent / path).exists():
                    yield f"{file}:{number}: names {path}, which isn't there"


def main() -> int:
    faults = [*loose_modules(), *shadowing_modules(), *classes_defined_twice(), *paths_to_nothing()]
    print("\n".join(faults) or "names: no loose module, no class defined twice, no path to nothing")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
