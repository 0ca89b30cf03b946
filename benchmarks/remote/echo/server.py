"""What gRPC alone takes: a server of grpc.aio that sends back what it gets, and does nothing else."""

import asyncio
import sys
from typing import Any

import grpc

CHUNK_BYTES = 1 << 20


async def unary(data: bytes, _: Any) -> bytes:
    """Send a message back."""
    return data


async def stream(_: Any, context: Any) -> None:
    """Send each message back when it comes."""
    while (data := await context.read()) is not grpc.aio.EOF:
        await context.write(data)


async def chunked(_: Any, context: Any) -> None:
    """Put the chunks of an array in their places, and send the array back in chunks, as who computes with it must."""
    whole = memoryview(bytearray(int(await context.read())))
    came = 0
    while came < len(whole):
        data = await context.read()
        whole[came : came + len(data)] = data
        came += len(data)
    for start in range(0, len(whole), CHUNK_BYTES):
        await context.write(bytes(whole[start : start + CHUNK_BYTES]))


async def main() -> None:
    """Serve until somebody ends the process."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=unlimited)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
        "Chunked": grpc.stream_stream_rpc_method_handler(chunked),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
