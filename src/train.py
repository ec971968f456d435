"""Trains on a folder of images and writes trained/trained.keras: `python train.py [FOLDER]`."""

from __future__ import annotations

import argparse
import sys

from model.data import Data
from model.model import Model


def main(folder: str = "./data", epochs: int = 50) -> None:
    """The original's script."""
    data = Data(folder)
    data.initialize()
    model = Model(data=data)
    model.build_model()
    model.train(EPOCHS=epochs)
    model.evaluate()
    print(f"wrote {model.save_compiled_model(filename='trained')}")


if __name__ == "__main__":
    from siamese.process import exit_code_of

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="./data", help="anchor/*, positive/*, negative/* or <identity>/*")
    parser.add_argument("--epochs", type=int, default=50, help="passes over the training images (50)")
    given = parser.parse_args()
    sys.exit(exit_code_of(lambda: main(given.folder, given.epochs)))
