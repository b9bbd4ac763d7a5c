//! Zero-copy consumer of a BPF ring buffer: lends out stretches of ring memory and frees them when they come back.
//!
//! Life cycle: [`Ring::map`] maps the ring of a loaded program; [`Ring::lease`] walks the finished records and gives a
//! [`Lease`] on the stretch that holds them; the lease travels through the pipeline, to other threads if need be; its
//! drop moves the consumer position, and the kernel may write there again. The kernel maps the data pages twice in a
//! row, so a stretch is contiguous even where the ring wraps.
//!
//! Memory order, by function of the kernel's `kernel/bpf/ringbuf.c`:
//! - `__bpf_ringbuf_reserve` marks the header busy, then moves the producer position with `smp_store_release`: we load
//!   the producer position with acquire, so every header before it is at least initialised.
//! - `bpf_ringbuf_commit` writes the final length with `xchg`: we load the length word with acquire, so the payload of
//!   a record that is not busy is complete.
//! - `__bpf_ringbuf_reserve` reads the consumer position with `smp_load_acquire` before it overwrites: we move it with
//!   release, after the last read of the stretch.
//! - `bpf_ringbuf_commit` reads the consumer position after its `xchg` to decide on a wake-up: [`Ring::lease`] has a
//!   full barrier between an earlier move of that position and its load of the header, so one of the two sides sees
//!   the other.
//!
//! Absent: copies, allocation for each lease, knowledge of what a record holds, threads, time.
//! Bounds: [`MAX_LEASES`] outstanding stretches, counted in [`RingCounts::table_full`]; the records of a stretch by the caller.

mod positions;
pub(crate) mod region;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use rustix::event::epoll;

use redtap_stages::flow::event::Span;

use positions::{Positions, Ticket};
use region::{Access, Region};

/// Leases of one ring that can be outstanding at a time.
pub const MAX_LEASES: usize = 64;
/// Largest ring, bytes: offsets within a stretch are 32 bits wide, and the kernel keeps two bits of a length.
pub const MAX_BYTES: usize = 1 << 30;

const _: () = assert!(size_of::<usize>() == 8, "the kernel's positions are `unsigned long`; read here as 64 bits");

/// `BPF_RINGBUF_HDR_SZ` of `include/uapi/linux/bpf.h`.
const HEADER: usize = 8;
/// `BPF_RINGBUF_BUSY_BIT`: reserved, not yet submitted.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: given up by the program.
const DISCARD: u32 = 1 << 30;

/// Why a ring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The size is not one that the kernel makes.
    #[error("ring of {bytes} bytes: must be a power of two, at least a page and at most {MAX_BYTES}")]
    Size {
        /// What was asked for.
        bytes: usize,
    },
    /// The pages of the ring could not be mapped.
    #[error("cannot map the {part} of the ring")]
    Map {
        /// Which pages.
        part: &'static str,
        /// What mmap(2) said.
        #[source]
        source: io::Error,
    },
    /// Waiting for the ring could not be set up, or failed.
    #[error("cannot wait for the ring")]
    Wait(#[source] io::Error),
}

/// Why [`Ring::wait`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The kernel woke us.
    Data,
    /// The time is up, or a signal came. There may be data all the same: programs need not wake anybody.
    TimeUp,
}

/// What a ring has seen, since it was mapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingCounts {
    /// Stretches lent out.
    pub leases: u64,
    /// Records in them.
    pub records: u64,
    /// Records that the program itself gave up.
    pub discarded: u64,
    /// Times that a lease was refused because [`MAX_LEASES`] were out.
    pub table_full: u64,
    /// Bytes given up because a header made no sense. Not zero only if something else writes to the ring.
    pub corrupt_bytes: u64,
}

/// A mapped ring: the one consumer of its memory.
#[derive(Debug)]
pub struct Ring {
    shared: Arc<Shared>,
    /// Position up to which everything is lent out, back, or passed over.
    issued: u64,
    wakeups: Wakeups,
    counts: RingCounts,
}

/// A stretch of ring memory. The kernel does not write there until it is dropped.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    ticket: Ticket,
    start: u64,
    end: u64,
}

#[derive(Debug)]
struct Shared {
    consumer: Region,
    /// One page with the producer position, then the data twice.
    producer: Region,
    page: usize,
    capacity: usize,
    positions: Positions<MAX_LEASES>,
}

impl Ring {
    /// Maps the ring behind `map`, a `BPF_MAP_TYPE_RINGBUF` of `bytes` bytes (its `max_entries`). Keeps a descriptor of
    /// its own: the ring may outlive the probe it came from.
    ///
    /// # Errors
    /// [`RingError::Size`] if `bytes` cannot be the size of a ring; otherwise what the kernel says.
    pub fn map(map: BorrowedFd<'_>, bytes: usize) -> Result<Self, RingError> {
        let shared = Shared::map(map, bytes)?;
        let wakeups = Wakeups::of(map).map_err(RingError::Wait)?;
        Ok(Self::consume(shared, wakeups))
    }

    fn consume(shared: Shared, wakeups: Wakeups) -> Self {
        // A ring that was consumed before goes on where it was left.
        let issued = shared.consumer.load_acquire(0).unwrap_or(0);
        Self { shared: Arc::new(shared), issued, wakeups, counts: RingCounts::default() }
    }

    /// Lends out the stretch of finished records that comes next, at most `max_records` of them, and puts where they
    /// lie into `spans` (cleared first; it grows to `max_records` and no further, so a recycled one does not allocate).
    ///
    /// `None` if there is no finished record, and while [`MAX_LEASES`] are out (counted). Stops at a record that is still
    /// being written, even if later ones are done: order is kept.
    pub fn lease(&mut self, max_records: usize, spans: &mut Vec<Span>) -> Option<Lease> {
        spans.clear();
        if self.shared.positions.is_full() {
            self.counts.table_full = self.counts.table_full.saturating_add(1);
            return None;
        }
        // Pairs with the full barrier of bpf_ringbuf_commit's xchg: see the head of this file.
        fence(Ordering::SeqCst);
        let start = self.issued;
        let end = self.walk(start, self.producer_position(), max_records, spans);
        if end == start {
            return None;
        }
        // Not refused: it was not full, and only we issue.
        let ticket = self.shared.positions.issue()?;
        self.issued = end;
        // From here on the stretch comes back by itself, also when it held nothing but discarded records.
        let lease = Lease { shared: Arc::clone(&self.shared), ticket, start, end };
        if spans.is_empty() {
            return None;
        }
        self.counts.leases = self.counts.leases.saturating_add(1);
        self.counts.records = self.counts.records.saturating_add(spans.len() as u64);
        Some(lease)
    }

    /// The end of the run of finished records that starts at `start`.
    fn walk(&mut self, start: u64, producer: u64, max_records: usize, spans: &mut Vec<Span>) -> u64 {
        let mut at = start;
        let mut discarded = 0_u64;
        // Ends: `at` grows by at least a header a round and stays at or below `producer`.
        while at < producer && spans.len() < max_records {
            let word = match self.shared.header(at) {
                Some(word) if word & BUSY == 0 => word,
                _ => break,
            };
            let len = word & !(BUSY | DISCARD);
            let next = at.saturating_add(frame(len));
            if next > producer {
                // Nothing after this can be found again: give the rest up, so that the ring lives on.
                self.counts.corrupt_bytes = self.counts.corrupt_bytes.saturating_add(producer.saturating_sub(at));
                at = producer;
                break;
            }
            if word & DISCARD != 0 {
                discarded = discarded.saturating_add(1);
            } else {
                // Fits: both are below the capacity, which is at most MAX_BYTES.
                let start = at.saturating_sub(start).saturating_add(HEADER as u64);
                spans.push(Span { start: u32::try_from(start).unwrap_or(u32::MAX), len });
            }
            at = next;
        }
        self.counts.discarded = self.counts.discarded.saturating_add(discarded);
        at
    }

    /// Where the kernel will put the next record: records reserved before this call lie before this position.
    ///
    /// To order a snapshot of shared state against the ring: take the snapshot, then this position, drain until
    /// [`Ring::position`] has reached it, then use the snapshot.
    #[must_use]
    pub fn producer_position(&self) -> u64 {
        self.shared.producer.load_acquire(0).unwrap_or(self.issued)
    }

    /// Up to where records have been lent out.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.issued
    }

    /// Bytes in use: lent out, waiting to be, or being written. At most [`Ring::capacity`].
    #[must_use]
    pub fn fill(&self) -> usize {
        let consumer = self.shared.consumer.load_acquire(0).unwrap_or(0);
        usize::try_from(self.producer_position().saturating_sub(consumer)).unwrap_or(usize::MAX)
    }

    /// Bytes that are not lent out yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        usize::try_from(self.producer_position().saturating_sub(self.issued)).unwrap_or(usize::MAX)
    }

    /// Bytes of ring memory, headers included. The kernel leaves at least one byte free.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Leases that are out, or back but behind one that is.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        usize::try_from(self.shared.positions.outstanding()).unwrap_or(MAX_LEASES)
    }

    /// What the ring has seen so far.
    #[must_use]
    pub fn counts(&self) -> RingCounts {
        self.counts
    }

    /// Waits until a program wakes the reader (`BPF_RB_FORCE_WAKEUP`), at most `timeout`.
    ///
    /// Edge-triggered, unlike poll(2) on the ring itself, which `ringbuf_avail_data_sz` would let return at once, over
    /// and over, while leases are out or a record is being written. So data that came without a wake-up does not end the
    /// wait: that is what lets a reader on its own clock take many records at a time.
    ///
    /// # Errors
    /// [`RingError::Wait`] with what epoll_wait(2) says; an interrupted call is [`Wake::TimeUp`].
    pub fn wait(&self, timeout: Duration) -> Result<Wake, RingError> {
        let timeout = rustix::event::Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
        match epoll::wait(&self.wakeups.epoll, &mut events[..], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(Wake::TimeUp),
            Ok(_) => Ok(Wake::Data),
            Err(errno) => Err(RingError::Wait(errno.into())),
        }
    }
}

/// Readable when a program woke the reader: for a caller that waits for several rings at once.
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeups.epoll.as_fd()
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        let offset = self.shared.data_offset(self.start);
        let len = usize::try_from(self.end.saturating_sub(self.start)).unwrap_or(0);
        // SAFETY: the stretch lies before the producer position and none of its records is busy (`walk`), so programs
        // are done with it; and the kernel does not reuse it while the consumer position is at or before `start`, which
        // holds until `drop`.
        let bytes = unsafe { self.shared.producer.bytes(offset, len) };
        bytes.unwrap_or_default()
    }
}

impl Lease {
    /// The bytes of one record; `None` if `span` is not of this stretch.
    #[must_use]
    pub fn record(&self, span: Span) -> Option<&[u8]> {
        let (_, rest) = self.as_ref().split_at_checked(span.start as usize)?;
        rest.get(..span.len as usize)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let consumer = self.shared.consumer.word(0);
        self.shared.positions.give_back(self.ticket, self.end, |end| {
            if let Some(consumer) = consumer {
                // Maximum: of two threads that pass neighbouring stretches, the one with the older may be the later.
                consumer.fetch_max(end, Ordering::Release);
            }
        });
    }
}

impl Shared {
    fn map(map: BorrowedFd<'_>, bytes: usize) -> Result<Self, RingError> {
        let page = rustix::param::page_size();
        if !bytes.is_power_of_two() || bytes < page || bytes > MAX_BYTES {
            return Err(RingError::Size { bytes });
        }
        let consumer = Region::map(map, 0, page, Access::ReadWrite)
            .map_err(|source| RingError::Map { part: "consumer page", source })?;
        let behind = bytes.saturating_mul(2).saturating_add(page);
        let producer = Region::map(map, page as u64, behind, Access::Read)
            .map_err(|source| RingError::Map { part: "data pages", source })?;
        Ok(Self { consumer, producer, page, capacity: bytes, positions: Positions::new() })
    }

    /// The length word of the record at `position`.
    fn header(&self, position: u64) -> Option<u32> {
        self.producer.load_half_acquire(self.data_offset(position))
    }

    /// Where `position` lies in the `producer` region.
    fn data_offset(&self, position: u64) -> usize {
        let mask = (self.capacity as u64).wrapping_sub(1);
        self.page.saturating_add(usize::try_from(position & mask).unwrap_or(0))
    }
}

/// Bytes that a record of `len` takes up: header and payload, rounded up to 8 (`bpf_ringbuf_commit` and libbpf agree).
fn frame(len: u32) -> u64 {
    u64::from(len).saturating_add(HEADER as u64).next_multiple_of(8)
}

/// Turns readable at each wake-up of the descriptor it watches.
#[derive(Debug)]
struct Wakeups {
    epoll: OwnedFd,
    /// Held because epoll forgets a file when its last descriptor is closed.
    _watched: OwnedFd,
}

impl Wakeups {
    fn of(source: BorrowedFd<'_>) -> io::Result<Self> {
        let watched = source.try_clone_to_owned()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &watched, epoll::EventData::new_u64(0), flags)?;
        Ok(Self { epoll, _watched: watched })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
