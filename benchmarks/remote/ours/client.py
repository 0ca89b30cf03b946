"""graphsvc's clients, alone and over a session, blocking and for asyncio."""

from functools import partial

from turns import Call, take_turns, vector

import graphsvc
import graphsvc.aio

GRAPH = graphsvc.parse("f = sum((x - 1) ** 2)")


def blocking(port: int, n: int, *, session: bool) -> Call:
    """Return a call of the blocking client."""
    x = vector(n)
    client = graphsvc.connect(f"127.0.0.1:{port}")
    ask = client.graph(GRAPH).value_and_grad if session else partial(client.value_and_grad, GRAPH)

    def value_and_grad() -> tuple[object, object]:
        outputs, gradients = ask({"x": x})
        return outputs["f"], gradients["x"]

    return value_and_grad


def awaited(port: int, n: int, *, session: bool) -> Call:
    """Return a call of the client for asyncio."""
    x = vector(n)
    client = graphsvc.aio.connect(f"127.0.0.1:{port}")
    ask = client.graph(GRAPH).value_and_grad if session else partial(client.value_and_grad, GRAPH)

    async def value_and_grad() -> tuple[object, object]:
        outputs, gradients = await ask({"x": x})
        return outputs["f"], gradients["x"]

    return value_and_grad


take_turns(
    {
        "unary": partial(blocking, session=False),
        "session": partial(blocking, session=True),
        "unary, asyncio": partial(awaited, session=False),
        "session, asyncio": partial(awaited, session=True),
    }
)
