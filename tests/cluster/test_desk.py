"""Where a driver lays down work, and the workers of its run find it."""

import asyncio

import pytest

from reid.cluster import desk
from reid.cluster.desk import Desk


def test_a_work_waits_for_workers_and_workers_for_a_work() -> None:
    async def go() -> None:
        place = Desk()
        waits = asyncio.create_task(place.task(0))
        await asyncio.sleep(0)
        assert not waits.done()
        assert await place.put("baseline", b"first") == 0
        assert await waits == b"first"
        assert await place.put("final", b"second") == 1
        assert await place.task(0) == b"first", "whoever is started anew finds what others had begun"
        assert await place.first_unfinished() == 0
        await place.finish(0, b"done")
        assert await place.first_unfinished() == 1
        assert await place.last() == (1, "final")
        waits = asyncio.create_task(place.task(2))
        await asyncio.sleep(0)
        await place.close()
        assert await waits is None
        assert await place.task(1) == b"second", "what was laid down is still done"

    asyncio.run(go())


def test_news_are_heard_once_and_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        place = Desk()
        await place.put("baseline", b"task")
        monkeypatch.setattr(desk, "PATIENCE_S", 0.01)
        assert await place.news(0) == ([], None), "after a while"
        monkeypatch.setattr(desk, "PATIENCE_S", 30)
        waits = asyncio.create_task(place.news(0))
        await asyncio.sleep(0)
        await place.tell(0, "epoch 1")
        assert await waits == (["epoch 1"], None)
        await place.tell(0, "epoch 2")
        await place.tell(0, "epoch 3")
        await place.finish(0, b"result")
        assert await place.news(0) == (["epoch 2", "epoch 3"], b"result")
        assert await place.news(0) == ([], b"result")

    asyncio.run(go())
