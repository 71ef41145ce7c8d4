"""Where what other processes say is kept until the job looks."""

from dataclasses import dataclass, field

from reid.progress.report import Bar


@dataclass
class Said:
    """Since the last look."""

    lines: list[tuple[bool, str]] = field(default_factory=list)
    """Whether it is for the user, and what."""
    bars: dict[str, Bar] = field(default_factory=dict)


class Board:
    """Holds what was said until the job looks. A process of its own runs it, which needs nothing but this package."""

    def __init__(self) -> None:
        self._said = Said()

    def say(self, line: str, *, for_user: bool) -> None:
        self._said.lines.append((for_user, line))

    def move(self, bar: Bar) -> None:
        self._said.bars[bar.title] = bar

    def take(self) -> Said:
        said, self._said = self._said, Said()
        return said
