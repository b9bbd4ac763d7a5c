//! Python that several tests begin with.
#![allow(dead_code, reason = "each test binary uses a part")]

/// A connected TCP pair `c` (client) and `s` (accepted), ports printed as "CLIENT SERVER".
pub(crate) const PAIR: &str = "
import socket, os, sys, ctypes, struct, time
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(8)
c = socket.create_connection(l.getsockname()); s, _ = l.accept()
print(c.getsockname()[1], l.getsockname()[1], flush=True)
def exactly(sock, n):
    b = b''
    while len(b) < n:
        b += sock.recv(n - len(b))
    return b
";

/// sendmmsg and recvmmsg through libc: `send_many(fd, [bytes])`, `recv_many(fd, count, size) -> [bytes]`.
pub(crate) const VECTORS: &str = "
libc = ctypes.CDLL(None, use_errno=True)
class Iov(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
class Msg(ctypes.Structure): _fields_ = [('name', ctypes.c_void_p), ('namelen', ctypes.c_uint32), ('iov', ctypes.c_void_p),
    ('iovlen', ctypes.c_size_t), ('control', ctypes.c_void_p), ('controllen', ctypes.c_size_t), ('flags', ctypes.c_int)]
class MMsg(ctypes.Structure): _fields_ = [('hdr', Msg), ('len', ctypes.c_uint32)]
def vector(bufs):
    iovs = (Iov * len(bufs))(*[Iov(ctypes.addressof(b), len(b)) for b in bufs])
    v = (MMsg * len(bufs))()
    for i in range(len(bufs)):
        v[i].hdr.iov = ctypes.addressof(iovs) + i * ctypes.sizeof(Iov); v[i].hdr.iovlen = 1
    return v, iovs
def send_many(fd, texts):
    bufs = [ctypes.create_string_buffer(t, len(t)) for t in texts]
    v, keep = vector(bufs)
    assert libc.sendmmsg(fd, v, len(bufs), 0) == len(texts)
def recv_many(fd, count, size):
    bufs = [ctypes.create_string_buffer(size) for _ in range(count)]
    v, keep = vector(bufs)
    n = libc.recvmmsg(fd, v, count, 0x10000, None)
    return [bufs[i].raw[:v[i].len] for i in range(n)]
";
