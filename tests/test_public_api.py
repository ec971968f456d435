"""The public interface: what `from siamese import ...` offers, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import siamese

PUBLIC = ["Gallery", "Verifier", "__version__", "load_params"]


def test_the_public_names_are_these_and_each_can_be_imported() -> None:
    """A name that is added or removed is a promise that is made or broken: change this list, CHANGELOG and docs."""
    assert siamese.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(siamese))
    from siamese import Gallery, Verifier, load_params

    assert [value.__module__ for value in (Gallery, Verifier, load_params)] == [
        "siamese.identification.gallery",
        "siamese.models.verifier",
        "siamese.config",
    ]


def test_importing_the_package_and_its_verifier_imports_no_tensorflow() -> None:
    program = (
        "import sys, siamese\n"
        "print(sorted({'tensorflow', 'keras', 'numpy', 'pandas', 'mlflow'} & set(sys.modules)))\n"
        "siamese.Verifier, siamese.Gallery, siamese.load_params\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nFalse\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'siamese' has no attribute 'Model'"):
        _ = siamese.Model  # type: ignore[attr-defined]
