"""Waits in the event loop end when they take too long, and only then."""

import asyncio

import pytest

from graphsvc.watch import Watch

LONG = 3600.0


async def never() -> None:
    await asyncio.get_running_loop().create_future()


def test_a_wait_that_takes_too_long_ends():
    """Also after one that might have taken longer, and others after it may take their time."""

    async def waits() -> None:
        watch = Watch()
        for _ in range(2):
            assert await watch.wait(asyncio.sleep(0, "done"), LONG) == "done"
            with pytest.raises(TimeoutError):
                await watch.wait(never(), 0.01)
        # The timer of this one fires during the next.
        await watch.wait(asyncio.sleep(0), 0.01)
        assert await watch.wait(asyncio.sleep(0.03, "done"), LONG) == "done"
        assert asyncio.current_task().cancelling() == 0
        with pytest.raises(TimeoutError):
            await watch.wait(never(), 0.01)

    asyncio.run(waits())


def test_who_is_cancelled_is_not_late():
    """It is told so, whatever the wait may take."""

    async def waits() -> None:
        task = asyncio.create_task(Watch().wait(never(), LONG))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(waits())


def test_an_error_of_what_is_waited_for_goes_through():
    """As it is."""

    async def fails() -> None:
        raise KeyError

    async def waits() -> None:
        await Watch().wait(fails(), LONG)

    with pytest.raises(KeyError):
        asyncio.run(waits())


def test_nothing_is_left_when_it_is_closed():
    """No timer that would keep it, and all that waited, for an hour."""

    async def waits() -> list[asyncio.TimerHandle]:
        watch = Watch()
        await watch.wait(asyncio.sleep(0), LONG)
        watch.close()
        return [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]

    assert asyncio.run(waits()) == []
