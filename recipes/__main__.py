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
from siamese.errors import InputError

NAMES = ("omniglot", "orl", "lfw", "signatures", "target", "anomaly")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="recipes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--from", dest="source", type=Path, action="append", default=[], help="of data")
    parser.add_argument("--to", type=Path, help="folder to work in")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of trainings (0)")
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="a parameter")
    given = parser.parse_args()
    recipe = importlib.import_module(f"recipes.{given.name}.recipe")
    try:
        folder = given.to or ROOT / "build/recipes" / given.name
        recipe.run(Workplace(given.name, folder, given.source, given.seeds, given.settings))
    except InputError as error:
        sys.exit(f"recipes: {error}")
    except KeyboardInterrupt:
        print("recipes: stopped; the same command goes on", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
