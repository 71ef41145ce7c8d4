"""What a job says while it works, wherever in it: lines, tables, notes for its log, and how far something has come."""

from reid.progress.board import Board, Said
from reid.progress.report import (
    Bar,
    Listener,
    Printer,
    Silence,
    keep_log_in,
    listening,
    move,
    note,
    say,
    say_result,
    show_table,
    track,
    tracked,
)

__all__ = [
    "Bar",
    "Board",
    "Listener",
    "Printer",
    "Said",
    "Silence",
    "keep_log_in",
    "listening",
    "move",
    "note",
    "say",
    "say_result",
    "show_table",
    "track",
    "tracked",
]
