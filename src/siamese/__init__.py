"""Siamese networks as a dependable pipeline: image folders in, a measured verification model out.

The public interface is what `__all__` names; everything else may move between releases. Importing the package imports
no TensorFlow: each name loads its module when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siamese.config import load_params
    from siamese.identification.gallery import Gallery
    from siamese.models.verifier import Verifier

__version__ = "0.1.0"
__all__ = ["Gallery", "Verifier", "__version__", "load_params"]

_MODULES = {
    "Gallery": "siamese.identification.gallery",
    "Verifier": "siamese.models.verifier",
    "load_params": "siamese.config",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'siamese' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
