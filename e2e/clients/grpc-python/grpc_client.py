"""A client of the shop on grpcio's asyncio channel. See ../README.md."""

import asyncio
import sys

import grpc

PATIENCE = 0.3
COUNT = 3


def begin(channel, method, order, deadline):
    """Starts a call that sends and reads what its kind wants; an awaitable of its status."""
    path = "/shop.v1.Shop/" + method

    async def messages():
        for _ in range(COUNT):
            yield order

    if method == "List":
        call = channel.unary_stream(path)(order, timeout=deadline)
    elif method == "Upload":
        call = channel.stream_unary(path)(messages(), timeout=deadline)
    elif method == "Chat":
        call = channel.stream_stream(path)(messages(), timeout=deadline)
    else:
        call = channel.unary_unary(path)(order, timeout=deadline)
    return call


async def finish(call, streaming):
    try:
        if streaming:
            async for _ in call:
                pass
        else:
            await call
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass
    return (await call.code()).name


async def one(channel, limit, method, end, delay):
    async with limit:
        early = end in ("cancel", "deadline")
        order = b"%s %d %d" % (b"OK" if early else end.encode(), COUNT, 10_000 if early else delay)
        call = begin(channel, method, order, PATIENCE if end == "deadline" else None)
        done = asyncio.ensure_future(finish(call, method in ("List", "Chat")))
        if end == "cancel":
            await asyncio.sleep(PATIENCE)
            call.cancel()
        print("/shop.v1.Shop/" + method, await done)


async def plan(channel, line):
    concurrency, *calls = line.split()
    limit, tasks = asyncio.Semaphore(int(concurrency)), []
    for call in calls:
        method, end, times, *delay = call.split(":")
        tasks += [one(channel, limit, method, end, int(delay[0]) if delay else 0) for _ in range(int(times))]
    await asyncio.gather(*tasks)
    print("done", flush=True)


async def main():
    async with grpc.aio.insecure_channel("127.0.0.1:" + sys.argv[1]) as channel:
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            await plan(channel, line)


asyncio.run(main())
