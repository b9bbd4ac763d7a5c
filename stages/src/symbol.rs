//! Symbols: label values as numbers, so that series are found by comparing integers.
//!
//! An [`Interner`] belongs to one stage. It is bounded; what comes when it is full becomes its overflow symbol, and is
//! counted. The hash seed is random for each process, because the text comes from the network.

use crate::limits;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::Arc;

/// The text given for what did not fit in a bound.
pub const OVERFLOW: &str = "_overflow";

#[derive(Debug)]
struct Inner {
    id: u32,
    text: Box<str>,
}

/// An interned text: cheap to clone, compare and hash. Two symbols of one interner are equal if their texts are.
#[derive(Debug, Clone)]
pub struct Symbol(Arc<Inner>);

impl Symbol {
    /// Number of the symbol in its interner, from 0.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

impl PartialEq for Symbol {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for Symbol {}

/// Text to symbol, bounded at [`limits::MAX_SYMBOLS`] texts of at most [`limits::MAX_SYMBOL`] bytes.
#[derive(Debug)]
pub struct Interner {
    by_text: HashMap<Box<str>, Symbol, RandomState>,
    capacity: usize,
    overflow: Symbol,
    overflowed: u64,
}

impl Default for Interner {
    fn default() -> Self {
        Self::with_capacity(limits::MAX_SYMBOLS)
    }
}

impl Interner {
    /// An interner of at most `capacity` symbols (the overflow symbol not counted; it has the number 0).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let overflow = Symbol(Arc::new(Inner { id: 0, text: OVERFLOW.into() }));
        Self { by_text: HashMap::with_hasher(RandomState::default()), capacity, overflow, overflowed: 0 }
    }

    /// The symbol of `text`, made if need be; the overflow symbol when there is no room.
    pub fn intern(&mut self, text: &str) -> Symbol {
        let text = cut(text, limits::MAX_SYMBOL);
        if let Some(symbol) = self.by_text.get(text) {
            return symbol.clone();
        }
        if self.by_text.len() >= self.capacity {
            self.overflowed += 1;
            return self.overflow.clone();
        }
        let id = u32::try_from(self.by_text.len() + 1).unwrap_or(0);
        let symbol = Symbol(Arc::new(Inner { id, text: text.into() }));
        self.by_text.insert(text.into(), symbol.clone());
        symbol
    }

    /// The symbol for what did not fit.
    #[must_use]
    pub fn overflow(&self) -> Symbol {
        self.overflow.clone()
    }

    /// How often the overflow symbol was given because there was no room.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }
}

fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_one_symbol_a_text_and_overflows_when_full() {
        let mut interner = Interner::with_capacity(2);
        let a = interner.intern("a");
        let b = interner.intern("b");
        assert_ne!(a.id(), b.id());
        assert_eq!(interner.intern("a").id(), a.id());
        assert_eq!(interner.intern("c").as_str(), OVERFLOW);
        assert_eq!(interner.overflowed(), 1);
        assert_eq!(interner.intern("b").as_str(), "b", "what is known stays known");
    }
}
