"""Runs a recipe: `make recipe name=omniglot FROM=archives`, or

    python -m recipes omniglot --from archives --seeds 0 1 2 -S train.epochs=20

Data, trainings and figures go to build/recipes/<name>, or to the folder that `--to` names.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path

from recipes.workplace import ROOT, Workplace
from siamese import process

NAMES = tuple(sorted(file.parent.name for file in ROOT.glob("recipes/*/recipe.py")))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="recipes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--from", dest="source", type=Path, action="append", default=[], help="of data")
    parser.add_argument("--to", type=Path, help="folder to work in")
    parser.add_argument("--seeds", type=seed, nargs="+", default=[0], help="of trainings (0)")
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="a parameter")
    given = parser.parse_args()
    recipe = importlib.import_module(f"recipes.{given.name}.recipe")
    folder = given.to or ROOT / "build/recipes" / given.name
    try:
        sys.exit(
            process.exit_code_of(
                lambda: recipe.run(Workplace(given.name, folder, given.source, given.seeds, given.settings))
            )
        )
    except KeyboardInterrupt:
        print("recipes: stopped; the same command goes on", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def seed(text: str) -> int:
    """A seed as the command line names it: 0 to 4294967295."""
    if not (text.isdecimal() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text}: name a whole number from 0 to {2**32 - 1}")
    return int(text)


if __name__ == "__main__":
    main()
