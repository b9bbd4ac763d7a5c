//! A stretch of a BPF map's memory, mapped into this process and unmapped on drop.
//!
//! Everything that touches shared memory goes through here: loads and stores are atomic, offsets are checked, and what
//! was mapped read-only can only be loaded from. Absent: knowledge of what the words mean, and resizing.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags};

/// How a region may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Loads only.
    Read,
    /// Loads, stores and read-modify-write.
    ReadWrite,
}

/// Mapped memory that the kernel may write at any time.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    access: Access,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is unmapped only by the owner's drop.
unsafe impl Send for Region {}
// SAFETY: shared use is through atomic operations, and through `bytes`, whose caller answers for the absence of writers.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len` bytes of `fd` from `offset` on, shared with the kernel. Both must be multiples of the page size.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub(crate) fn map(fd: BorrowedFd<'_>, offset: u64, len: usize, access: Access) -> io::Result<Self> {
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: no address is asked for, so no memory in use is replaced; length and descriptor are checked by the
        // kernel, and the result is owned by the `Region` made from it.
        let mapped = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, fd, offset) }?;
        let base = NonNull::new(mapped.cast::<u8>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, len, access })
    }

    /// The 8-byte word at `offset`, to be written to. `None` outside the region, unaligned, or mapped read-only.
    pub(crate) fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if self.access != Access::ReadWrite {
            return None;
        }
        let at = self.at(offset, size_of::<u64>())?.cast::<u64>().as_ptr();
        // SAFETY: `at` is inside the live mapping, aligned (checked in `at`), and only ever accessed atomically: the
        // region hands out `bytes` of read-only mappings only.
        Some(unsafe { AtomicU64::from_ptr(at) })
    }

    /// Loads the 8-byte word at `offset`, relaxed. `None` outside the region or unaligned.
    pub(crate) fn load_relaxed(&self, offset: usize) -> Option<u64> {
        let at = self.at(offset, size_of::<u64>())?.cast::<u64>().as_ptr();
        // SAFETY: inside the live mapping and aligned (checked in `at`); the kernel writes whole words.
        let word = unsafe { AtomicU64::from_ptr(at) };
        Some(word.load(Ordering::Relaxed))
    }

    /// Loads the 8-byte word at `offset` with acquire ordering. `None` outside the region or unaligned.
    ///
    /// A relaxed load and a fence, not an acquire load: on memory mapped read-only the language promises only the
    /// former (`std::sync::atomic`, "Atomic accesses to read-only memory").
    pub(crate) fn load_acquire(&self, offset: usize) -> Option<u64> {
        let value = self.load_relaxed(offset)?;
        fence(Ordering::Acquire);
        Some(value)
    }

    /// Loads the 4-byte word at `offset` with acquire ordering. `None` outside the region or unaligned.
    pub(crate) fn load_half_acquire(&self, offset: usize) -> Option<u32> {
        let at = self.at(offset, size_of::<u32>())?.cast::<u32>().as_ptr();
        // SAFETY: inside the live mapping and aligned (checked in `at`); the kernel writes this word as a whole.
        let half = unsafe { AtomicU32::from_ptr(at) };
        let value = half.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        Some(value)
    }

    /// Bytes `offset..offset + len`. `None` outside the region or when it is mapped for writing.
    ///
    /// # Safety
    /// Nobody, the kernel included, may write these bytes while the slice lives.
    pub(crate) unsafe fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        if self.access != Access::Read {
            return None;
        }
        let at = self.at(offset, len)?.as_ptr();
        // SAFETY: inside the live mapping (checked in `at`), readable, and not written by the caller's promise.
        Some(unsafe { std::slice::from_raw_parts(at, len) })
    }

    /// The address of `offset`, when `len` bytes from there are inside and it is aligned to `len` (words only).
    fn at(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        let aligned = !matches!(len, 4 | 8) || offset.is_multiple_of(len);
        if end > self.len || !aligned {
            return None;
        }
        // SAFETY: `offset <= self.len`, the length of the one mapping that `base` starts.
        Some(unsafe { self.base.add(offset) })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `map`; references into it borrow `self` and are gone.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping");
    }
}
