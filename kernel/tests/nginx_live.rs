//! Ground truth from nginx itself: under load, the probe sees exactly the requests that its access log holds.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

#[cfg(test)]
#[path = "live/harness.rs"]
mod harness;

use std::path::Path;
use std::process::{Child, Stdio};

use harness::{EGRESS, INGRESS, RUNGS, Record, Watch, skipped};
use redtap_stages::abi::flag;

/// nginx in the probe's cgroup: two workers, sendfile for the large file, keep-alive without end.
struct Nginx {
    master: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Nginx {
    fn start(watch: &Watch) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A port that was free a moment ago; nginx fails loudly if it is not any more.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = dir.path().display();
        std::fs::write(dir.path().join("small"), "small answer\n").unwrap();
        std::fs::write(dir.path().join("large"), vec![b'L'; 60_000]).unwrap();
        let conf = format!(
            "worker_processes 2; daemon off; pid {at}/pid; error_log {at}/error.log; user root;
             events {{ worker_connections 256; }}
             http {{ access_log {at}/access.log; sendfile on; keepalive_requests 1000000;
             server {{ listen 127.0.0.1:{port}; root {at}; }} }}"
        );
        let path = dir.path().join("conf");
        std::fs::write(&path, conf).unwrap();
        let master = watch
            .cgroup
            .command("nginx", &["-c", path.to_str().unwrap(), "-e", &format!("{at}/error.log")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { master, dir, port };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        nginx
    }

    /// Asks the master to finish what is in flight, and counts what was logged.
    fn finish(mut self) -> usize {
        let pid = rustix::process::Pid::from_child(&self.master);
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
        self.master.wait().unwrap();
        lines(&self.dir.path().join("access.log"))
    }
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

fn turns(records: &[Record], port: u16, dir: u8, server: bool) -> usize {
    let starts = records.iter().filter(|r| r.is_data() && r.head.flags & flag::TURN_START != 0 && r.head.dir == dir);
    starts.filter(|r| if server { r.head.lport == port } else { r.head.rport == port }).count()
}

#[test]
fn sees_each_request_that_nginx_logged_under_load() {
    if skipped("sees_each_request_that_nginx_logged_under_load") {
        return;
    }
    for rung in RUNGS {
        for file in ["small", "large"] {
            let mut watch = Watch::with(rung, |options, _| {
                (options.ring_bytes, options.shards) = (32 << 20, 2);
                (options.ingress_class, options.egress_class) = (8, 8);
            });
            let nginx = Nginx::start(&watch);
            let port = nginx.port;
            let url = format!("http://127.0.0.1:{port}/{file}");
            let mut command = watch.cgroup.command("wrk", &["-t1", "-c20", "-d1s", &url]);
            let mut wrk = command.stdout(Stdio::null()).spawn().unwrap();
            let mut records = Vec::new();
            while wrk.try_wait().unwrap().is_none() {
                records.extend(watch.drain());
            }
            let logged = nginx.finish();
            records.extend(watch.drain());
            let losses = watch.probe.losses();
            assert_eq!((losses.refused_full, losses.no_storage), (0, 0), "{rung:?} {losses:?}");
            assert_eq!(losses.attempted, records.len() as u64);
            assert!(logged > 100, "{logged} requests");
            let asked = turns(&records, port, INGRESS, true);
            assert_eq!(asked, logged, "{rung:?} {file}: requests read by nginx");
            // What was in flight when wrk stopped was sent, but perhaps not answered or not read.
            let (sent, answered) = (turns(&records, port, EGRESS, false), turns(&records, port, EGRESS, true));
            assert!(sent >= asked && sent <= asked + 20 && answered <= asked && answered + 20 >= asked);
            for r in records.iter().filter(|r| r.head.lport == port && r.head.dir == INGRESS && r.is_data()) {
                assert!(r.payload.starts_with(b"GET /"), "{rung:?} {r:?}");
            }
        }
    }
}
