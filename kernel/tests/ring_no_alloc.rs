//! Leasing and taking dirty slots allocate nothing once the caller's vectors have grown.
//!
//! Needs root (CAP_BPF and CAP_PERFMON); says so and skips otherwise, and fails instead when `CI=true`. One test: the
//! counter is the process's.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

#[path = "live/skip.rs"]
mod skip;

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::EbpfLoader;
use aya::maps::Map;
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};
use redtap_kernel::ring::Ring;
use redtap_kernel::slots::Slots;

/// Bytes of the ring, and what each record asks for.
const RING: usize = 65_536;
/// `SLOTS` of the program.
const SLOTS: usize = 1024;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

/// Runs the producer: `op` 0 puts a record of `len` bytes into the ring, 4 updates the slot of connection `tag`.
fn run(ebpf: &Ebpf, op: u64, len: u64, tag: u64) {
    let program: &RawTracePoint = ebpf.program("produce").unwrap().try_into().unwrap();
    let mut args = [0; 12];
    for (arg, value) in args.iter_mut().zip([op, len, tag]) {
        *arg = value;
    }
    program.test_run(RawTracePointRunOptions { args, cpu: None }).unwrap();
}

fn array<'a>(ebpf: &'a Ebpf, name: &str) -> std::os::fd::BorrowedFd<'a> {
    match ebpf.map(name) {
        Some(Map::Array(map)) => map.fd().as_fd(),
        _ => panic!("no array {name} in the object"),
    }
}

#[test]
fn a_round_of_leases_and_dirty_slots_allocates_nothing() {
    let object = aya::include_bytes_aligned!("ring_live/ringtest.o");
    let loaded = EbpfLoader::new().map_max_entries("ring", 65_536).load(object).and_then(|mut ebpf| {
        let program: &mut RawTracePoint = ebpf.program_mut("produce").unwrap().try_into()?;
        program.load()?;
        Ok(ebpf)
    });
    let ebpf = match loaded {
        Ok(ebpf) => ebpf,
        Err(error) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "must run in CI: {error}");
            skip::note(&format!("no BPF here: {error}"));
            return;
        }
    };
    let Some(Map::RingBuf(map)) = ebpf.map("ring") else { panic!("no ring") };
    let mut ring = Ring::map(map.fd().as_fd(), RING).unwrap();
    let slots =
        Slots::map(array(&ebpf, "rt_slots"), array(&ebpf, "rt_dirty"), array(&ebpf, "rt_verdict"), SLOTS).unwrap();

    let mut spans = Vec::with_capacity(64);
    let mut taken = Vec::with_capacity(64);
    let (mut records, mut news) = (0, 0);
    for _ in 0..50 {
        for tag in 1..=200 {
            run(&ebpf, 0, 200, tag);
            run(&ebpf, 4, 1, tag);
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        while let Some(lease) = ring.lease(64, &mut spans) {
            records += spans.len();
            drop(lease);
        }
        loop {
            taken.clear();
            match slots.take_dirty(&mut taken, 64) {
                0 => break,
                count => news += count,
            }
        }
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
    }
    assert_eq!((records, news), (10_000, 10_000));
}
