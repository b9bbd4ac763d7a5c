//! Every bound of the stages, in one place. `docs/limits.md` lists each with what happens, and what is counted, at it.

use crate::time::Nanos;

/// Connections that one shard follows at a time; the one idle longest makes room.
pub const MAX_CONNECTIONS: usize = 65_536;
/// A connection without an event for this long is forgotten (UDP and unix sockets have no close of their own).
pub const CONNECTION_IDLE: Nanos = Nanos::from_secs(900);
/// A connection that was reset is followed for this long: what was being sent meanwhile is recorded when that is over.
pub const RESET_LINGER: Nanos = Nanos::from_millis(100);
/// Bytes of a connection's prefix, in one direction, after which identification gives up.
pub const IDENTIFY_PREFIX: usize = 512;
/// Segments in one direction after which identification gives up.
pub const IDENTIFY_SEGMENTS: u32 = 16;
/// Prefixes kept at a time for identification, one shard; past that, only what one segment holds is looked at.
pub const IDENTIFY_PREFIXES: usize = 8_192;
/// A datagram socket on which nothing was known is silenced for this long, then looked at anew.
pub const IDENTIFY_ASLEEP: Nanos = Nanos::from_secs(10);
/// Datagram sockets silenced at a time, one shard; past that, the one silenced longest is looked at anew at once.
pub const IDENTIFY_SLEEPERS: usize = 16_384;
/// A verdict that the kernel seems to have forgotten is given again at most once in this time, each connection.
pub const VERDICT_AGAIN: Nanos = Nanos::SECOND;
/// What the governor's first step leaves of an answer, as a power of two of bytes.
pub const GOVERNED_ANSWER: u8 = 9;
/// Bytes of an unfinished message that parse keeps for one direction of one connection.
pub const PARSE_BUFFER: usize = 16 * 1024;
/// Bytes of unfinished messages that parse keeps in all.
pub const PARSE_BUFFERS_TOTAL: usize = 32 * 1024 * 1024;
/// An answer that could not be followed to its end (its framing was not captured) is taken to be over when neither side has
/// spoken for this long, if no request ended it before.
pub const PARSE_QUIET: Nanos = Nanos::SECOND;
/// Unanswered requests held for one connection.
pub const MAX_PENDING_PER_CONNECTION: usize = 4_096;
/// Unanswered requests held in all, one shard.
pub const MAX_PENDING: usize = 262_144;
/// Of these, requests that may block (and those in line behind them); past that, they time out like others.
pub const MAX_PENDING_BLOCKING: usize = 65_536;
/// A request without an answer for this long is reported as timed out (the default; configurable).
pub const REQUEST_TIMEOUT: Nanos = Nanos::from_secs(30);
/// Longest target that is kept, bytes; a longer one is cut on a character boundary.
pub const MAX_TARGET: usize = 1_024;
/// Longest method, status code or other token that is kept, bytes.
pub const MAX_TOKEN: usize = 64;
/// Addresses kept of one DNS answer.
pub const MAX_ANSWERS: usize = 16;
/// Longest text of a symbol (label value), bytes.
pub const MAX_SYMBOL: usize = 256;
/// Symbols in one interner; past that, everything new is the overflow symbol.
pub const MAX_SYMBOLS: usize = 65_536;
/// Services for which converge learns routes apart; further ones share one route table. One idle for an hour is forgotten.
pub const MAX_ROUTED_SERVICES: usize = 1_024;
/// Nodes in the route table of one service; past that, what is new is the overflow endpoint.
pub const MAX_ROUTE_NODES: usize = 4_096;
/// Nodes in the route tables of all services of a shard.
pub const MAX_ROUTE_NODES_TOTAL: usize = 65_536;
/// Path segments that a route tells apart; what follows becomes `**`.
pub const MAX_ROUTE_SEGMENTS: usize = 16;
/// Longest path segment that keeps its name in a route, bytes; a longer one becomes `{var}`.
pub const MAX_ROUTE_SEGMENT: usize = 64;
/// Distinct names at one place of a route (the default; configurable up to `MAX_ROUTE_LEARNED`); past that, `{var}`.
pub const ROUTE_LEARNED: usize = 20;
/// The most that the above can be configured to.
pub const MAX_ROUTE_LEARNED: usize = 256;
/// Paths whose route is remembered, one shard.
pub const ROUTE_CACHE: usize = 8_192;
/// Exchanges (by method, path, code and service) whose names are remembered, one shard.
pub const NAMES_CACHE: usize = 8_192;
/// Sets of names that converge makes once, one shard; the ones not used for longest are made again.
pub const MAX_NAMES: usize = 32_768;
/// Codes (status codes, error names), one shard; past that, `_OTHER`.
pub const MAX_CODES: usize = 512;
/// Commands, one shard (the known ones are there from the start); past that, `_OTHER`.
pub const MAX_COMMANDS: usize = 1_024;
/// Exchanges that join holds back until their process or peer is known; the oldest goes on without when it is full.
pub const MAX_JOIN_HELD: usize = 4_096;
/// Longest time that join holds an exchange back (the default; configurable).
pub const JOIN_HOLD: Nanos = Nanos::from_millis(250);
/// Processes that join knows; the ones not seen for longest are forgotten.
pub const MAX_PROCESSES: usize = 16_384;
/// Thread names of one process that lead to a new look-up; further ones are taken for the same process.
pub const MAX_PROCESS_COMMS: usize = 16;
/// Identities that join numbers; further ones have the number 0.
pub const MAX_IDENTITIES: usize = 16_384;
/// Look-ups of processes that wait to be fetched; past that, asked again with the next exchange.
pub const MAX_WANTED: usize = 4_096;
/// Addresses with a name from DNS answers; the ones not used for longest are forgotten.
pub const MAX_DNS_NAMES: usize = 16_384;
/// Addresses with a name from other sources, listening endpoints and own addresses, each.
pub const MAX_TOLD_NAMES: usize = 16_384;
/// Connections and endpoints of this host for which join remembers who is at both ends, each.
///
/// Two generations of 28,672: what a table of 32,768 buckets holds. One more, and each is twice as large.
pub const MAX_PEERS: usize = 57_344;
/// Pairs of a service and its other end that join makes once; the ones not used for longest are made again.
pub const MAX_PARTIES: usize = 16_384;
/// Exchanges (by names, parties and fault) whose series and edge aggregate remembers, one shard.
pub const PLACES_CACHE: usize = 8_192;
/// Edges of the service graph, one shard; past that, the overflow edge.
pub const MAX_EDGES: usize = 16_384;
/// Overflow series of single services; past that, one overflow series a metric.
pub const MAX_OVERFLOW_SERIES: usize = 1_024;
/// A series that gained nothing for this long leaves the table of aggregate (and is made again when it does).
pub const SERIES_IDLE: Nanos = Nanos::from_secs(900);
/// Series of one service (the default; configurable); past that, the overflow series.
pub const SERIES_PER_SERVICE: usize = 500;
/// Series in all, one shard.
pub const MAX_SERIES: usize = 100_000;
/// Longest summary of a query, bytes (OpenTelemetry: 255 characters); cut between words.
pub const SQL_SUMMARY: usize = 255;
/// Names introduced by the WITHs of a query that are told from tables.
pub const SQL_WITHS: usize = 8;
/// Databases of one service that are told apart; past that, the overflow symbol.
pub const DATABASES_PER_SERVICE: usize = 256;
