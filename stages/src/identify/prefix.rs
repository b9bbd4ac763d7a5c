//! Copies of prefixes: the first bytes of a direction, kept while more of them are needed for a decision.

use crate::limits;

/// A prefix, at most [`limits::IDENTIFY_PREFIX`] bytes.
#[derive(Debug)]
pub(super) struct Prefix {
    bytes: [u8; limits::IDENTIFY_PREFIX],
    len: usize,
}

impl Prefix {
    /// Appends as far as there is room.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *to = *from;
            self.len += 1;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == limits::IDENTIFY_PREFIX
    }
}

/// The pool of them, bounded at [`limits::IDENTIFY_PREFIXES`].
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    #[expect(clippy::vec_box, reason = "lanes hold a pointer; a prefix is never moved")]
    free: Vec<Box<Prefix>>,
    out: usize,
}

impl Prefixes {
    /// An empty prefix; `None` at the bound.
    pub(super) fn take(&mut self) -> Option<Box<Prefix>> {
        if self.out >= limits::IDENTIFY_PREFIXES {
            return None;
        }
        self.out += 1;
        let mut prefix =
            self.free.pop().unwrap_or_else(|| Box::new(Prefix { bytes: [0; limits::IDENTIFY_PREFIX], len: 0 }));
        prefix.len = 0;
        Some(prefix)
    }

    /// Takes one back.
    pub(super) fn give_back(&mut self, prefix: Option<Box<Prefix>>) {
        if let Some(prefix) = prefix {
            self.out = self.out.saturating_sub(1);
            self.free.push(prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_no_more_than_the_bound() {
        let mut prefixes = Prefixes::default();
        let mut prefix = prefixes.take().unwrap();
        prefix.push(&[7; limits::IDENTIFY_PREFIX - 1]);
        assert!(!prefix.is_full());
        prefix.push(&[8; 9]);
        assert!(prefix.is_full());
        assert_eq!(prefix.bytes().len(), limits::IDENTIFY_PREFIX);
        prefixes.give_back(Some(prefix));
        let all = (0..limits::IDENTIFY_PREFIXES).map(|_| prefixes.take()).collect::<Vec<_>>();
        assert!(all.iter().all(|prefix| prefix.as_ref().is_some_and(|prefix| prefix.bytes().is_empty())));
        assert!(prefixes.take().is_none());
    }
}
