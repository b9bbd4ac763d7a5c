//! Methods and codes: which texts are reported by name.
//!
//! Methods come out of the table of their protocol ([`Methods`]), so that a client which sends nonsense makes no series;
//! what the protocol would keep besides is kept if there is room ([`limits::MAX_COMMANDS`]). A code is kept if it looks like
//! one and there is room ([`limits::MAX_CODES`]). Everything else is `_OTHER`.

use crate::flow::exchange::{Exchange, NoAnswer};
use crate::flow::message::Status;
use crate::limits;
use crate::metric::values;
use crate::protocols::Protocol;
use crate::protocols::traits::{Methods, Traits, Unlisted};
use crate::symbol::{Interner, Symbol};
use crate::text::Token;

/// What is not reported by name.
const OTHER: &str = "_OTHER";
/// What was not captured.
const UNKNOWN: &str = "unknown";

/// The symbols of methods and codes.
#[derive(Debug)]
pub(super) struct Words {
    /// By number of the protocol.
    methods: Vec<Interner>,
    codes: Interner,
    other: Symbol,
    unknown: Symbol,
    none: Symbol,
}

impl Words {
    /// `configured` are the methods of [`Methods::Configured`].
    pub(super) fn new(configured: &[Box<str>]) -> Self {
        let mut own = Interner::with_capacity(4);
        let mut methods = vec![Interner::with_capacity(0)]; // of what is no protocol
        for traits in Protocol::ALL.iter().filter_map(|protocol| protocol.traits()) {
            let mut names = Interner::with_capacity(limits::MAX_COMMANDS);
            match traits.methods {
                Methods::Configured => configured.iter().for_each(|word| drop(names.intern(word))),
                Methods::Table { words, .. } => {
                    words.split_ascii_whitespace().for_each(|word| drop(names.intern(word)))
                }
            }
            methods.push(names);
        }
        Self {
            methods,
            codes: Interner::with_capacity(limits::MAX_CODES),
            other: own.intern(OTHER),
            unknown: own.intern(UNKNOWN),
            none: own.intern(""),
        }
    }

    /// The symbol of the empty text.
    pub(super) fn none(&self) -> Symbol {
        self.none.clone()
    }

    /// The method of an exchange; `unknown` where it was not captured.
    pub(super) fn method(&mut self, traits: &Traits, method: &Token) -> Symbol {
        if method.is_empty() {
            return self.unknown.clone();
        }
        let Some(names) = self.methods.get_mut(traits.protocol as usize) else { return self.other.clone() };
        if let Some(symbol) = names.find(method.as_str()) {
            return symbol;
        }
        let Methods::Table { unlisted, .. } = traits.methods else { return self.other.clone() };
        match unlisted(method.as_str()) {
            Unlisted::Other => self.other.clone(),
            Unlisted::Known(name) => names.find(name.as_str()).unwrap_or_else(|| self.other.clone()),
            Unlisted::Kept(name) => kept(names, name.as_str(), &self.other),
        }
    }

    /// The code of an exchange: empty without an answer, `unknown` where the answer moved but its code was not captured.
    pub(super) fn code(&mut self, traits: &Traits, exchange: &Exchange) -> Symbol {
        let code = &exchange.code;
        if !code.is_empty() {
            if !(traits.is_code)(code.as_bytes()) {
                return self.other.clone();
            }
            let code = values::code(traits.server_metric, code.as_str());
            return kept(&mut self.codes, code, &self.other);
        }
        if is_unread(exchange) && !is_silent(exchange) { self.unknown.clone() } else { self.none.clone() }
    }
}

/// No answer came.
pub(super) fn is_silent(exchange: &Exchange) -> bool {
    exchange.no_answer.is_some_and(|why| !matches!(why, NoAnswer::Lost | NoAnswer::Shutdown))
}

/// An answer was due, and nobody read how it went.
pub(super) fn is_unread(exchange: &Exchange) -> bool {
    exchange.status == Status::Unknown && !exchange.one_way
}

/// The symbol of `text`, `_OTHER` when there is no room.
fn kept(symbols: &mut Interner, text: &str, other: &Symbol) -> Symbol {
    let symbol = symbols.intern(text);
    if symbol.key() == symbols.overflow().key() { other.clone() } else { symbol }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converge::rules::HTTP_METHODS;

    fn names() -> Words {
        Words::new(&HTTP_METHODS.iter().map(|&method| method.into()).collect::<Vec<_>>())
    }

    #[test]
    fn methods_outside_the_tables_are_other() {
        let mut names = names();
        for (protocol, method, expected) in [
            (Protocol::Http1, "GET", "GET"),
            (Protocol::Http1, "get", "_OTHER"),
            (Protocol::Http1, "BREW", "_OTHER"),
            (Protocol::Http1, "", "unknown"),
            (Protocol::Redis, "GET", "GET"),
            (Protocol::Redis, "hset", "HSET"),
            (Protocol::Redis, "CONFIG GET", "CONFIG GET"),
            (Protocol::Redis, "CONFIG ??", "CONFIG"),
            (Protocol::Redis, "config|set", "CONFIG|SET"),
            (Protocol::Redis, "get secret", "GET"),
            (Protocol::Redis, "GET secret", "GET"),
            (Protocol::Redis, "JSON.GET", "JSON.GET"),
            (Protocol::Redis, "EVIL.GET", "_OTHER"),
            (Protocol::Redis, "SECRET", "_OTHER"),
            (Protocol::Dns, "AAAA", "AAAA"),
            (Protocol::Dns, "TYPE65280", "_OTHER"),
        ] {
            assert_eq!(names.method(protocol.traits().unwrap(), &Token::from(method)).as_str(), expected, "{method}");
        }
    }

    #[test]
    fn the_table_leaves_room_for_subcommands_and_hostile_ones_stop_at_the_bound() {
        let mut names = names();
        let redis = Protocol::Redis.traits().unwrap();
        for n in 0..2 * limits::MAX_COMMANDS {
            names.method(redis, &Token::from(format!("CONFIG X{n}").as_str()));
        }
        assert_eq!(names.methods[Protocol::Redis as usize].len(), limits::MAX_COMMANDS);
        assert_eq!(names.method(redis, &Token::from("CONFIG LAST")).as_str(), "_OTHER");
        assert_eq!(names.method(redis, &Token::from("ZADD")).as_str(), "ZADD");
    }
}
