//! What a live kernel cannot be made to do: the test writes the ring's pages itself, through a memory file of the same
//! layout. The ordinary cases run against a real ring in `tests/ring_live.rs`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, memfd_create};

use super::*;

/// One page of data.
const BYTES: usize = 4096;

/// A hand-made ring and the kernel's view of it.
struct HandMade {
    ring: Ring,
    pages: File,
}

impl HandMade {
    fn new() -> Self {
        let page = rustix::param::page_size();
        assert_eq!(page, BYTES, "the layout below is for pages of 4 KiB");
        let memory: OwnedFd = memfd_create("ring", MemfdFlags::CLOEXEC).unwrap();
        let pages = File::from(memory);
        pages.set_len(2 * page as u64 + 2 * BYTES as u64).unwrap();
        let shared = Shared::map(pages.as_fd(), BYTES).unwrap();
        let wakeups = Wakeups::of(eventfd(0, EventfdFlags::CLOEXEC).unwrap().as_fd()).unwrap();
        Self { ring: Ring::consume(shared, wakeups), pages }
    }

    /// Writes a length word at `position`, in both copies of the data, as `__bpf_ringbuf_reserve` or
    /// `bpf_ringbuf_commit` would.
    fn header(&self, position: u64, word: u32) {
        for copy in 0..2 {
            let at = 2 * 4096 + copy * BYTES as u64 + position % BYTES as u64;
            self.pages.write_all_at(&word.to_ne_bytes(), at).unwrap();
        }
    }

    fn producer(&self, position: u64) {
        self.pages.write_all_at(&position.to_ne_bytes(), 4096).unwrap();
    }

    fn consumer(&self) -> u64 {
        let mut word = [0; 8];
        self.pages.read_exact_at(&mut word, 0).unwrap();
        u64::from_ne_bytes(word)
    }
}

#[test]
fn stops_at_a_busy_record_and_goes_on_when_it_is_done() {
    let mut hand = HandMade::new();
    let mut spans = Vec::new();
    hand.header(0, 8);
    hand.header(16, 8 | BUSY);
    hand.header(32, 8);
    hand.producer(48);

    let first = hand.ring.lease(16, &mut spans).unwrap();
    assert_eq!(spans, [Span { start: 8, len: 8 }]);
    assert_eq!(first.as_ref().len(), 16);
    assert!(hand.ring.lease(16, &mut spans).is_none());
    assert_eq!(spans, []);

    hand.header(16, 8);
    let second = hand.ring.lease(16, &mut spans).unwrap();
    assert_eq!(spans, [Span { start: 8, len: 8 }, Span { start: 24, len: 8 }]);
    drop(first);
    assert_eq!(hand.consumer(), 16);
    drop(second);
    assert_eq!(hand.consumer(), 48);
}

#[test]
fn a_length_that_runs_past_the_producer_gives_the_rest_up_and_the_ring_lives_on() {
    let mut hand = HandMade::new();
    let mut spans = Vec::new();
    hand.header(0, 8);
    hand.header(16, 0x3fff_ffff);
    hand.producer(1024);
    let lease = hand.ring.lease(16, &mut spans).unwrap();
    assert_eq!(spans, [Span { start: 8, len: 8 }]);
    drop(lease);
    assert_eq!(hand.consumer(), 1024);
    assert_eq!(hand.ring.counts().corrupt_bytes, 1008);

    hand.header(1024, 16);
    hand.producer(1048);
    assert!(hand.ring.lease(16, &mut spans).is_some());
    assert_eq!(spans, [Span { start: 8, len: 16 }]);
}

#[test]
fn an_empty_record_is_a_record() {
    let mut hand = HandMade::new();
    let mut spans = Vec::new();
    hand.header(0, 0);
    hand.producer(8);
    let lease = hand.ring.lease(16, &mut spans).unwrap();
    assert_eq!(spans, [Span { start: 8, len: 0 }]);
    assert_eq!(lease.record(spans[0]), Some(&[][..]));
}

#[test]
fn a_span_of_another_stretch_is_no_record() {
    let mut hand = HandMade::new();
    let mut spans = Vec::new();
    hand.header(0, 8);
    hand.producer(16);
    let lease = hand.ring.lease(16, &mut spans).unwrap();
    assert_eq!(lease.record(Span { start: 8, len: 9 }), None);
    assert_eq!(lease.record(Span { start: u32::MAX, len: u32::MAX }), None);
}

#[test]
fn refuses_leases_past_the_bound_counts_them_and_recovers() {
    let mut hand = HandMade::new();
    let mut spans = Vec::new();
    for record in 0..=MAX_LEASES as u64 {
        hand.header(record * 16, 8);
    }
    hand.producer((MAX_LEASES as u64 + 1) * 16);
    let mut leases: Vec<Lease> = (0..MAX_LEASES).map(|_| hand.ring.lease(1, &mut spans).unwrap()).collect();
    assert!(hand.ring.lease(1, &mut spans).is_none());
    assert_eq!(hand.ring.counts().table_full, 1);
    assert_eq!(hand.ring.outstanding(), MAX_LEASES);
    // The youngest: it comes back, but the oldest still holds the table.
    leases.pop();
    assert!(hand.ring.lease(1, &mut spans).is_none());
    leases.remove(0);
    assert_eq!(hand.consumer(), 16);
    assert!(hand.ring.lease(1, &mut spans).is_some());
    assert_eq!(hand.ring.counts().records, MAX_LEASES as u64 + 1);
}

#[test]
fn refuses_sizes_that_are_not_a_rings() {
    let file = File::from(memfd_create("ring", MemfdFlags::CLOEXEC).unwrap());
    for bytes in [0, 1, 2048, 4097, 12288, MAX_BYTES * 2, usize::MAX] {
        assert!(matches!(Ring::map(file.as_fd(), bytes), Err(RingError::Size { .. })), "{bytes}");
    }
}

#[test]
fn a_descriptor_that_is_not_a_ring_is_an_error() {
    let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    assert!(matches!(Ring::map(event.as_fd(), BYTES), Err(RingError::Map { part: "consumer page", .. })));
}

#[test]
fn a_lease_can_go_anywhere() {
    fn assert_free<T: Send + Sync + 'static>() {}
    assert_free::<Lease>();
}
