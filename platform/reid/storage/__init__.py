"""Places, local or remote; leases; files and folders that are there whole or not at all; full disks; a run's files."""

from reid.storage.cache import Cache
from reid.storage.holder import Holder
from reid.storage.lease import HeldError, Lease, LeaseLostError, clock, hold, require_claim
from reid.storage.mounts import network_file_system
from reid.storage.place import Place
from reid.storage.room import DiskFullError, disk_full, room_for
from reid.storage.storage import Storage
from reid.storage.writing import PARTIAL, remove_leftovers, temporary_folder, whole_file, whole_folder, write_whole

__all__ = [
    "PARTIAL",
    "Cache",
    "DiskFullError",
    "HeldError",
    "Holder",
    "Lease",
    "LeaseLostError",
    "Place",
    "Storage",
    "clock",
    "disk_full",
    "hold",
    "network_file_system",
    "remove_leftovers",
    "require_claim",
    "room_for",
    "temporary_folder",
    "whole_file",
    "whole_folder",
    "write_whole",
]
