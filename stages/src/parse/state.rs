//! The parser of one connection: a closed list, so that dispatch is a jump and not a pointer.

use crate::flow::conn::{About, ConnKey, What};
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

macro_rules! states {
    ($($name:ident),* $(,)?) => {
        /// What the parser of a connection remembers, by protocol.
        #[derive(Default)]
        pub(super) enum State {
            /// The protocol is not known.
            #[default]
            Unknown,
            $($name(<$name as Wire>::State)),*
        }

        impl State {
            /// A fresh one.
            pub(super) fn of(protocol: Protocol) -> Self {
                match protocol {
                    $(<$name as Wire>::PROTOCOL => Self::$name(Default::default()),)*
                    _ => Self::Unknown,
                }
            }

            /// One that goes on where another protocol has handed over.
            pub(super) fn following(protocol: Protocol) -> Self {
                let mut fresh = Self::of(protocol);
                match &mut fresh {
                    Self::Unknown => {}
                    $(Self::$name(state) => <$name as Wire>::follow(state)),*
                }
                fresh
            }

            pub(super) fn protocol(&self) -> Protocol {
                match self {
                    Self::Unknown => Protocol::Unknown,
                    $(Self::$name(_) => <$name as Wire>::PROTOCOL),*
                }
            }

            pub(super) fn enough(&self) -> Option<u8> {
                match self {
                    Self::Unknown => None,
                    $(Self::$name(state) => <$name as Wire>::enough(state)),*
                }
            }

            pub(super) fn turn(&mut self, context: Context, sink: &mut Collect<'_>) {
                match self {
                    Self::Unknown => {}
                    $(Self::$name(state) => <$name as Wire>::turn(state, context, sink)),*
                }
            }

            pub(super) fn parse(&mut self, context: Context, input: Input<'_>, sink: &mut Collect<'_>) -> Step {
                match self {
                    Self::Unknown => Step::Lost,
                    $(Self::$name(state) => <$name as Wire>::parse(state, context, input, sink)),*
                }
            }

            pub(super) fn lost(&mut self, context: Context, sink: &mut Collect<'_>) {
                match self {
                    Self::Unknown => {}
                    $(Self::$name(state) => <$name as Wire>::lost(state, context, sink)),*
                }
            }

            pub(super) fn missed(&mut self, context: Context, sink: &mut Collect<'_>) {
                match self {
                    Self::Unknown => {}
                    $(Self::$name(state) => <$name as Wire>::missed(state, context, sink)),*
                }
            }

            pub(super) fn end(&mut self, context: Context, sink: &mut Collect<'_>) {
                match self {
                    Self::Unknown => {}
                    $(Self::$name(state) => <$name as Wire>::end(state, context, sink)),*
                }
            }
        }
    };
}

states!(Http1, Redis, Dns, Http2, Kafka, Mysql, Postgres);

/// Puts messages in their place in the batch.
pub(super) struct Collect<'a> {
    pub(super) items: &'a mut Vec<About<Message>>,
    pub(super) conn: ConnKey,
    pub(super) at: Nanos,
    /// The protocol that is parsed.
    pub(super) carrier: Protocol,
}

impl Sink for Collect<'_> {
    fn message(&mut self, mut message: Message) {
        if message.protocol.carrier() != message.protocol {
            message.carrier = self.carrier;
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
