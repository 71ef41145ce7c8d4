"""Where a driver lays down work, and the workers of its run find it."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

PATIENCE_S = 1.0
"""Seconds after which one who waits for news hears that there are none."""


@dataclass
class _Work:
    title: str
    task: bytes
    told: list[str] = field(default_factory=list)
    result: bytes | None = None


class Desk:
    """Holds works in their order, and what came of them, as bytes that it does not look into.

    An actor: its process needs nothing but this file, see `workers.py`. It outlives the workers, so that those that
    are started anew find what the others had begun.
    """

    def __init__(self) -> None:
        self._works: list[_Work] = []
        self._is_closed = False
        self._changed = asyncio.Condition()

    async def put(self, title: str, task: bytes) -> int:
        """Lay down a work; its number."""
        self._works.append(_Work(title, task))
        await self._wake()
        return len(self._works) - 1

    async def close(self) -> None:
        """No work comes any more."""
        self._is_closed = True
        await self._wake()

    async def first_unfinished(self) -> int:
        """Number of the work to begin with, which may not be there yet."""
        return next((n for n, work in enumerate(self._works) if work.result is None), len(self._works))

    async def task(self, number: int) -> bytes | None:
        """What is to be done, once it is there; None where nothing comes any more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_closed or number < len(self._works))
        return self._works[number].task if number < len(self._works) else None

    async def tell(self, number: int, text: str) -> None:
        """Something for the driver, of a work that goes on."""
        self._works[number].told.append(text)
        await self._wake()

    async def finish(self, number: int, result: bytes) -> None:
        self._works[number].result = result
        await self._wake()

    async def news(self, number: int) -> tuple[list[str], bytes | None]:
        """What was told of a work since this was asked before, and its result once it is finished; after a while both
        may be nothing."""
        work = self._works[number]
        async with self._changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._changed.wait_for(lambda: work.told or work.result is not None)
        told, work.told = work.told, []
        return told, work.result

    async def last(self) -> tuple[int, str]:
        """Number and title of the work that was laid down last."""
        return len(self._works) - 1, self._works[-1].title

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()
