"""An event loop, asyncio's: `tasks.py PORT REDIS`. `/asyncio/N` asks Redis over a connection of its own."""
import asyncio
import sys

own, redis = map(int, sys.argv[1:])


async def ask(number):
    reader, writer = await asyncio.open_connection("127.0.0.1", redis)
    print(f"asked {number} {writer.get_extra_info('sockname')[1]}\n", end="", flush=True)
    writer.write(b"*2\r\n$6\r\nSTRLEN\r\n$4\r\nbook\r\n")
    await reader.readline()
    writer.close()


async def serve(reader, writer):
    while head := await reader.readuntil(b"\r\n\r\n"):
        number = int(head.split(b" ")[1].split(b"/")[2])
        print(f"answered {number}\n", end="", flush=True)
        await ask(number)
        await asyncio.sleep(number % 3 / 1000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanswer\n")


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", own)
    await server.serve_forever()


asyncio.run(main())
