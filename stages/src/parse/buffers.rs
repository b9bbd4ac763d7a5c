//! Memory for unfinished bytes: bounded for each direction and in all, used again.

use crate::limits;

/// Smallest buffer, bytes; they grow in powers of two.
const SMALLEST: usize = 512;
/// Empty buffers kept for later.
const MAX_FREE: usize = 256;

/// The pool and its account.
#[derive(Debug)]
pub(super) struct Buffers {
    free: Vec<Vec<u8>>,
    /// Bytes of capacity given out or kept.
    total: usize,
    limit: usize,
}

impl Buffers {
    pub(super) fn new(limit: usize) -> Self {
        Self { free: Vec::new(), total: 0, limit }
    }

    /// Bytes of memory given out or kept.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Appends as much of `bytes` as the bound of one buffer allows; returns how much. `None`: the bound of all is reached.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>, bytes: &[u8]) -> Option<usize> {
        let n = bytes.len().min(limits::PARSE_BUFFER.saturating_sub(buffer.len()));
        let need = buffer.len() + n;
        if buffer.capacity() == 0
            && need > 0
            && let Some(free) = self.free.pop()
        {
            *buffer = free;
        }
        if buffer.capacity() < need {
            self.grow(buffer, need)?;
        }
        buffer.extend_from_slice(bytes.get(..n).unwrap_or(bytes));
        Some(n)
    }

    fn grow(&mut self, buffer: &mut Vec<u8>, need: usize) -> Option<()> {
        let want = need.next_power_of_two().clamp(SMALLEST, limits::PARSE_BUFFER);
        let before = buffer.capacity();
        while self.total - before + want > self.limit {
            let free = self.free.pop()?;
            self.total -= free.capacity();
        }
        buffer.reserve_exact(want - buffer.len());
        self.total = self.total - before + buffer.capacity();
        Some(())
    }

    /// Takes a buffer back.
    pub(super) fn release(&mut self, buffer: &mut Vec<u8>) {
        let mut buffer = std::mem::take(buffer);
        if buffer.capacity() == 0 {
            return;
        }
        if self.free.len() < MAX_FREE {
            buffer.clear();
            self.free.push(buffer);
        } else {
            self.total -= buffer.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_under_the_bound_of_all() {
        let mut buffers = Buffers::new(1024);
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        assert_eq!(buffers.append(&mut a, &[1; 10]), Some(10));
        assert_eq!(buffers.append(&mut b, &[1; 512]), Some(512));
        assert_eq!(buffers.append(&mut c, &[1]), None);
        assert_eq!(buffers.append(&mut b, &[1]), None, "may not grow");
        assert_eq!(b.len(), 512, "nothing of what it held is gone");
        buffers.release(&mut a);
        assert_eq!(buffers.append(&mut b, &[1]), Some(1), "a kept one makes room");
        assert_eq!(buffers.total(), 1024);
    }

    #[test]
    fn cuts_at_the_bound_of_one() {
        let mut buffers = Buffers::new(limits::PARSE_BUFFERS_TOTAL);
        let mut a = Vec::new();
        assert_eq!(buffers.append(&mut a, &[0; limits::PARSE_BUFFER - 1]), Some(limits::PARSE_BUFFER - 1));
        assert_eq!(buffers.append(&mut a, b"xy"), Some(1));
        assert_eq!(buffers.append(&mut a, b"z"), Some(0));
        assert_eq!(a.capacity(), limits::PARSE_BUFFER);
    }
}
