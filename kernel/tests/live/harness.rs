//! What the live tests share: a cgroup of their own, a probe confined to it, real processes in it, records read back.
#![allow(dead_code, reason = "each test binary uses a part")]

#[path = "skip.rs"]
mod skip;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use aya::maps::{Array, Map, MapData, RingBuf};
use redtap_kernel::filters::{Filter, Filters, Verb};
use redtap_kernel::probe::{Probe, ProbeOptions, RungChoice};
use redtap_stages::abi::{EventHeader, HEADER_LEN, Slot, Verdict, kind};
use zerocopy::{FromBytes as _, IntoBytes as _};

pub(crate) const RUNGS: [RungChoice; 2] = [RungChoice::Socket, RungChoice::Syscall];
pub(crate) const INGRESS: u8 = 0;
pub(crate) const EGRESS: u8 = 1;

/// Whether programs can be loaded here. CI must be able to: there a skip is a failure.
pub(crate) fn skipped(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    let btf = fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false);
    let cgroup = Cgroup::mount().is_some();
    if root && btf && cgroup {
        return false;
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test}: CI must run this (root {root}, BTF {btf})");
    skip::note(&format!("{test}: needs root ({root}), kernel BTF ({btf}), cgroup v2 ({cgroup})"));
    true
}

/// A directory below the cgroup v2 mount, removed on drop, with whatever a failed test left running in it.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    fn mount() -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
        line.split(' ').nth(1).map(PathBuf::from)
    }

    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rt-bpf-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Self::mount().expect("cgroup v2 is mounted").join(name);
        fs::create_dir(&path).expect("make a cgroup");
        Self { path }
    }

    /// A cgroup inside this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        let path = self.path.join(name);
        fs::create_dir(&path).expect("make a cgroup");
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn id(&self) -> u64 {
        fs::metadata(&self.path).unwrap().ino()
    }

    /// `program` with `args`, begun inside the cgroup: the shell moves itself and then becomes it.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let procs = self.path.join("cgroup.procs");
        command
            .arg("-c")
            .arg(format!("echo $$ > {} && exec \"$@\"", procs.display()))
            .arg("sh")
            .arg(program)
            .args(args);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What runs here was started by the test. The kernel ends it in its own time: tried again for a bounded number of
        // times, since only an empty cgroup can be removed.
        for _ in 0..1_000 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            let _ = fs::write(self.path.join("cgroup.kill"), "1");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        eprintln!("left behind: {}", self.path.display());
    }
}

/// A Python program that waits for `go` before it begins and whose last line of output is read.
pub(crate) struct Script {
    pub(crate) child: Child,
    out: BufReader<ChildStdout>,
}

impl Script {
    pub(crate) fn start(cgroup: &Cgroup, source: &str) -> Self {
        Self::start_under(cgroup, &[], source)
    }

    /// The same, by way of another program, such as `unshare`.
    pub(crate) fn start_under(cgroup: &Cgroup, launcher: &[&str], source: &str) -> Self {
        let words = [launcher, &["python3", "-c", source]].concat();
        let mut command = cgroup.command(words[0], &words[1..]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is installed");
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Next line that the script prints, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a line.
    pub(crate) fn say(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }

    pub(crate) fn finish(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the script failed: {status}");
    }
}

#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) head: EventHeader,
    pub(crate) payload: Vec<u8>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let h = &self.head;
        writeln!(
            f,
            "#{} kind {} dir {} role {} tp {} flags {:#x} reason {} len {} off {} other {} unseen {} turn {} {}:{} {:?}",
            h.conn_id,
            h.kind,
            h.dir,
            h.role,
            h.transport,
            h.flags,
            h.detail,
            h.len,
            h.offset,
            h.other_offset,
            h.unseen,
            h.turn,
            h.lport,
            h.rport,
            String::from_utf8_lossy(&self.payload[..self.payload.len().min(40)])
        )
    }
}

impl Record {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let (head, payload) = EventHeader::read_from_prefix(bytes).expect("a record holds a header");
        assert_eq!(HEADER_LEN + head.cap_len as usize, bytes.len(), "exact size");
        Self { head, payload: payload.to_vec() }
    }

    pub(crate) fn is_data(&self) -> bool {
        self.head.kind == kind::DATA
    }
}

/// A probe confined to a cgroup, and its rings.
pub(crate) struct Watch {
    pub(crate) probe: Probe,
    pub(crate) cgroup: Cgroup,
    rings: Vec<RingBuf<MapData>>,
}

impl Watch {
    pub(crate) fn new(rung: RungChoice) -> Self {
        Self::with(rung, |_, _| {})
    }

    /// `adjust` may change the options; the filters already allow the cgroup.
    pub(crate) fn with(rung: RungChoice, adjust: impl FnOnce(&mut ProbeOptions, &Cgroup)) -> Self {
        let cgroup = Cgroup::new();
        let filters = Filters::default().with(Verb::Allow, Filter::Cgroup(cgroup.id())).unwrap();
        let mut options = ProbeOptions { rung, filters, ring_bytes: 1 << 20, slots: 1024, ..ProbeOptions::default() };
        adjust(&mut options, &cgroup);
        let probe = Probe::attach(&options).unwrap_or_else(|error| panic!("{error}"));
        let rings = (0..probe.shards())
            .map(|shard| {
                let fd = probe.ring_fd(shard).unwrap().try_clone_to_owned().unwrap();
                RingBuf::try_from(Map::RingBuf(MapData::from_fd(fd).unwrap())).unwrap()
            })
            .collect();
        Self { probe, cgroup, rings }
    }

    pub(crate) fn python(&self, source: &str) -> Script {
        Script::start(&self.cgroup, source)
    }

    /// Runs a script to its end and gives what was recorded.
    pub(crate) fn run(&mut self, source: &str) -> Vec<Record> {
        self.python(source).finish();
        self.drain()
    }

    /// All that the rings hold.
    pub(crate) fn drain(&mut self) -> Vec<Record> {
        self.drain_by_shard().into_iter().flatten().collect()
    }

    pub(crate) fn drain_by_shard(&mut self) -> Vec<Vec<Record>> {
        let drained = self.rings.iter_mut().map(|ring| {
            let mut records = Vec::new();
            while let Some(item) = ring.next() {
                records.push(Record::parse(&item));
            }
            records
        });
        drained.collect()
    }

    fn index(&self, conn_id: u64) -> u32 {
        u32::try_from(conn_id % self.probe.slot_count() as u64).unwrap()
    }

    pub(crate) fn slot(&self, conn_id: u64) -> Slot {
        let slots: Array<_, [u64; 8]> = Array::try_from(array(self.probe.slots_fd())).unwrap();
        let words = slots.get(&self.index(conn_id), 0).unwrap();
        Slot::read_from_bytes(words.as_bytes()).unwrap()
    }

    pub(crate) fn is_dirty(&self, conn_id: u64) -> bool {
        let words: Array<_, u64> = Array::try_from(array(self.probe.dirty_fd())).unwrap();
        let index = self.index(conn_id);
        words.get(&(index / 64), 0).unwrap() & 1 << (index % 64) != 0
    }

    pub(crate) fn set_verdict(&self, verdict: Verdict) {
        let mut words: Array<_, u64> = Array::try_from(array(self.probe.verdict_fd())).unwrap();
        words.set(self.index(verdict.conn_id), verdict.word(), 0).unwrap();
    }
}

fn array(fd: BorrowedFd<'_>) -> Map {
    Map::Array(MapData::from_fd(fd.try_clone_to_owned().unwrap()).unwrap())
}

/// The records of each connection, in order, by local and remote port.
pub(crate) fn flow(records: &[Record], lport: u16, rport: u16) -> Vec<Record> {
    records.iter().filter(|r| (r.head.lport, r.head.rport) == (lport, rport)).cloned().collect()
}

/// The captured bytes of one direction, after checking that offsets are contiguous.
pub(crate) fn stream(records: &[Record], dir: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = None;
    for r in records.iter().filter(|r| r.is_data() && r.head.dir == dir) {
        assert_eq!(r.head.offset, *at.get_or_insert(r.head.offset), "contiguous: {r:?}");
        at = Some(r.head.offset + u64::from(r.head.len));
        bytes.extend_from_slice(&r.payload);
    }
    bytes
}
