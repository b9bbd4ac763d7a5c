#!/usr/bin/env python3
"""Records what real clients and servers say on loopback with tcpdump.

    record.py OUTPUT_DIRECTORY [FIRST_PORT]

Starts nginx, redis-server and dnsmasq on 127.0.0.1:FIRST_PORT and the ports after it, captures these ports alone while curl,
redis-cli, dig and plain sockets ask them, and stops all of it. Writes `mixed.pcap` (Ethernet) and `cooked.pcap` (the same again,
captured on all interfaces: Linux cooked v2).
"""
import os, shutil, signal, socket, subprocess, sys, tempfile, time

OUT = os.path.abspath(sys.argv[1])
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 27310
HTTP, REDIS, DNS = PORT, PORT + 1, PORT + 2
CONF = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port}; root {folder}/www;
    location = /hello {{ return 200 "hello"; }}
    location = /gone {{ return 410; }}
    location = /away {{ return 302 /hello; }}
    location = /fail {{ return 500; }}
  }}
}}
"""


def run(*command):
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on {port}")


def talk(port, *parts):
    """Sends each part and reads until the server is quiet."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.2)
        for part in parts:
            connection.sendall(part)
            try:
                while connection.recv(1 << 16):
                    pass
            except TimeoutError:
                pass


def clients():
    url = f"http://127.0.0.1:{HTTP}"
    run("curl", "-s", f"{url}/hello", f"{url}/gone", f"{url}/large", f"{url}/away")
    run("curl", "-s", "-d", "x" * 3000, f"{url}/fail?q=1")
    run("curl", "-sI", f"{url}/large")
    get = "GET {} HTTP/1.1\r\nHost: h\r\n\r\n"
    talk(HTTP, "".join(get.format(path) for path in ["/hello", "/gone", "/hello"]).encode(), get.format("/none").encode())
    for words in ["SET key value", "GET key", "INCR key", "LPUSH list a b c", "LRANGE list 0 -1"]:
        run("redis-cli", "-p", str(REDIS), *words.split())
    talk(REDIS, b"".join(b"*2\r\n$3\r\nGET\r\n$4\r\nkey%d\r\n" % n for n in range(8)), b"PING\r\n")
    for name, kind in [("one.test", "A"), ("one.test", "AAAA"), ("none.test", "A")]:
        run("dig", "+tries=1", "@127.0.0.1", "-p", str(DNS), name, kind)
    run("dig", "+tcp", "+tries=1", "@127.0.0.1", "-p", str(DNS), "one.test", "A")


def capture(name, interface):
    ports = " or ".join(f"port {port}" for port in (HTTP, REDIS, DNS))
    file = os.path.join(OUT, name)
    tool = subprocess.Popen(["tcpdump", "-i", interface, "-U", "-s", "0", "-w", file, ports], stderr=subprocess.PIPE)
    tool.stderr.readline()
    time.sleep(1)
    clients()
    time.sleep(1)
    tool.send_signal(signal.SIGINT)
    tool.wait()


folder = tempfile.mkdtemp()
servers = []
try:
    os.mkdir(f"{folder}/www")
    with open(f"{folder}/www/large", "w") as file:
        file.write("".join(f"line {n}\n" for n in range(1500)))
    os.chmod(folder, 0o755)
    with open(f"{folder}/nginx.conf", "w") as file:
        file.write(CONF.format(folder=folder, port=HTTP))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    servers.append(subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf"], **quiet))
    servers.append(subprocess.Popen(["redis-server", "--port", str(REDIS), "--bind", "127.0.0.1", "--save", ""], **quiet))
    servers.append(subprocess.Popen(
        ["dnsmasq", "-k", "-p", str(DNS), "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts",
         "--address=/one.test/10.1.2.3", "--local=/test/", "--pid-file="], **quiet))
    for port in (HTTP, REDIS, DNS):
        wait(port)
    capture("mixed.pcap", "lo")
    run("redis-cli", "-p", str(REDIS), "FLUSHALL")
    capture("cooked.pcap", "any")
finally:
    for server in servers:
        server.terminate()
        server.wait()
    shutil.rmtree(folder, ignore_errors=True)
