//! Names of calls: which trace, which span, below which other, and how that is known.

use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::trace::{SpanId, TraceFormat, TraceId};
use redtap_stages::time::Nanos;

/// How it is known what a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// It is not: the call is the first of its trace, as far as anybody can tell.
    None,
    /// The request said so.
    Said(TraceFormat),
    /// Inferred: the thread that made the call was answering one request.
    Thread,
    /// Both ends of the connection were seen.
    Socket,
}

impl Link {
    /// As records have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Said(format) => format.name(),
            Self::Thread => "thread",
            Self::Socket => "socket",
        }
    }
}

/// What a call is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The trace that it is part of.
    pub trace: TraceId,
    /// The call itself.
    pub span: SpanId,
    /// What caused it; `None`: nothing known.
    pub parent: Option<SpanId>,
    /// How that is known.
    pub link: Link,
}

/// Makes names. The same exchange of the same agent always gets the same one, so a name can be said before the call is over.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    seed: u64,
}

impl Names {
    /// Of an agent that started then (nanoseconds since the epoch): two starts do not share names.
    #[must_use]
    pub fn new(started: Nanos) -> Self {
        Self { seed: mixed(started.0 ^ 0x7265_6474_6170) }
    }

    /// The span of an exchange: from the number of its connection and its own on that.
    #[must_use]
    pub fn span(self, exchange: &Exchange) -> SpanId {
        self.numbered(exchange.conn.id, exchange.number)
    }

    /// The span of exchange `number` of a connection.
    #[must_use]
    pub fn numbered(self, conn: u64, number: u32) -> SpanId {
        let name = mixed(self.seed ^ mixed(conn.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number)));
        // Never zero; one in 2^64 shares a name.
        SpanId::new(name).unwrap_or(SpanId::ONE)
    }

    /// The trace that begins with a span.
    #[must_use]
    pub fn trace(self, first: SpanId) -> TraceId {
        let high = mixed(self.seed.rotate_left(32) ^ first.get());
        let id = u128::from(high) << 64 | u128::from(first.get());
        // The lower half is never zero.
        TraceId::new(id).unwrap_or(TraceId::ONE)
    }
}

/// A bijection of 64 bits whose every bit depends on all (the finalizer of `SplitMix64`).
fn mixed(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_differ_by_connection_number_and_start_and_stay_the_same() {
        let (one, other) = (Names::new(Nanos(1)), Names::new(Nanos(2)));
        let mut seen = HashSet::new();
        for names in [one, other] {
            for conn in 1..50 {
                for number in 1..50 {
                    assert!(seen.insert(names.numbered(conn, number)));
                    assert_eq!(names.numbered(conn, number), names.numbered(conn, number));
                }
            }
        }
        let span = one.numbered(1, 1);
        assert_ne!(one.trace(span), other.trace(span));
    }
}
