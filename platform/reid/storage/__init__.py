"""Places, local or remote; files and folders that are there whole or not at all; full disks; what a run writes."""

from reid.storage.cache import Cache
from reid.storage.mounts import network_file_system
from reid.storage.place import Place
from reid.storage.room import DiskFullError, disk_full, room_for
from reid.storage.storage import Storage
from reid.storage.writing import PARTIAL, remove_leftovers, temporary_folder, whole_file, whole_folder, write_whole

__all__ = [
    "PARTIAL",
    "Cache",
    "DiskFullError",
    "Place",
    "Storage",
    "disk_full",
    "network_file_system",
    "remove_leftovers",
    "room_for",
    "temporary_folder",
    "whole_file",
    "whole_folder",
    "write_whole",
]
