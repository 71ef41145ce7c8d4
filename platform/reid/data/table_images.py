"""The images that a table of descriptors describes, wherever they lie now."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.config import DataError
from reid.data.descriptors import DescriptorTable
from reid.data.image_folder import image_place
from reid.data.pixels import UnreadableImageError, pixels_of
from reid.data.remote import open_store
from reid.storage import Storage


class TableImages:
    """Images by the rows of a table: uint8 H × W × 3, at the size of the table's model.

    Args:
        images: the folder or the store that they lie in now; none = where they lay when the table was written.
        storage: the run's.

    Raises:
        DataError: there is no such store.
    """

    def __init__(self, table: DescriptorTable, images: str | None, storage: Storage) -> None:
        self._table, self._images = table, images or table.origin.images
        self._store = open_store(self._images, storage) if table.origin.kind == "store" else None

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        """
        Raises:
            DataError: the image is not where it was, or cannot be read.
        """
        label = self._table.row(row)
        if self._store is None:
            return self._of_file(image_place(Path(self._images), label["name"]))
        split = self._store.splits.get(label["split"] or "")
        place = self._table.place_in_split(row)
        if split is None or place >= len(split) or split.names[place] != label["name"]:
            raise DataError(f"{self._images} is another store than the one that {self._table.path} was written from")
        image_HW3: NDArray[np.uint8] = split.gather([place])[0].numpy()
        return image_HW3

    def _of_file(self, file: Path) -> NDArray[np.uint8]:
        if not os.path.isfile(file):
            raise DataError(
                f"the image {file} is not there any more: say with --images where the table's images lie now"
            )
        try:
            return pixels_of(file, (self._table.origin.height, self._table.origin.width))
        except UnreadableImageError as error:
            raise DataError(f"{error}: put the image back that was described, or write the table anew") from error
