//! Every bound of the stages, in one place. `docs/limits.md` lists each with what happens, and what is counted, at it.

use crate::time::Nanos;

/// Connections that one shard follows at a time; the one idle longest makes room.
pub const MAX_CONNECTIONS: usize = 65_536;
/// A connection without an event for this long is forgotten (UDP and unix sockets have no close of their own).
pub const CONNECTION_IDLE: Nanos = Nanos::from_secs(900);
/// Bytes of a connection's prefix, in one direction, after which identification gives up.
pub const IDENTIFY_PREFIX: usize = 512;
/// Segments in one direction after which identification gives up.
pub const IDENTIFY_SEGMENTS: u32 = 16;
/// Prefixes kept at a time for identification, one shard; past that, only what one segment holds is looked at.
pub const IDENTIFY_PREFIXES: usize = 8_192;
/// Bytes of an unfinished message that parse keeps for one direction of one connection.
pub const PARSE_BUFFER: usize = 16 * 1024;
/// Bytes of unfinished messages that parse keeps in all.
pub const PARSE_BUFFERS_TOTAL: usize = 32 * 1024 * 1024;
/// Unanswered requests held for one connection.
pub const MAX_PENDING_PER_CONNECTION: usize = 4_096;
/// Unanswered requests held in all, one shard.
pub const MAX_PENDING: usize = 262_144;
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
/// Series of one service (the default; configurable); past that, the overflow series.
pub const SERIES_PER_SERVICE: usize = 500;
/// Series in all, one shard.
pub const MAX_SERIES: usize = 100_000;
