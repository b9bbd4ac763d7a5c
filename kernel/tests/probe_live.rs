//! The probe on the running kernel, both rungs, with real sockets of real processes in a cgroup of their own.

#[path = "live/harness.rs"]
mod harness;

use harness::{EGRESS, INGRESS, RUNGS, Watch, flow, skipped, stream};
use redtap_stages::abi::{flag, kind, reason};

#[test]
fn sees_curl_fetch_from_a_python_server_whole() {
    if skipped("sees_curl_fetch_from_a_python_server_whole") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut server = watch.python(
            "import http.server, threading, sys
class H(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '5'); self.end_headers(); self.wfile.write(b'hello')
    def log_message(self, *a): pass
s = http.server.HTTPServer(('127.0.0.1', 0), H)
print(s.server_port, flush=True)
s.handle_request()",
        );
        let port: u16 = server.line().parse().unwrap();
        let url = format!("http://127.0.0.1:{port}/planted?q=1");
        let body = watch.cgroup.command("curl", &["-s", &url]).output().unwrap();
        assert_eq!(body.stdout, b"hello");
        server.finish();
        let records = watch.drain();
        let served: Vec<_> = records.iter().filter(|r| r.head.lport == port).cloned().collect();
        let fetched: Vec<_> = records.iter().filter(|r| r.head.rport == port).cloned().collect();
        let client_port = fetched.first().unwrap_or_else(|| panic!("{records:?}")).head.lport;
        assert_eq!(served.len(), flow(&records, port, client_port).len());
        assert!(stream(&served, INGRESS).starts_with(b"GET /planted?q=1 HTTP/1.1\r\n"), "{served:?}");
        assert!(stream(&served, EGRESS).ends_with(b"\r\n\r\nhello"), "{served:?}");
        assert_eq!(stream(&served, INGRESS), stream(&fetched, EGRESS));
        assert_eq!(stream(&served, EGRESS), stream(&fetched, INGRESS));
        for (side, role, comm) in [(&served, 2, &b"python3"[..]), (&fetched, 1, b"curl")] {
            for r in side {
                assert_eq!((r.head.role, r.head.transport, r.head.family), (role, 1, 2), "{r:?}");
                assert_eq!(r.head.laddr[..4], [127, 0, 0, 1]);
                assert_eq!(r.head.raddr[..4], [127, 0, 0, 1]);
                assert!(r.head.comm.starts_with(comm), "{r:?}");
                assert_eq!(r.head.cgroup_id, watch.cgroup.id());
                assert_eq!(r.head.flags & (flag::LATE | flag::CUT | flag::FAULT | flag::NO_BUFFER), 0, "{r:?}");
            }
            assert_eq!(side.iter().filter(|r| r.head.kind == kind::CLOSE).count(), 1, "{side:?}");
            assert_eq!(side.last().unwrap().head.reason, reason::FIN, "{side:?}");
            let seqs: Vec<u32> = side.iter().map(|r| r.head.seq).collect();
            assert_eq!(seqs, (0..seqs.len() as u32).collect::<Vec<_>>());
        }
        assert_eq!(watch.probe.losses().attempted, records.len() as u64);
    }
}
