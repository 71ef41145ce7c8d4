"""Looks pictures up in a table of descriptors."""

import io
from threading import Lock

from PIL import Image

from reid.data import DescriptorTable, RowLabels, TableImages, UnreadableImageError, load_image
from reid.evaluation import Nearest, nearest
from reid.inference import load_model_of
from reid.storage import Place, Storage


class Match(RowLabels):
    """An image of the table that was found."""

    row: int
    distance: float
    """Euclidean, from the query: 0..2."""


class Finder:
    """A table, the images it names and the model it was written with; any number of threads may ask.

    Raises:
        DataError: there is no such table, or its model or its store is another by now.
    """

    def __init__(self, table: Place, images: str | None, storage: Storage) -> None:
        self._table = DescriptorTable(table)
        self._images = TableImages(self._table, images, storage)
        self._model = load_model_of(self._table)
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._table)

    def nearest_to(self, file: bytes, count: int) -> list[Match]:
        """
        Raises:
            ValueError: it is no image.
        """
        try:
            image = load_image(io.BytesIO(file))
        except UnreadableImageError:
            raise ValueError("this is no image that can be read: give a JPEG or a PNG file") from None
        with self._lock:
            found = nearest(self._model.describe([image]), self._table.blocks(), count)
            return self._matches(found)

    def nearest_to_row(self, row: int, count: int) -> list[Match]:
        """The images nearest to one of the table, without itself.

        Raises:
            IndexError: the table has no such row.
        """
        with self._lock:
            found = nearest(self._table.descriptor(row)[None], self._table.blocks(), count, without=row)
            return self._matches(found)

    def picture(self, row: int) -> bytes:
        """The image of a row as PNG, at the size of the model.

        Raises:
            IndexError: the table has no such row.
            DataError: the image is not where it was.
        """
        if row >= len(self):
            raise IndexError(f"the table has no row {row}")
        with self._lock:
            image_HW3 = self._images[row]
        file = io.BytesIO()
        Image.fromarray(image_HW3).save(file, "PNG")
        return file.getvalue()

    def _matches(self, found: Nearest) -> list[Match]:
        rows, distances = found.rows_QK[0].tolist(), found.distances_QK[0].tolist()
        return [
            Match(row=row, distance=distance, **labels)
            for row, distance, labels in zip(rows, distances, self._table.rows(rows), strict=True)
        ]
