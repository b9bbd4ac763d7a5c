//! One small HTTP service in each of several languages, on the language's own HTTP stack. All answer the same paths and
//! count what they answered at `/count`, which does not count itself.
//!
//! `/ok/N` 200, `/gone/N` 404, `/fail/N` 500, `/sleep/MS` 200 after so many milliseconds, `/trickle` 200 with ten chunks over
//! one second (Python only), `/count` the number of answers but its own.

use crate::sandbox::{Proc, Sandbox, find, free_port};
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// The languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `http.server`, a thread a connection.
    Python,
    /// `node:http`.
    Node,
    /// `php -S`.
    Php,
    /// `net/http`.
    Go,
    /// `com.sun.net.httpserver`.
    Java,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Python, Self::Node, Self::Php, Self::Go, Self::Java];

    /// The program that must be there.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Python => "python3",
            Self::Node => "node",
            Self::Php => "php",
            Self::Go => "go",
            Self::Java => "java",
        }
    }

    /// The service name that the agent should find.
    #[must_use]
    pub fn service(self) -> &'static str {
        match self {
            Self::Python => "shop.py",
            Self::Node => "shop.js",
            Self::Php => "shop.php",
            Self::Go => "shop-go",
            Self::Java => "Shop",
        }
    }
}

/// A running service.
#[derive(Debug)]
pub struct App {
    /// Its port.
    pub port: u16,
    /// Its process.
    pub process: Proc,
}

const PYTHON: &str = r#"
import sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
count, lock = 0, threading.Lock()
class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global count
        part = self.path.split("?")[0].split("/")
        if part[1] == "count":
            body = str(count).encode()
        else:
            with lock: count += 1
            body = b"answer\n"
        status = {"gone": 404, "fail": 500}.get(part[1], 200)
        if part[1] == "sleep": time.sleep(int(part[2]) / 1000)
        self.send_response(status)
        if part[1] == "trickle":
            self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
            for _ in range(10):
                time.sleep(0.1); self.wfile.write(b"6\r\ndrop!\n\r\n"); self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n"); return
        self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_): pass
ThreadingHTTPServer.request_queue_size = 512
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop).serve_forever()
"#;

const NODE: &str = r#"
let count = 0;
require('node:http').createServer((request, response) => {
  const part = request.url.split('?')[0].split('/');
  if (part[1] === 'count') { response.end(String(count)); return; }
  count++;
  response.statusCode = { gone: 404, fail: 500 }[part[1]] || 200;
  const answer = () => response.end('answer\n');
  if (part[1] === 'sleep') setTimeout(answer, Number(part[2])); else answer();
}).listen(Number(process.argv[2]), '127.0.0.1');
"#;

const PHP: &str = r#"<?php
$file = __DIR__ . '/php-count';
$part = explode('/', strtok($_SERVER['REQUEST_URI'], '?'));
if ($part[1] === 'count') { echo (int)@filesize($file); return; }
file_put_contents($file, 'x', FILE_APPEND | LOCK_EX);
http_response_code(['gone' => 404, 'fail' => 500][$part[1]] ?? 200);
if ($part[1] === 'sleep') usleep((int)$part[2] * 1000);
echo "answer\n";
"#;

const GO: &str = r#"package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

func main() {
	var count atomic.Int64
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		part := strings.Split(r.URL.Path, "/")
		if part[1] == "count" {
			fmt.Fprint(w, count.Load())
			return
		}
		count.Add(1)
		switch part[1] {
		case "gone":
			w.WriteHeader(404)
		case "fail":
			w.WriteHeader(500)
		case "sleep":
			ms, _ := strconv.Atoi(part[2])
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
		fmt.Fprintln(w, "answer")
	})
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
"#;

const JAVA: &str = r#"
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;

public class Shop {
    public static void main(String[] args) throws Exception {
        AtomicLong count = new AtomicLong();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 512);
        server.createContext("/", exchange -> {
            String[] part = exchange.getRequestURI().getPath().split("/");
            String kind = part.length > 1 ? part[1] : "";
            byte[] body = "answer\n".getBytes();
            if (kind.equals("count")) body = Long.toString(count.get()).getBytes(); else count.incrementAndGet();
            int status = kind.equals("gone") ? 404 : kind.equals("fail") ? 500 : 200;
            try { if (kind.equals("sleep")) Thread.sleep(Long.parseLong(part[2])); } catch (InterruptedException e) { }
            exchange.sendResponseHeaders(status, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }
}
"#;

impl App {
    /// Starts the service of a language; compiles it first where the language wants that.
    ///
    /// # Errors
    /// When it does not build or start.
    pub fn start(sandbox: &Sandbox, language: Language) -> Result<Self> {
        let port = free_port()?;
        let number = port.to_string();
        let address = format!("127.0.0.1:{port}");
        let text = |path: std::path::PathBuf| path.to_str().map(str::to_owned).context("a path that is not text");
        let process = match language {
            Language::Python => {
                let file = text(sandbox.write("shop.py", PYTHON)?)?;
                sandbox.start("python", "python3", &[&file, &number])?
            }
            Language::Node => {
                let file = text(sandbox.write("shop.js", NODE)?)?;
                sandbox.start("node", "node", &[&file, &number])?
            }
            Language::Php => {
                let file = text(sandbox.write("shop.php", PHP)?)?;
                sandbox.start_with("php", "php", &["-S", &address, &file], &[("PHP_CLI_SERVER_WORKERS", "4")])?
            }
            Language::Go => sandbox.start("go", &build_go(sandbox)?, &[&number])?,
            Language::Java => {
                let file = text(sandbox.write("Shop.java", JAVA)?)?;
                let classes = text(sandbox.folder().join("classes"))?;
                build(sandbox, "javac", &["-d", &classes, &file], &[])?;
                sandbox.start("java", "java", &["-Xmx128m", "-cp", &classes, "Shop", &number])?
            }
        };
        Ok(Self { port, process: process.wait_port(port)? })
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// How many requests it answered, by its own count (asked from outside of the sandbox; that request is not in it).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn answered(&self) -> Result<u64> {
        let (status, body) = crate::sandbox::get(self.port, "/count", "*/*")?;
        ensure!(status == 200, "/count answers {status}");
        body.trim().parse().with_context(|| format!("/count says {body:?}"))
    }
}

fn build_go(sandbox: &Sandbox) -> Result<String> {
    sandbox.write("go/go.mod", "module shop\n\ngo 1.18\n")?;
    sandbox.write("go/main.go", GO)?;
    let output = sandbox.folder().join("shop-go");
    let output = output.to_str().context("a path that is not text")?.to_owned();
    let cache = sandbox.folder().join("go-cache");
    // Debian's cache of the standard library, if there is a home for it, saves half a minute.
    let env = if std::env::var_os("HOME").is_some() { vec![] } else { vec![("GOCACHE", cache.to_str().unwrap_or(""))] };
    build(sandbox, "go", &["-C", "go", "build", "-o", &output, "."], &env)?;
    Ok(output)
}

fn build(sandbox: &Sandbox, program: &str, arguments: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let path = find(program).with_context(|| format!("no {program}"))?;
    let output = Command::new(path)
        .args(arguments)
        .envs(env.iter().copied())
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOTOOLCHAIN", "local")
        .current_dir(sandbox.folder())
        .output()?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
