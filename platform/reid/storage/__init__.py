"""Places, local or remote; files and folders that are there whole or not at all; the root of all that a run writes."""

from reid.storage.place import Place
from reid.storage.storage import Storage
from reid.storage.writing import PARTIAL, whole_file, whole_folder, write_whole

__all__ = ["PARTIAL", "Place", "Storage", "whole_file", "whole_folder", "write_whole"]
