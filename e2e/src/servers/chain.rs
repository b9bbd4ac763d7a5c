//! A chain of services that know which of their calls belongs to which request, and say so: Python (a thread a connection, standard
//! library) calls Node (an event loop), which calls Redis.
//!
//! `/front/N` of Python asks Node for `/back/N`, and hands on the `traceparent` that it was told, if any. Node waits a little, different
//! for each `N`, then asks Redis over a connection of its own, whose port it writes down beside `N`: the truth that ties are
//! held against.

use super::redis::Redis;
use crate::sandbox::{Proc, Sandbox, free_port};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

const PYTHON: &str = r#"
import http.client, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
back = int(sys.argv[2])
class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        number = self.path.split("/")[2]
        time.sleep(int(number) % 4 / 1000)
        headers = {"traceparent": self.headers["traceparent"]} if self.headers["traceparent"] else {}
        connection = http.client.HTTPConnection("127.0.0.1", back)
        connection.request("GET", "/back/" + number, headers=headers)
        body = connection.getresponse().read()
        connection.close()
        time.sleep(0.003)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
ThreadingHTTPServer.request_queue_size = 512
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Front).serve_forever()
"#;

const NODE: &str = r#"
const net = require('node:net');
require('node:http').createServer((request, response) => {
  const number = request.url.split('/')[2];
  setTimeout(() => {
    const redis = net.connect(Number(process.argv[3]), '127.0.0.1', () => {
      console.log(`asked ${number} ${redis.localPort} ${request.headers.traceparent || '-'}`);
      redis.write('*2\r\n$3\r\nGET\r\n$4\r\nbook\r\n');
    });
    redis.once('data', () => { redis.end(); setTimeout(() => response.end('answer\n'), Number(number) % 3); });
  }, Number(number) % 7);
}).listen(Number(process.argv[2]), '127.0.0.1');
"#;

/// The chain, running.
#[derive(Debug)]
pub struct Chain {
    /// Port of its front.
    pub front: u16,
    /// Port of its middle.
    pub back: u16,
    /// Its end.
    pub redis: Redis,
    _python: Proc,
    node: Proc,
}

/// What Node says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The port that it asked Redis from.
    pub port: u16,
    /// The `traceparent` that it was told.
    pub traceparent: Option<String>,
}

impl Chain {
    /// Starts it.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let redis = Redis::start(sandbox)?;
        let (front, back) = (free_port()?, free_port()?);
        let text = |path: std::path::PathBuf| path.to_str().map(str::to_owned).context("a path that is not text");
        let script = text(sandbox.write("back.js", NODE)?)?;
        let node = sandbox.start("node", "node", &[&script, &back.to_string(), &redis.port.to_string()])?;
        let node = node.wait_port(back)?;
        let script = text(sandbox.write("front.py", PYTHON)?)?;
        let python = sandbox.start("python", "python3", &[&script, &front.to_string(), &back.to_string()])?;
        Ok(Self { front, back, redis, _python: python.wait_port(front)?, node })
    }

    /// What Node wrote down, by number.
    #[must_use]
    pub fn asked(&self) -> BTreeMap<u64, Asked> {
        let log = self.node.log();
        let lines = log.lines().filter_map(|line| {
            let mut words = line.strip_prefix("asked ")?.split(' ');
            let (number, port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let traceparent = words.next().filter(|said| *said != "-").map(str::to_owned);
            Some((number, Asked { port, traceparent }))
        });
        lines.collect()
    }
}
