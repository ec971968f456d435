"""Uses a trained model: `python use.py trained` measures it on ./data, `python use.py trained A B` compares images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from model.model import Model


def main(compiled_model_path: str, images: Sequence[str] = ()) -> None:
    """The original's script."""
    model = Model.from_trained(compiled_model_path)
    model.summary()
    if images:
        print(f"score {model.predict(*images).item():.3f}")
    else:
        model.evaluate()


if __name__ == "__main__":
    from siamese.process import exit_code_of

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="what train.py wrote: trained, or trained/trained.keras")
    parser.add_argument("images", nargs="*", metavar="image", help="two images to compare")
    given = parser.parse_args()
    if len(given.images) not in (0, 2):
        parser.error("give two images, or none")
    sys.exit(exit_code_of(lambda: main(given.model, given.images)))
