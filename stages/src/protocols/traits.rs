//! What the stages want to know of a protocol besides its bytes: one [`Traits`] a protocol, in its own room.
//!
//! A stage that treats protocols differently reads it here, and names none of them. Each field says which stage reads it.
//! Absent: anything that depends on a connection or on bytes; that is [`super::Wire`].

use super::{Budget, Pairing, Probe, ProbeContext, Protocol};
use crate::metric::Metric;
pub use crate::sql::Dialect;
use crate::text::{Text, Token};

/// The facts about one protocol.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// Which one.
    pub protocol: Protocol,
    /// Spoken inside of another, whose parser reads it and says which of the two a message is; it is identified by no probe of
    /// its own, and has no parser.
    pub over: Option<Over>,
    /// Its name in records, labels and the configuration: lower case, and no other's.
    pub name: &'static str,

    /// Identify: [`super::Wire::probe`].
    pub probe: fn(&[u8], ProbeContext) -> Probe,
    /// Identify: the ports at which its servers usually listen. They break ties, and nothing else.
    pub ports: &'static [u16],
    /// Identify and parse: what is worth capturing of each turn.
    pub budget: Budget,
    /// Parse: which budget grows on a connection that needs more.
    pub growth: Growth,

    /// Pair: how answers find their requests.
    pub pairing: Pairing,
    /// Pair: how long an answer is waited for.
    pub patience: Patience,
    /// Pair: a client may send a request while an answer is due (pipelines, connections that many share). If not, a request
    /// behind one that timed out shows that the answer to that one went by unread.
    pub asks_again_unanswered: bool,
    /// Pair: an answer that no request waits for shows that a request went by unread. Not where the parser itself makes up
    /// for such requests, and not where answers come unasked or twice.
    pub orphans_tell: bool,

    /// Converge: which methods are reported by name.
    pub methods: Methods,
    /// Converge: does this look like one of its codes? What does not is `_OTHER`.
    pub is_code: fn(&[u8]) -> bool,
    /// Converge: what the endpoint is made from.
    pub endpoint: Endpoint,

    /// Aggregate: what an exchange is counted in where the watched process answered.
    pub server_metric: Metric,
    /// Aggregate: the same where it asked.
    pub client_metric: Metric,
    /// Aggregate: the product, for metrics shared by many (`db.system.name`).
    pub system: Option<&'static str>,
    /// Aggregate: what it is in the service graph.
    pub edge: EdgeKind,
    /// Aggregate: of the codes that are errors to a client, which are the server's fault?
    pub is_server_error: fn(&[u8]) -> bool,
}

/// What a protocol is to the one that it is spoken inside of.
#[derive(Debug, Clone, Copy)]
pub struct Over {
    /// That one.
    pub carrier: Protocol,
    /// Pair: an answer may show what its request did not. Makes method and target, as the carrier's request has them, those of
    /// a request of this protocol.
    pub renamed: fn(&mut Token, &mut Text),
}

/// Which budget grows, up to [`Budget::MAX`], and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// None: what is cut is not needed.
    Never,
    /// That of requests, doubled when it cuts several turns in a row: a turn may be a pipeline of many.
    Requests,
    /// That of responses, to the end at once, when a turn asks more than once: it will be answered as often.
    Responses,
}

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// [`crate::pair::PairSettings::timeout`].
    Usual,
    /// [`crate::pair::PairSettings::dns_timeout`]: its clients give up within seconds.
    Short,
}

/// Which methods are reported by name. All others are `_OTHER`, so that nonsense makes no series.
#[derive(Debug, Clone, Copy)]
pub enum Methods {
    /// Those that the configuration names ([`crate::converge::ConvergeRules::methods`]), as written.
    Configured,
    /// Those of a table.
    Table {
        /// They, between white space; at most [`crate::limits::MAX_COMMANDS`].
        words: &'static str,
        /// What becomes of one that is not in the table as it was sent.
        unlisted: fn(&str) -> Unlisted,
    },
}

/// What becomes of a method that is not in the table as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlisted {
    /// It is `_OTHER`.
    Other,
    /// It goes by this name if that is in the table.
    Known(Token),
    /// It goes by this name while there is room ([`crate::limits::MAX_COMMANDS`]).
    Kept(Token),
}

/// What the endpoint of an exchange is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// The path in the target, as a route template.
    Route,
    /// The method: the target never shows.
    Method,
    /// The last labels of the domain name that is the target; by configuration.
    Suffix,
    /// The statement that is the target, summarised: what it does to which tables, and no literal.
    Query(Dialect),
    /// The target as it is: a name from a closed world (a remote procedure, a topic), within the budget of the service.
    Target,
}

/// What an exchange is in the service graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EdgeKind {
    /// Nothing.
    None,
    /// A call of one service by another.
    Call,
    /// A call of a database.
    Database,
    /// A call of a message broker.
    Messaging,
}

/// The longest error name, bytes.
pub const MAX_WORD: usize = 32;

/// An error name or the like: letters, digits, `_` and `-`, beginning with a letter or digit, at most [`MAX_WORD`].
#[must_use]
pub fn is_word(text: &[u8]) -> bool {
    text.len() <= MAX_WORD
        && text.first().is_some_and(u8::is_ascii_alphanumeric)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::metric::{Kind, Source};
    use std::collections::HashSet;

    fn all() -> impl Iterator<Item = &'static Traits> {
        Protocol::ALL.iter().map(|protocol| protocol.traits().expect("every protocol of the list has an entry"))
    }

    #[test]
    fn every_protocol_has_an_entry_of_its_own() {
        let mut names = HashSet::from([Protocol::Unknown.name(), Protocol::Foreign.name()]);
        for (traits, &protocol) in all().zip(Protocol::ALL) {
            assert_eq!(traits.protocol, protocol, "{}", traits.name);
            assert!(names.insert(traits.name), "{} is another's name", traits.name);
            assert!(
                !traits.name.is_empty()
                    && traits.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            );
            assert_eq!(traits.ports.is_empty(), traits.over.is_some(), "{}", traits.name);
        }
        assert!(Protocol::Unknown.traits().is_none() && Protocol::Foreign.traits().is_none());
    }

    #[test]
    fn budgets_can_be_asked_for() {
        for Traits { name, budget, .. } in all() {
            for class in [budget.requests, budget.responses] {
                assert!((1..=Budget::MAX).contains(&class), "{name}");
            }
        }
    }

    #[test]
    fn tables_of_methods_leave_room_for_what_is_kept() {
        for traits in all() {
            let Methods::Table { words, unlisted } = traits.methods else { continue };
            let words: Vec<_> = words.split_ascii_whitespace().collect();
            assert!(!words.is_empty() && words.len() <= limits::MAX_COMMANDS / 2, "{}", traits.name);
            assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len(), "{}", traits.name);
            for word in words {
                assert!(word.len() <= limits::MAX_TOKEN, "{word}");
                let other = unlisted(word);
                assert!(other == Unlisted::Other || other == Unlisted::Known(word.into()), "{word} goes by {other:?}");
            }
            assert!(!matches!(unlisted("\u{1}no method"), Unlisted::Kept(_)), "{}", traits.name);
        }
    }

    #[test]
    fn metrics_show_what_the_protocol_has() {
        for traits in all() {
            assert_ne!(traits.server_metric, traits.client_metric, "{}", traits.name);
            for metric in [traits.server_metric, traits.client_metric] {
                let entry = metric.entry();
                assert!(matches!(entry.kind, Kind::Histogram(_)), "{}", entry.otel);
                assert!(
                    (entry.has(Source::Method) || entry.has(Source::Endpoint))
                        && entry.has(Source::Code)
                        && entry.has(Source::Fault),
                    "{}",
                    entry.otel
                );
                assert_eq!(entry.has(Source::System), traits.system.is_some(), "{} {}", traits.name, entry.otel);
                let own = !matches!(traits.endpoint, Endpoint::Method | Endpoint::Query(_));
                assert_eq!(entry.has(Source::Endpoint), own, "{} {}", traits.name, entry.otel);
            }
        }
    }

    #[test]
    fn error_names_are_words_and_sentences_are_not() {
        assert!(is_word(b"WRONGTYPE") && is_word(b"BADVERS-2") && is_word(b"7"));
        assert!(!is_word(b"") && !is_word(b"-ERR") && !is_word(b"ERR value") && !is_word(&[b'a'; MAX_WORD + 1]));
    }
}
