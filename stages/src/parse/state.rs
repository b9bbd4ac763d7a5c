//! The parser of one connection: a closed list, so that dispatch is a jump and not a pointer.

use crate::flow::conn::{About, ConnKey, Direction, What};
use crate::flow::message::Message;
use crate::protocols::dns::Dns;
use crate::protocols::http1::Http1;
use crate::protocols::http2::Http2;
use crate::protocols::kafka::Kafka;
use crate::protocols::mysql::Mysql;
use crate::protocols::postgres::Postgres;
use crate::protocols::redis::Redis;
use crate::protocols::{Context, Input, Protocol, Sink, Step, Wire};
use crate::time::Nanos;

/// What waits for the protocol to be known: the bytes are in the lane's `carry`.
#[derive(Default)]
pub(super) struct Held {
    pub(super) segments: u64,
    pub(super) turn: u32,
    pub(super) tid: u32,
    pub(super) turn_start: bool,
    pub(super) last: Nanos,
    pub(super) gap: u64,
    pub(super) end: bool,
}

macro_rules! states {
    ($($name:ident in $place:ident),* $(,)?) => {
        /// What the parser of a connection remembers, by protocol.
        pub(super) enum State {
            /// The protocol is not known: what waits for that, by direction.
            Unknown([Held; 2]),
            $($name($place<<$name as Wire>::State>)),*
        }

        impl State {
            /// One of which the protocol is not known, and for which nothing waits.
            pub(super) fn unknown() -> Self {
                Self::Unknown(Default::default())
            }

            /// A fresh one.
            pub(super) fn of(protocol: Protocol) -> Self {
                match protocol {
                    $(<$name as Wire>::PROTOCOL => Self::$name(Default::default()),)*
                    _ => Self::unknown(),
                }
            }

            /// One that goes on where another protocol has handed over.
            pub(super) fn following(protocol: Protocol) -> Self {
                let mut fresh = Self::of(protocol);
                match &mut fresh {
                    Self::Unknown(_) => {}
                    $(Self::$name(state) => <$name as Wire>::follow(state)),*
                }
                fresh
            }

            pub(super) fn protocol(&self) -> Protocol {
                match self {
                    Self::Unknown(_) => Protocol::Unknown,
                    $(Self::$name(_) => <$name as Wire>::PROTOCOL),*
                }
            }

            pub(super) fn enough(&self) -> Option<u8> {
                match self {
                    Self::Unknown(_) => None,
                    $(Self::$name(state) => <$name as Wire>::enough(state)),*
                }
            }

            pub(super) fn turn(&mut self, context: Context, sink: &mut Collect<'_>) {
                match self {
                    Self::Unknown(_) => {}
                    $(Self::$name(state) => <$name as Wire>::turn(state, context, sink)),*
                }
            }

            pub(super) fn parse(&mut self, context: Context, input: Input<'_>, sink: &mut Collect<'_>) -> Step {
                match self {
                    Self::Unknown(_) => Step::Lost,
                    $(Self::$name(state) => <$name as Wire>::parse(state, context, input, sink)),*
                }
            }

            pub(super) fn lost(&mut self, context: Context, sink: &mut Collect<'_>) {
                match self {
                    Self::Unknown(_) => {}
                    $(Self::$name(state) => <$name as Wire>::lost(state, context, sink)),*
                }
            }

            pub(super) fn missed(&mut self, context: Context, sink: &mut Collect<'_>) {
                match self {
                    Self::Unknown(_) => {}
                    $(Self::$name(state) => <$name as Wire>::missed(state, context, sink)),*
                }
            }

            pub(super) fn end(&mut self, context: Context, sink: &mut Collect<'_>) {
                match self {
                    Self::Unknown(_) => {}
                    $(Self::$name(state) => <$name as Wire>::end(state, context, sink)),*
                }
            }
        }
    };
}

/// In its connection.
type Line<T> = T;

// A connection takes the room of the largest that is not in a box. HTTP/1 is spoken on most of many connections, and is small: one
// look less for each event.
states!(Http1 in Line, Redis in Box, Dns in Box, Http2 in Box, Kafka in Line, Mysql in Box, Postgres in Box);

/// Puts messages in their place in the batch.
pub(super) struct Collect<'a> {
    pub(super) items: &'a mut Vec<About<Message>>,
    pub(super) conn: ConnKey,
    pub(super) at: Nanos,
    /// The protocol that is parsed.
    pub(super) carrier: Protocol,
    /// Who moved the input, and which way: what is said of the other way is inferred.
    pub(super) mover: (u32, Direction),
}

impl Sink for Collect<'_> {
    fn message(&mut self, mut message: Message) {
        if message.protocol.carrier() != message.protocol {
            message.carrier = self.carrier;
        }
        let (tid, direction) = self.mover;
        if message.direction == direction {
            message.tid = tid;
        }
        self.items.push(About { conn: self.conn, at: self.at, what: What::Item(message) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_has_its_parser() {
        for &protocol in Protocol::ALL.iter().filter(|protocol| protocol.carrier() == **protocol) {
            assert_eq!(State::of(protocol).protocol(), protocol, "missing in the list above");
        }
    }
}
