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
    /// Number of the symbol in its interner, from 0. Not used again for another text.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// True for the symbol of the empty text: "none".
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.text.is_empty()
    }

    /// What no other symbol has, of any interner, as long as this one (or a clone of it) lives.
    #[must_use]
    pub fn key(&self) -> SymbolKey {
        SymbolKey(Arc::as_ptr(&self.0).addr())
    }
}

impl PartialEq for Symbol {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for Symbol {}

/// Stands for a living [`Symbol`] in a table's key. Whoever keeps one keeps the symbol beside it: the number is given to
/// another symbol once the last clone is gone. Interners started anew (a stage restarted) never repeat a living one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SymbolKey(usize);

impl SymbolKey {
    /// No symbol.
    pub const NONE: Self = Self(0);
    /// No symbol either: what a table uses for its overflow entry.
    pub const OVERFLOW: Self = Self(usize::MAX);
}

/// Text to symbol, bounded at [`limits::MAX_SYMBOLS`] texts of at most [`limits::MAX_SYMBOL`] bytes.
#[derive(Debug)]
pub struct Interner {
    by_text: HashMap<Box<str>, Symbol, RandomState>,
    capacity: usize,
    next: u32,
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
        Self { by_text: HashMap::with_hasher(RandomState::default()), capacity, next: 1, overflow, overflowed: 0 }
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
        let symbol = Symbol(Arc::new(Inner { id: self.next, text: text.into() }));
        self.next = self.next.wrapping_add(1).max(1);
        self.by_text.insert(text.into(), symbol.clone());
        symbol
    }

    /// The symbol of `text` if it has one. Makes none.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Symbol> {
        self.by_text.get(cut(text, limits::MAX_SYMBOL)).cloned()
    }

    /// Forgets the symbols that nobody else holds, if at least three quarters of the room are used: names that traffic has
    /// left behind make room for new ones. Walks all symbols; for a stage's `tick`, not for its data path.
    pub fn release_unused(&mut self) {
        if self.by_text.len() >= self.capacity / 4 * 3 {
            self.by_text.retain(|_, symbol| Arc::strong_count(&symbol.0) > 1);
        }
    }

    /// Symbols in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// True without symbols.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
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

    #[test]
    fn releases_only_what_nobody_holds_and_never_repeats_a_number() {
        let mut interner = Interner::with_capacity(4);
        let held = interner.intern("held");
        let mut ids = vec![held.id(), 0];
        for text in ["a", "b", "c"] {
            ids.push(interner.intern(text).id());
        }
        interner.release_unused();
        assert_eq!(interner.len(), 1);
        assert_eq!(interner.intern("held").key(), held.key());
        assert!(!ids.contains(&interner.intern("a").id()));
    }

    #[test]
    fn symbols_of_two_interners_have_two_keys_but_are_equal_by_text() {
        let (mut one, mut two) = (Interner::default(), Interner::default());
        let (a, b) = (one.intern("same"), two.intern("same"));
        assert_eq!(a.id(), b.id());
        assert_ne!(a.key(), b.key());
        assert_eq!(a, b);
    }
}
