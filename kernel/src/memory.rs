//! What the allocator keeps that nobody uses.
//!
//! Two things would make it much: tables that grow, and the memory that loading programs leaves behind. To relocate programs the types of the whole kernel are read: some 20 MB of small pieces that are all free once the programs
//! are loaded. glibc keeps what is free in the middle of its heap, and would keep it for the life of the process.

/// Blocks of this size and above are mapped apart, bytes: as large as glibc begins with.
#[cfg(target_env = "gnu")]
const APART: libc::c_int = 128 * 1024;

/// Has large blocks mapped apart for good, so that they go back to the kernel when they are freed; true if the allocator took
/// it. Call it before anything large is freed. Does nothing where the allocator is not glibc's.
///
/// Left alone, glibc takes the first large block that is freed as a sign that such blocks come and go, and from then on cuts
/// blocks of up to that size out of its heaps (`M_MMAP_THRESHOLD` in mallopt(3)). A table that grows leaves holes behind there
/// that are too small for the next one.
pub fn map_large_blocks_apart() -> bool {
    map_apart()
}

#[cfg(target_env = "gnu")]
fn map_apart() -> bool {
    // SAFETY: mallopt(3) has no preconditions but that its parameter is a known one; it takes the allocator's lock.
    let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, APART) };
    taken != 0
}

#[cfg(not(target_env = "gnu"))]
fn map_apart() -> bool {
    false
}

/// Gives memory that the allocator holds but nobody uses back to the kernel; true if there was any. Takes some milliseconds, so
/// it belongs after a start and not between requests. Does nothing where the allocator is not glibc's.
pub fn give_back_free() -> bool {
    give_back()
}

#[cfg(target_env = "gnu")]
fn give_back() -> bool {
    // SAFETY: malloc_trim(3) has no preconditions, takes the allocator's own locks (it is MT-safe), and touches only free
    // memory. The padding of 0 keeps nothing more than is needed at the top of the heap.
    let given = unsafe { libc::malloc_trim(0) };
    given != 0
}

#[cfg(not(target_env = "gnu"))]
fn give_back() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn gives_back_what_is_free_below_what_is_used() {
        // Smaller than what malloc maps apart, so that it is all in the heap; every hundredth stays in use.
        let mut pieces: Vec<Box<[u8]>> = (0..10_000).map(|_| vec![1_u8; 4_000].into_boxed_slice()).collect();
        let mut number = 0;
        pieces.retain(|_| {
            number += 1;
            number % 100 == 0
        });
        assert!(give_back_free());
        assert!(pieces.iter().all(|piece| piece.iter().all(|byte| *byte == 1)), "what is used stays");
    }
}
