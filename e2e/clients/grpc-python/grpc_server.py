"""The shop on grpcio's asyncio server, with generic handlers: bytes in, bytes out. See ../README.md."""

import asyncio
import sys

import grpc

open_calls = peak = 0


class Call:
    """One call from its handler's start to its end, which it prints."""

    def __init__(self, name, context):
        self.name, self.context, self.status = "/shop.v1.Shop/" + name, context, "UNKNOWN"

    async def __aenter__(self):
        global open_calls, peak
        open_calls += 1
        if open_calls > peak:
            peak = open_calls
            print("peak", peak, flush=True)
        return self

    async def __aexit__(self, kind, error, _trace):
        global open_calls
        open_calls -= 1
        if kind is asyncio.CancelledError:
            remaining = self.context.time_remaining()
            self.status = "DEADLINE_EXCEEDED" if remaining is not None and remaining <= 0 else "CANCELLED"
        print(self.name, self.status, flush=True)

    async def end(self, status):
        self.status = status
        if status != "OK":
            await self.context.abort(grpc.StatusCode[status], "as ordered")


def order(message):
    status, count, delay = message.decode().split()
    return status, int(count), int(delay) / 1000


async def get(request, context):
    async with Call("Get", context) as call:
        status, _, delay = order(request)
        await asyncio.sleep(delay)
        await call.end(status)
        return b"answer"


async def list_(request, context):
    async with Call("List", context) as call:
        status, count, delay = order(request)
        for at in range(count):
            yield b"answer %d" % at
            if at == 0:
                await asyncio.sleep(delay)
        await call.end(status)


async def upload(requests, context):
    async with Call("Upload", context) as call:
        first = None
        async for message in requests:
            first = first or message
        status, _, delay = order(first)
        await asyncio.sleep(delay)
        await call.end(status)
        return b"answer"


async def chat(requests, context):
    async with Call("Chat", context) as call:
        first = None
        async for message in requests:
            yield b"answer"
            if first is None:
                first = message
                await asyncio.sleep(order(first)[2])
        await call.end(order(first)[0])


async def main():
    server = grpc.aio.server()
    handlers = {
        "Get": grpc.unary_unary_rpc_method_handler(get),
        "List": grpc.unary_stream_rpc_method_handler(list_),
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.v1.Shop", handlers),))
    server.add_insecure_port("127.0.0.1:" + sys.argv[1])
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
