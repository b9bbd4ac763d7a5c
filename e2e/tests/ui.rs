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
use std::sync::atomic::{AtomicBool, Ordering};

/// Answers after it has asked Redis, on the same thread; a report takes long.
const SHOP: &str = r#"
import socket, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as redis:
            redis.sendall(b"*2\r\n$3\r\nGET\r\n$4\r\ncart\r\n")
            redis.recv(100)
        if self.path == "/report":
            time.sleep(1.2)
        self.send_response(200)
        self.send_header("Content-Length", "3"); self.end_headers(); self.wfile.write(b"ok\n")
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop).serve_forever()
"#;

/// Rules that hold of the traffic that [`fail`] makes and not of the other; of those that are built in some might hold or not,
/// by how long the test takes.
const RULES: &str = r#"
[alarms]
interval = "1s"
off = ["RedtapHighErrorRate", "RedtapNewError", "RedtapErrorBudgetBurnFast", "RedtapErrorBudgetBurnSlow", "RedtapRequestsStopped"]
[alarms.rules.PageFails]
kind = "error_ratio"
per = "endpoint"
service = "nginx"
threshold = "20%"
window = "10s"
min_requests = 20
for = "2s"
keep_firing_for = "2s"
severity = "critical"
[alarms.rules.ShopSlow]
kind = "latency"
service = "shop*"
quantile = 0.95
threshold = "1s"
window = "10s"
min_requests = 3
for = "2s"
keep_firing_for = "2s"
"#;

/// Rounds of [`fail`] at most.
const MAX_ROUNDS: u32 = 200;

/// A round of a second: requests that nginx answers with 500, and a report that the shop takes long for (in the middle of a bucket, so
/// that what the rule finds does not change from second to second).
fn fail(sandbox: &Sandbox, broken: &str, report: &str) {
    let mut curl = vec!["-s"];
    for url in [broken].repeat(10).into_iter().chain([report]) {
        curl.extend(["-o", "/dev/null", url]);
    }
    sandbox.run("curl", &curl).unwrap();
}

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
    sandbox.write("redtap.toml", RULES).unwrap();
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
        .arg("600")
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
    let failing = AtomicBool::new(false);
    let (broken, report) = (nginx.url("/broken"), format!("http://127.0.0.1:{port}/report"));
    std::thread::scope(|scope| {
        for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            match line.as_str() {
                "please traffic" => traffic(),
                "please fail" => {
                    failing.store(true, Ordering::Relaxed);
                    scope.spawn(|| {
                        // A bound, so that a panic beside it is not waited for in vain.
                        for _ in 0..MAX_ROUNDS {
                            if !failing.load(Ordering::Relaxed) {
                                break;
                            }
                            fail(&sandbox, &broken, &report);
                        }
                    });
                }
                "please recover" => failing.store(false, Ordering::Relaxed),
                _ => {}
            }
            said.push_str(&line);
            said.push('\n');
            // It fails when the browser is gone, which its status says.
            if line.starts_with("please ") && writeln!(orders, "done").is_err() {
                break;
            }
        }
        // Also when the browser ended half way.
        failing.store(false, Ordering::Relaxed);
    });
    let status = browser.wait().unwrap();
    println!("{said}");
    assert!(status.success() && said.contains("all claims hold"), "{status}\n{said}");
    agent.stop().unwrap();
}
