"""A thread a connection, on the standard library: `threads.py PORT GOES_ON REDIS`. `/python/N` asks Redis, then Go for `/go/N`."""
import http.client
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

own, goes_on, redis = map(int, sys.argv[1:])


class Threads(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = int(self.path.split("/")[2])
        print(f"answered {number}\n", end="", flush=True)
        with socket.create_connection(("127.0.0.1", redis)) as link:
            print(f"asked {number} {link.getsockname()[1]}\n", end="", flush=True)
            link.sendall(b"*2\r\n$3\r\nGET\r\n$4\r\nbook\r\n")
            link.recv(100)
        time.sleep(number % 3 / 1000)
        connection = http.client.HTTPConnection("127.0.0.1", goes_on)
        connection.request("GET", f"/go/{number}")
        body = connection.getresponse().read()
        connection.close()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.request_queue_size = 512
ThreadingHTTPServer(("127.0.0.1", own), Threads).serve_forever()
