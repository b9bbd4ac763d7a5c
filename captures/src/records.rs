//! Records of the kernel's form, one by one, from elsewhere than the kernel: a capture, a recording, a test.

use redtap_stages::abi;

/// Largest record: a header and one chunk.
pub const MAX_RECORD: usize = abi::HEADER_LEN + abi::MAX_CHUNK;

/// What asking for a record gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A record.
    Record,
    /// None now, but there may be some later.
    Later,
    /// None, and none will come.
    End,
}

/// Gives records one by one.
pub trait Records: Send + 'static {
    /// Appends the next record (header and payload, at most [`MAX_RECORD`] bytes) to `memory`, if there is one.
    fn next_record(&mut self, memory: &mut Vec<u8>) -> Next;
}
