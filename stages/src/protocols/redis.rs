//! Protocol `redis`.

use super::{Context, Input, Malformed, Probe, ProbeContext, Protocol, Sink, Step, Wire};

/// The protocol.
#[derive(Debug)]
pub struct Redis;

/// What is remembered of a connection.
#[derive(Debug, Default)]
pub struct State {}

impl Wire for Redis {
    const PROTOCOL: Protocol = Protocol::Redis;
    type State = State;

    fn probe(_prefix: &[u8], _context: ProbeContext) -> Probe {
        Probe::NoMatch
    }

    fn turn(_state: &mut State, _context: Context, _sink: &mut dyn Sink) {}

    fn parse(_state: &mut State, _context: Context, _input: Input<'_>, _sink: &mut dyn Sink) -> Step {
        Step::Malformed(Malformed { field: "message", kind: "not read yet" })
    }

    fn lost(_state: &mut State, _context: Context, _sink: &mut dyn Sink) {}

    fn end(_state: &mut State, _context: Context, _sink: &mut dyn Sink) {}
}
