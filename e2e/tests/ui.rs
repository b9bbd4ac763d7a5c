//! The web UI as a person meets it: a real browser on a real agent that watches real services. What is claimed, page by
//! page, is in `e2e/clients/ui/pages.mjs`; here are the services, their traffic, and the verdict.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run_with;
use redtap_e2e::clients::Kit;
use redtap_e2e::sandbox::{Sandbox, free_port};
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Answers after it has asked Redis, on the same thread.
const SHOP: &str = r#"
import socket, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as redis:
            redis.sendall(b"*2\r\n$3\r\nGET\r\n$4\r\ncart\r\n")
            redis.recv(100)
        self.send_response(200)
        self.send_header("Content-Length", "3"); self.end_headers(); self.wfile.write(b"ok\n")
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop).serve_forever()
"#;

#[test]
fn every_page_in_a_browser() {
    if !can_run_with(&["nginx", "redis-server", "python3", "curl", "node", "chromium"], &[Kit::Ui]) {
        return;
    }
    let sandbox = Sandbox::new("ui").unwrap();
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let redis = Redis::start(&sandbox).unwrap();
    sandbox.write("shop.py", SHOP).unwrap();
    let port = free_port().unwrap();
    let arguments = ["shop.py", &port.to_string(), &redis.port.to_string()];
    let _shop = sandbox.start("shop", "python3", &arguments).unwrap().wait_port(port).unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();
    let traffic = || {
        let urls = [nginx.url("/users/[1-20]"), nginx.url("/broken"), format!("http://127.0.0.1:{port}/cart/[1-5]")];
        let mut curl = vec!["-s"];
        for url in &urls {
            curl.extend(["-o", "/dev/null", url]);
        }
        sandbox.run("curl", &curl).unwrap();
    };
    // Rates need more than one moment.
    for _ in 0..3 {
        traffic();
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
    let base = format!("http://127.0.0.1:{}", agent.port());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/ui/pages.mjs");
    let mut browser = Command::new("timeout")
        .arg("400")
        .arg("node")
        .arg(script)
        .arg(base)
        // Where to put pictures of the pages, for docs/ui.md; none are made otherwise.
        .args(std::env::var_os("REDTAP_SCREENSHOTS"))
        .env("REDTAP_UI_KIT", Kit::Ui.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = browser.stdin.take().unwrap();
    let mut said = String::new();
    for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "please traffic" {
            traffic();
            writeln!(orders, "done").unwrap();
        }
        said.push_str(&line);
        said.push('\n');
    }
    let status = browser.wait().unwrap();
    println!("{said}");
    assert!(status.success() && said.contains("all claims hold"), "{status}\n{said}");
    agent.stop().unwrap();
}
