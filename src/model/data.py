"""The original's `Data`: a folder of images, made ready for training by the library's steps."""

from __future__ import annotations

import os
from pathlib import Path

from siamese import __version__, config
from siamese.console import log
from siamese.errors import InputError
from siamese.storage.files import atomic_file, digest

WORK = Path(".siamese/original")


class Data:
    """A folder of images and what the steps catalog, pairs and preprocess make of it.

    The folder is laid out as `anchor/*`, `positive/*`, `negative/*` or as `<identity>/*`, and is only read. What is
    made of it lies in `folder`, `.siamese/original/<hash of the path>` of the working folder. Parameters come from
    params.yaml as for the commands, but for `preprocess.standardise`: here images are X/255, whatever it says.
    """

    def __init__(self, path: str | os.PathLike[str] = "./data") -> None:
        """Looks at the folder; reads no image yet.

        Raises:
            InputError: there is no such folder, it holds the working folder, or params.yaml has a mistake.
        """
        from siamese.data.image_folder import detect_layout

        detect_layout(Path(path))
        self.data_path = Path(path).resolve()
        self.folder = WORK.resolve() / digest([os.fsencode(self.data_path)])[:16]
        if self.folder.is_relative_to(self.data_path):
            raise InputError(f"{path}: the working folder lies inside it: run from a folder outside the images")
        self.params = config.load_params(settings=["preprocess.standardise=false"])
        self.catalog_file = self.folder / "catalog.parquet"
        self.pairs_file = self.folder / "pairs.parquet"
        self.images_folder = self.folder / "images"
        self.transform_folder = self.folder / "transform"
        self._stored_for = self.folder / "stored_for.txt"
        self._initialized = False

    @property
    def initialized(self) -> bool:
        """Whether `initialize` has been called."""
        return self._initialized

    def initialize(self) -> None:
        """Lists the images, draws the pairs, and stores the pixels unless that was done for these very images.

        Raises:
            InputError: no usable image, or too few for the splits; an image changed meanwhile.
        """
        from siamese.data import catalog, pairs
        from siamese.preprocessing import preprocess
        from siamese.storage.files import content_digest

        log(f"{self.data_path}: images, pairs and what was rejected (rejected.csv) go to {self.folder}")
        max_pixels = self.params.data.max_pixels
        rejected_file = self.folder / "rejected.csv"
        catalog.run(self.data_path, self.catalog_file, rejected_file, self.params.catalog, max_pixels)
        pairs.run(self.catalog_file, self.pairs_file, self.params.pairs)
        made, network = (self.images_folder, self.transform_folder), self.params.model.network
        images = f"{__version__} {content_digest(self.catalog_file)}"
        if not all(place.exists() for place in (*made, self._stored_for)) or self._stored_for.read_text() != images:
            # Gone first: a run killed in between must not pass for done.
            self._stored_for.unlink(missing_ok=True)
            preprocess.run(self.data_path, self.catalog_file, *made, self.params.preprocess, network, max_pixels)
            with atomic_file(self._stored_for) as beside:
                beside.write_text(images)
        self._initialized = True
