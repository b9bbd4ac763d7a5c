//! The ring consumer against the kernel's own ring buffer: a BPF program that is run on demand produces, on this
//! kernel, what the arguments ask for (`bpf/ringtest.bpf.c`). Nothing is attached.
//!
//! Needs root (CAP_BPF and CAP_PERFMON); says so and skips otherwise, and fails instead when `CI=true`.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[path = "live/skip.rs"]
mod skip;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};
use aya::{Ebpf, EbpfLoader};
use redtap_kernel::ring::{Lease, MAX_LEASES, Ring, Wake};
use redtap_stages::flow::event::Span;

/// What the program can be asked to do (`enum op`).
#[derive(Clone, Copy)]
enum Op {
    Output = 0,
    Discard = 1,
    Hold = 2,
    OutputAndWake = 3,
}

/// Payload of a discarded or held record.
const FIXED: u64 = 56;
/// What the helper answers when the ring is full (`bpf_ringbuf_output`: no room is -EAGAIN).
const FULL: i32 = -11;
/// Payload of a record that takes 64 bytes of the ring.
const SMALL: u64 = 56;

/// The program, its ring, and the tag that the next record carries.
struct Kernel {
    ebpf: Ebpf,
    next_tag: u64,
}

impl Kernel {
    /// Loads the producer with a ring of `bytes`; `None` (with the reason printed) where that is not allowed.
    fn load(bytes: usize) -> Option<(Self, Ring)> {
        // An aligned copy: the ELF reader wants one.
        let object = aya::include_bytes_aligned!("ring_live/ringtest.o");
        let size = u32::try_from(bytes).unwrap();
        let loaded = EbpfLoader::new().map_max_entries("ring", size).load(object).and_then(|mut ebpf| {
            let program: &mut RawTracePoint = ebpf.program_mut("produce").unwrap().try_into()?;
            program.load()?;
            Ok(ebpf)
        });
        let ebpf = match loaded {
            Ok(ebpf) => ebpf,
            Err(error) => {
                assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "the ring tests must run in CI: {error}");
                skip::note(&format!("no BPF here: {error}"));
                return None;
            }
        };
        let Some(Map::RingBuf(map)) = ebpf.map("ring") else { panic!("no ring in the object") };
        let ring = Ring::map(map.fd().as_fd(), bytes).unwrap();
        Some((Self { ebpf, next_tag: 1 }, ring))
    }

    /// Puts one record of `len` bytes, with the next tag, into the ring, or what else `op` says.
    fn run(&mut self, op: Op, len: u64) -> i32 {
        let answer = self.run_tagged(op, len, self.next_tag);
        if answer == 0 && !matches!(op, Op::Discard) {
            self.next_tag += 1;
        }
        answer
    }

    fn run_tagged(&self, op: Op, len: u64, tag: u64) -> i32 {
        let program: &RawTracePoint = self.ebpf.program("produce").unwrap().try_into().unwrap();
        let mut args = [0; 12];
        args[..3].copy_from_slice(&[op as u64, len, tag]);
        program.test_run(RawTracePointRunOptions { args, cpu: None }).unwrap().return_value.cast_signed()
    }

    /// Records of `len` bytes until the kernel refuses; how many it took.
    fn fill(&mut self, len: u64) -> u64 {
        let mut taken = 0;
        while self.run(Op::Output, len) == 0 {
            taken += 1;
        }
        taken
    }
}

/// The tags of the records of a lease, whose lengths must all be `len`.
fn tags(lease: &Lease, spans: &[Span], len: u64) -> Vec<u64> {
    let tag = |span: &Span| {
        let record = lease.record(*span).unwrap();
        assert_eq!(record.len() as u64, len);
        u64::from_ne_bytes(record[..8].try_into().unwrap())
    };
    spans.iter().map(tag).collect()
}

fn up_to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

#[test]
fn an_empty_ring_has_no_lease() {
    let Some((_kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = vec![Span { start: 1, len: 1 }];
    assert!(ring.lease(16, &mut spans).is_none());
    assert_eq!(spans, []);
    assert_eq!((ring.fill(), ring.pending(), ring.capacity()), (0, 0, 4096));
}

#[test]
fn one_record_is_lent_as_it_was_written_and_freed_on_drop() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = Vec::new();
    // 13 bytes: a length that is not a multiple of 8 is told exactly, and takes 24 bytes with header and padding.
    assert_eq!(kernel.run(Op::Output, 13), 0);
    let lease = ring.lease(16, &mut spans).unwrap();
    assert_eq!(spans, [Span { start: 8, len: 13 }]);
    assert_eq!(tags(&lease, &spans, 13), [1]);
    assert_eq!(lease.as_ref().len(), 24);
    assert_eq!((ring.fill(), ring.pending(), ring.outstanding()), (24, 0, 1));
    assert!(ring.lease(16, &mut spans).is_none());
    drop(lease);
    assert_eq!((ring.fill(), ring.outstanding()), (0, 0));
    assert_eq!(ring.position(), ring.producer_position());
}

#[test]
fn half_a_ring_comes_in_order_in_leases_of_the_asked_size() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    for _ in 0..32 {
        assert_eq!(kernel.run(Op::Output, SMALL), 0);
    }
    let (mut spans, mut seen, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(lease) = ring.lease(10, &mut spans) {
        sizes.push(spans.len());
        seen.extend(tags(&lease, &spans, SMALL));
    }
    assert_eq!(sizes, [10, 10, 10, 2]);
    assert_eq!(seen, up_to(32));
    assert_eq!(ring.counts().records, 32);
    assert_eq!(ring.counts().leases, 4);
}

#[test]
fn a_full_ring_refuses_until_the_lease_is_dropped() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = Vec::new();
    // All but one record: the kernel never lets the producer catch up with the consumer.
    assert_eq!(kernel.fill(SMALL), 63);
    let lease = ring.lease(100, &mut spans).unwrap();
    assert_eq!(tags(&lease, &spans, SMALL), up_to(63));
    // Read, but held: still no room, and what is held is not touched.
    assert_eq!(kernel.run(Op::Output, SMALL), FULL);
    assert_eq!(tags(&lease, &spans, SMALL), up_to(63));
    drop(lease);
    assert_eq!(kernel.run(Op::Output, SMALL), 0);
    let lease = ring.lease(100, &mut spans).unwrap();
    assert_eq!(tags(&lease, &spans, SMALL), [64]);
}

#[test]
fn eight_times_the_capacity_passes_in_rounds_and_records_wrap() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let (mut spans, mut seen, mut wrapped) = (Vec::new(), Vec::new(), 0);
    // 312 bytes of ring a record does not divide 4096, so records lie across the end, at a different place each round.
    while ring.producer_position() < 8 * 4096 {
        assert_eq!(kernel.fill(300), 13);
        let lease = ring.lease(1000, &mut spans).unwrap();
        let bytes = lease.as_ref().len() as u64;
        let start = ring.position() - bytes;
        wrapped += u32::from(start / 4096 != (start + bytes - 1) / 4096);
        for span in &spans {
            // The payload behind the tag is the scratch value's: zeros. Anything else is a header or a neighbour.
            assert!(lease.record(*span).unwrap()[8..].iter().all(|byte| *byte == 0));
        }
        seen.extend(tags(&lease, &spans, 300));
    }
    assert!(wrapped >= 7, "{wrapped}");
    assert_eq!(seen, up_to(kernel.next_tag - 1));
    assert_eq!(ring.fill(), 0);
}

#[test]
fn the_largest_record_that_fits_is_whole_wherever_it_starts() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = Vec::new();
    for round in 1..=20 {
        assert_eq!(kernel.run(Op::Output, 4096 - 16), 0);
        let lease = ring.lease(2, &mut spans).unwrap();
        assert_eq!(tags(&lease, &spans, 4096 - 16), [round]);
        assert_eq!(lease.as_ref().len(), 4088);
    }
    assert_eq!(kernel.run(Op::Output, 4096 - 8), FULL);
}

#[test]
fn discarded_records_are_skipped_counted_and_freed() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = Vec::new();
    for op in [Op::Discard, Op::Output, Op::Discard, Op::Discard, Op::Output, Op::Discard] {
        assert_eq!(kernel.run(op, SMALL), 0);
    }
    let lease = ring.lease(16, &mut spans).unwrap();
    assert_eq!(tags(&lease, &spans, SMALL), [1, 2]);
    assert_eq!(ring.counts().discarded, 4);
    drop(lease);
    assert_eq!(ring.fill(), 0);
    // Nothing but discarded records: no lease, but their room comes back.
    for _ in 0..63 {
        assert_eq!(kernel.run(Op::Discard, 0), 0);
    }
    assert_eq!(kernel.run(Op::Discard, 0), FULL);
    assert!(ring.lease(16, &mut spans).is_none());
    assert_eq!((ring.fill(), ring.counts().discarded), (0, 67));
    assert_eq!(kernel.run(Op::Output, SMALL), 0);
}

#[test]
fn a_record_being_written_holds_back_those_behind_it() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = Vec::new();
    let Some(map) = kernel.ebpf.take_map("hold") else { panic!("no hold map") };
    let mut hold: Array<MapData, u64> = map.try_into().unwrap();
    assert_eq!(kernel.run(Op::Output, SMALL), 0);

    let kernel = &kernel;
    let (behind, after) = thread::scope(|scope| {
        // The program itself waits, inside the kernel, between reserve and submit.
        let held = scope.spawn(|| kernel.run_tagged(Op::Hold, 0, 2));
        while hold.get(&0, 0).unwrap() == 0 {
            thread::yield_now();
        }
        let first = ring.lease(16, &mut spans).unwrap();
        assert_eq!(tags(&first, &spans, SMALL), [1]);
        drop(first);
        assert_eq!(kernel.run_tagged(Op::Output, SMALL, 3), 0);
        let behind = ring.lease(16, &mut spans).is_some();
        let fill = ring.fill();
        hold.set(1, 1, 0).unwrap();
        assert_eq!(held.join().unwrap(), 0);
        assert_eq!(fill, 128);
        let lease = ring.lease(16, &mut spans).unwrap();
        (behind, tags(&lease, &spans, FIXED))
    });
    assert!(!behind, "a record behind a busy one was lent");
    assert_eq!(after, [2, 3]);
}

#[test]
fn leases_may_come_back_in_any_order_and_from_any_thread() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = Vec::new();
    for _ in 0..6 {
        assert_eq!(kernel.run(Op::Output, SMALL), 0);
    }
    let mut leases: VecDeque<Lease> = (0..6).map(|_| ring.lease(1, &mut spans).unwrap()).collect();
    // The youngest on another thread: nothing moves.
    let youngest = leases.pop_back().unwrap();
    thread::spawn(move || drop(youngest)).join().unwrap();
    assert_eq!((ring.fill(), ring.outstanding()), (384, 6));
    // The oldest: only itself.
    drop(leases.pop_front());
    assert_eq!((ring.fill(), ring.outstanding()), (320, 5));
    // The rest, backwards: the position waits for the last one, then takes all.
    while let Some(lease) = leases.pop_back() {
        assert_eq!(ring.fill(), 320);
        drop(lease);
    }
    assert_eq!((ring.fill(), ring.outstanding()), (0, 0));
}

#[test]
fn many_rounds_with_leases_dropped_on_another_thread_lose_and_repeat_nothing() {
    let Some((mut kernel, mut ring)) = Kernel::load(16384) else {
        return;
    };
    let (give, take) = mpsc::sync_channel::<(Lease, Vec<Span>)>(MAX_LEASES);
    let reader = thread::spawn(move || {
        let mut seen = Vec::new();
        while let Ok((lease, spans)) = take.recv() {
            seen.extend(tags(&lease, &spans, 100));
        }
        seen
    });
    let mut refused = 0_u32;
    while kernel.next_tag <= 20_000 {
        if kernel.run(Op::Output, 100) == FULL {
            refused += 1;
            thread::yield_now();
        }
        let mut spans = Vec::new();
        if let Some(lease) = ring.lease(7, &mut spans) {
            give.send((lease, spans)).unwrap();
        }
    }
    let mut spans = Vec::new();
    while ring.pending() > 0 {
        if let Some(lease) = ring.lease(7, &mut spans) {
            give.send((lease, std::mem::take(&mut spans))).unwrap();
        }
    }
    drop(give);
    assert_eq!(reader.join().unwrap(), up_to(20_000), "{refused} refused");
    assert_eq!((ring.fill(), ring.outstanding()), (0, 0));
}

#[test]
fn a_lease_outlives_the_ring_and_the_program() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = Vec::new();
    assert_eq!(kernel.run(Op::Output, SMALL), 0);
    let lease = ring.lease(16, &mut spans).unwrap();
    drop(ring);
    drop(kernel);
    assert_eq!(tags(&lease, &spans, SMALL), [1]);
}

#[test]
fn a_second_consumer_goes_on_where_the_first_stopped() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = Vec::new();
    for _ in 0..3 {
        assert_eq!(kernel.run(Op::Output, SMALL), 0);
    }
    drop(ring.lease(2, &mut spans).unwrap());
    drop(ring);
    let Some(Map::RingBuf(map)) = kernel.ebpf.map("ring") else { panic!("no ring") };
    let mut again = Ring::map(map.fd().as_fd(), 4096).unwrap();
    let lease = again.lease(16, &mut spans).unwrap();
    assert_eq!(tags(&lease, &spans, SMALL), [3]);
}

#[test]
fn waits_end_at_a_wake_up_and_not_at_quiet_data() {
    let Some((mut kernel, mut ring)) = Kernel::load(4096) else {
        return;
    };
    let mut spans = Vec::new();
    let short = Duration::from_millis(1);
    assert_eq!(ring.wait(short).unwrap(), Wake::TimeUp);
    assert_eq!(kernel.run(Op::Output, SMALL), 0);
    // Submitted with BPF_RB_NO_WAKEUP, and then lent and held: neither may make the reader spin.
    assert_eq!(ring.wait(short).unwrap(), Wake::TimeUp);
    let lease = ring.lease(16, &mut spans).unwrap();
    assert_eq!(ring.wait(short).unwrap(), Wake::TimeUp);
    assert_eq!(kernel.run(Op::OutputAndWake, SMALL), 0);
    assert_eq!(ring.wait(Duration::from_secs(60)).unwrap(), Wake::Data);
    assert_eq!(ring.wait(short).unwrap(), Wake::TimeUp);
    drop(lease);
}
