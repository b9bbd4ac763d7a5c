//! Commands: which argument is the first key, and what a command changes about the replies that follow.
//!
//! Where the keys of a command stand follows its key specification in `COMMAND DOCS`. What is not listed here as an exception has
//! its first key in argument 1.

use super::line::{count, whole_characters};
use crate::limits::{MAX_TARGET, MAX_TOKEN};
use crate::text::{Text, Token};

/// Bytes of an argument that are enough to know a subcommand or a number of keys.
const MAX_WORD: usize = 16;

/// Where the first key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// Nowhere.
    Absent,
    /// In that argument.
    At(u64),
    /// In the argument behind that one, which holds the number of keys.
    Counted(u64),
    /// Behind the word STREAMS.
    AfterStreams,
}

/// What a command does to the replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// One reply.
    Plain,
    /// Confirmations, and pushed messages from then on.
    Subscribe,
    /// Confirmations.
    Unsubscribe,
    /// One reply, then every command of everyone.
    Monitor,
    /// One reply, then the replication stream.
    Replicate,
    /// One reply, and everything as on a new connection.
    Reset,
    /// `CLIENT REPLY ON`.
    RepliesOn,
    /// `CLIENT REPLY OFF`.
    RepliesOff,
    /// `CLIENT REPLY SKIP`.
    SkipOne,
}

/// How much of an argument must be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Its beginning, at once: that many bytes, or all if it is shorter.
    Word(usize),
    /// Piece by piece, up to [`MAX_TARGET`].
    Key,
}

/// A command as its arguments arrive.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) method: Token,
    pub(super) target: Text,
    pub(super) effect: Effect,
    /// The reply may wait for what others do.
    pub(super) may_block: bool,
    key: Key,
    next: u64,
    reply_word: bool,
}

impl Command {
    pub(super) fn new() -> Self {
        Self {
            method: Token::new(),
            target: Text::new(),
            effect: Effect::Plain,
            may_block: false,
            key: Key::Absent,
            next: 0,
            reply_word: false,
        }
    }

    /// What must be seen of argument `index` (0: the command itself).
    pub(super) fn need(&self, index: u64) -> Need {
        if index == 0 {
            return Need::Word(MAX_TOKEN);
        }
        match self.key {
            Key::At(at) if at == index => Need::Key,
            Key::Counted(at) if at == index => Need::Word(MAX_WORD),
            Key::AfterStreams => Need::Word(MAX_WORD),
            _ if self.is_client() && (index == 1 || (index == 2 && self.reply_word)) => Need::Word(MAX_WORD),
            _ => Need::Nothing,
        }
    }

    /// True when argument `next` and what follows can tell nothing new.
    pub(super) fn settled(&self) -> bool {
        self.next > 0
            && match self.key {
                Key::At(at) | Key::Counted(at) => self.next > at,
                Key::AfterStreams => false,
                Key::Absent => !self.is_client() || self.next > if self.reply_word { 2 } else { 1 },
            }
    }

    /// A word that was needed.
    pub(super) fn word(&mut self, index: u64, bytes: &[u8]) {
        if index == 0 {
            self.method = Token::from_wire_upper(bytes);
            (self.key, self.effect) = shape(self.method.as_bytes());
            let method = self.method.as_bytes();
            // All of them begin with one of these.
            self.may_block = matches!(method, [b'B' | b'W', ..]) && BLOCKING.contains(&method);
            return;
        }
        match self.key {
            Key::Counted(at) if at == index => {
                self.key = match count(bytes) {
                    Some(Some(1..)) => Key::At(index + 1),
                    _ => Key::Absent,
                };
            }
            Key::AfterStreams if bytes.eq_ignore_ascii_case(b"STREAMS") => self.key = Key::At(index + 1),
            Key::AfterStreams => self.may_block |= bytes.eq_ignore_ascii_case(b"BLOCK"),
            _ if self.is_client() && index == 1 => self.reply_word = bytes.eq_ignore_ascii_case(b"REPLY"),
            _ if self.reply_word && index == 2 => {
                self.effect = match bytes {
                    word if word.eq_ignore_ascii_case(b"ON") => Effect::RepliesOn,
                    word if word.eq_ignore_ascii_case(b"OFF") => Effect::RepliesOff,
                    word if word.eq_ignore_ascii_case(b"SKIP") => Effect::SkipOne,
                    _ => Effect::Plain,
                };
            }
            _ => {}
        }
    }

    /// A piece of the key, of which `before` bytes are known and `after` are still to come. Gives how many bytes it took; 0: it
    /// needs more at once.
    pub(super) fn key_piece(&mut self, piece: &[u8], before: u64, after: u64) -> usize {
        let room = usize::try_from(before).map_or(0, |before| MAX_TARGET.saturating_sub(before));
        if room == 0 {
            return piece.len();
        }
        let whole = piece.len() >= room || after == 0;
        let piece = piece.get(..room).unwrap_or(piece);
        let len = if whole { piece.len() } else { whole_characters(piece) };
        self.target.push_wire(piece.get(..len).unwrap_or(piece));
        len
    }

    /// Argument `index` is over.
    pub(super) fn passed(&mut self, index: u64) {
        self.next = index + 1;
    }

    fn is_client(&self) -> bool {
        self.method == "CLIENT"
    }
}

/// Key position and effect of a command in upper case.
fn shape(method: &[u8]) -> (Key, Effect) {
    let usual = (Key::At(1), Effect::Plain);
    if !may_be_special(method) {
        return usual;
    }
    let name = packed(method);
    let found = SORTED.binary_search_by(|(special, ..)| special.cmp(&name)).ok().and_then(|at| SORTED.get(at));
    found.map_or(usual, |(_, key, effect)| (*key, *effect))
}

/// The exceptions that do more than to hold no key.
const SHAPES: &[(&[u8], Key, Effect)] = &[
    (b"SUBSCRIBE", Key::Absent, Effect::Subscribe),
    (b"PSUBSCRIBE", Key::Absent, Effect::Subscribe),
    (b"SSUBSCRIBE", Key::Absent, Effect::Subscribe),
    (b"UNSUBSCRIBE", Key::Absent, Effect::Unsubscribe),
    (b"PUNSUBSCRIBE", Key::Absent, Effect::Unsubscribe),
    (b"SUNSUBSCRIBE", Key::Absent, Effect::Unsubscribe),
    (b"RESET", Key::Absent, Effect::Reset),
    (b"MONITOR", Key::Absent, Effect::Monitor),
    (b"SYNC", Key::Absent, Effect::Replicate),
    (b"PSYNC", Key::Absent, Effect::Replicate),
    (b"OBJECT", Key::At(2), Effect::Plain),
    (b"XGROUP", Key::At(2), Effect::Plain),
    (b"XINFO", Key::At(2), Effect::Plain),
    (b"MEMORY", Key::At(2), Effect::Plain),
    (b"BITOP", Key::At(2), Effect::Plain),
    (b"ZUNION", Key::At(2), Effect::Plain),
    (b"ZINTER", Key::At(2), Effect::Plain),
    (b"ZDIFF", Key::At(2), Effect::Plain),
    (b"ZINTERCARD", Key::At(2), Effect::Plain),
    (b"SINTERCARD", Key::At(2), Effect::Plain),
    (b"LMPOP", Key::At(2), Effect::Plain),
    (b"ZMPOP", Key::At(2), Effect::Plain),
    (b"MIGRATE", Key::At(3), Effect::Plain),
    (b"EVAL", Key::Counted(2), Effect::Plain),
    (b"EVALSHA", Key::Counted(2), Effect::Plain),
    (b"EVAL_RO", Key::Counted(2), Effect::Plain),
    (b"EVALSHA_RO", Key::Counted(2), Effect::Plain),
    (b"FCALL", Key::Counted(2), Effect::Plain),
    (b"FCALL_RO", Key::Counted(2), Effect::Plain),
    (b"BLMPOP", Key::Counted(2), Effect::Plain),
    (b"BZMPOP", Key::Counted(2), Effect::Plain),
    (b"XREAD", Key::AfterStreams, Effect::Plain),
    (b"XREADGROUP", Key::AfterStreams, Effect::Plain),
];

/// All exceptions, by their names as numbers.
static SORTED: [(u128, Key, Effect); SHAPES.len() + KEYLESS.len()] = sorted();

/// By first letter: a bit for each length that some exception with it has.
static LENGTHS: [u32; 26] = lengths();

/// False for most commands: they are no exceptions, and need not be searched for.
fn may_be_special(method: &[u8]) -> bool {
    let Some(first) = method.first() else { return false };
    let lengths = LENGTHS.get(usize::from(first.wrapping_sub(b'A'))).copied().unwrap_or(0);
    u32::try_from(method.len()).is_ok_and(|len| lengths.checked_shr(len).unwrap_or(0) & 1 == 1)
}

/// A name of at most 16 bytes as a number; of a longer one, its beginning.
#[expect(clippy::indexing_slicing, reason = "within both bounds; also evaluated at compile time")]
const fn packed(name: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let mut at = 0;
    while at < name.len() && at < bytes.len() {
        bytes[at] = name[at];
        at += 1;
    }
    u128::from_be_bytes(bytes)
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn sorted() -> [(u128, Key, Effect); SHAPES.len() + KEYLESS.len()] {
    let mut all = [(0, Key::Absent, Effect::Plain); SHAPES.len() + KEYLESS.len()];
    let mut n = 0;
    while n < all.len() {
        let (name, key, effect) =
            if n < SHAPES.len() { SHAPES[n] } else { (KEYLESS[n - SHAPES.len()], Key::Absent, Effect::Plain) };
        assert!(name.len() <= 16);
        let new = (packed(name), key, effect);
        // Into its place among those that are there.
        let mut at = n;
        while at > 0 && all[at - 1].0 > new.0 {
            all[at] = all[at - 1];
            at -= 1;
        }
        all[at] = new;
        n += 1;
    }
    all
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn lengths() -> [u32; 26] {
    let mut lengths = [0; 26];
    let mut at = 0;
    while at < SHAPES.len() + KEYLESS.len() {
        let name = if at < SHAPES.len() { SHAPES[at].0 } else { KEYLESS[at - SHAPES.len()] };
        lengths[(name[0] - b'A') as usize] |= 1 << name.len();
        at += 1;
    }
    lengths
}

/// Commands that wait for what others do (`COMMAND LIST FILTERBY ACLCAT blocking`, and the two that wait for replicas). `XREAD` and `XREADGROUP` do so only with the word BLOCK.
const BLOCKING: &[&[u8]] = &[
    b"BLMOVE",
    b"BLMPOP",
    b"BLPOP",
    b"BRPOP",
    b"BRPOPLPUSH",
    b"BZMPOP",
    b"BZPOPMAX",
    b"BZPOPMIN",
    b"WAIT",
    b"WAITAOF",
];

/// Commands whose arguments hold no key (and some of which hold a password).
const KEYLESS: &[&[u8]] = &[
    b"ACL",
    b"ASKING",
    b"AUTH",
    b"BGREWRITEAOF",
    b"BGSAVE",
    b"CLIENT",
    b"CLUSTER",
    b"COMMAND",
    b"CONFIG",
    b"DBSIZE",
    b"DEBUG",
    b"DISCARD",
    b"ECHO",
    b"EXEC",
    b"FAILOVER",
    b"FLUSHALL",
    b"FLUSHDB",
    b"FUNCTION",
    b"HELLO",
    b"INFO",
    b"KEYS",
    b"LASTSAVE",
    b"LATENCY",
    b"LOLWUT",
    b"MODULE",
    b"MULTI",
    b"PING",
    b"PUBLISH",
    b"PUBSUB",
    b"QUIT",
    b"RANDOMKEY",
    b"READONLY",
    b"READWRITE",
    b"REPLCONF",
    b"REPLICAOF",
    b"ROLE",
    b"SAVE",
    b"SCAN",
    b"SCRIPT",
    b"SELECT",
    b"SENTINEL",
    b"SHUTDOWN",
    b"SLAVEOF",
    b"SLOWLOG",
    b"SPUBLISH",
    b"SWAPDB",
    b"TIME",
    b"UNWATCH",
    b"WAIT",
    b"WAITAOF",
];

/// Commands with keys, so that content alone tells a request from a reply that is an array.
const KEYED: &[&[u8]] = &[
    b"APPEND",
    b"BITCOUNT",
    b"BITFIELD",
    b"BITFIELD_RO",
    b"BITPOS",
    b"BLMOVE",
    b"BLPOP",
    b"BRPOP",
    b"BRPOPLPUSH",
    b"BZPOPMAX",
    b"BZPOPMIN",
    b"COPY",
    b"DECR",
    b"DECRBY",
    b"DEL",
    b"DUMP",
    b"EXISTS",
    b"EXPIRE",
    b"EXPIREAT",
    b"EXPIRETIME",
    b"GEOADD",
    b"GEODIST",
    b"GEOHASH",
    b"GEOPOS",
    b"GEORADIUS",
    b"GEORADIUSBYMEMBER",
    b"GEOSEARCH",
    b"GEOSEARCHSTORE",
    b"GET",
    b"GETBIT",
    b"GETDEL",
    b"GETEX",
    b"GETRANGE",
    b"GETSET",
    b"HDEL",
    b"HEXISTS",
    b"HEXPIRE",
    b"HGET",
    b"HGETALL",
    b"HINCRBY",
    b"HINCRBYFLOAT",
    b"HKEYS",
    b"HLEN",
    b"HMGET",
    b"HMSET",
    b"HRANDFIELD",
    b"HSCAN",
    b"HSET",
    b"HSETNX",
    b"HSTRLEN",
    b"HTTL",
    b"HVALS",
    b"INCR",
    b"INCRBY",
    b"INCRBYFLOAT",
    b"LCS",
    b"LINDEX",
    b"LINSERT",
    b"LLEN",
    b"LMOVE",
    b"LPOP",
    b"LPOS",
    b"LPUSH",
    b"LPUSHX",
    b"LRANGE",
    b"LREM",
    b"LSET",
    b"LTRIM",
    b"MGET",
    b"MOVE",
    b"MSET",
    b"MSETNX",
    b"PERSIST",
    b"PEXPIRE",
    b"PEXPIREAT",
    b"PEXPIRETIME",
    b"PFADD",
    b"PFCOUNT",
    b"PFMERGE",
    b"PSETEX",
    b"PTTL",
    b"RENAME",
    b"RENAMENX",
    b"RESTORE",
    b"RPOP",
    b"RPOPLPUSH",
    b"RPUSH",
    b"RPUSHX",
    b"SADD",
    b"SCARD",
    b"SDIFF",
    b"SDIFFSTORE",
    b"SET",
    b"SETBIT",
    b"SETEX",
    b"SETNX",
    b"SETRANGE",
    b"SINTER",
    b"SINTERSTORE",
    b"SISMEMBER",
    b"SMEMBERS",
    b"SMISMEMBER",
    b"SMOVE",
    b"SORT",
    b"SORT_RO",
    b"SPOP",
    b"SRANDMEMBER",
    b"SREM",
    b"SSCAN",
    b"STRLEN",
    b"SUBSTR",
    b"SUNION",
    b"SUNIONSTORE",
    b"TOUCH",
    b"TTL",
    b"TYPE",
    b"UNLINK",
    b"WATCH",
    b"XACK",
    b"XADD",
    b"XAUTOCLAIM",
    b"XCLAIM",
    b"XDEL",
    b"XLEN",
    b"XPENDING",
    b"XRANGE",
    b"XREVRANGE",
    b"XSETID",
    b"XTRIM",
    b"ZADD",
    b"ZCARD",
    b"ZCOUNT",
    b"ZDIFFSTORE",
    b"ZINCRBY",
    b"ZINTERSTORE",
    b"ZLEXCOUNT",
    b"ZMSCORE",
    b"ZPOPMAX",
    b"ZPOPMIN",
    b"ZRANDMEMBER",
    b"ZRANGE",
    b"ZRANGEBYLEX",
    b"ZRANGEBYSCORE",
    b"ZRANGESTORE",
    b"ZRANK",
    b"ZREM",
    b"ZREMRANGEBYLEX",
    b"ZREMRANGEBYRANK",
    b"ZREMRANGEBYSCORE",
    b"ZREVRANGE",
    b"ZREVRANGEBYLEX",
    b"ZREVRANGEBYSCORE",
    b"ZREVRANK",
    b"ZSCAN",
    b"ZSCORE",
    b"ZUNIONSTORE",
];

/// True for a command of Redis, in any case; with a dot for one of its modules.
pub(super) fn is_known(word: &[u8]) -> bool {
    let mut upper = [0_u8; 20];
    let Some(upper) = upper.get_mut(..word.len()) else {
        return false;
    };
    upper.copy_from_slice(word);
    upper.make_ascii_uppercase();
    let upper: &[u8] = upper;
    KEYED.binary_search(&upper).is_ok()
        || KEYLESS.contains(&upper)
        || shape(upper) != (Key::At(1), Effect::Plain)
        || (upper.contains(&b'.') && !upper.starts_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_command_is_looked_up_and_the_frequent_ones_are_not() {
        for (name, key, effect) in SHAPES {
            assert_eq!(shape(name), (*key, *effect), "{}", String::from_utf8_lossy(name));
        }
        for name in KEYLESS {
            assert_eq!(shape(name), (Key::Absent, Effect::Plain), "{}", String::from_utf8_lossy(name));
        }
        assert!(BLOCKING.iter().all(|name| matches!(name, [b'B' | b'W', ..])));
        assert!(
            ![&b"GET"[..], b"SET", b"MGET", b"HSET", b"HGET", b"ZADD", b"", b"a", b"\xff"]
                .iter()
                .any(|name| may_be_special(name))
        );
    }

    #[test]
    fn the_table_is_sorted_for_its_search() {
        assert!(KEYED.is_sorted());
    }

    #[test]
    fn knows_commands_in_any_case() {
        assert!(is_known(b"get") && is_known(b"ZUNIONSTORE") && is_known(b"XRead") && is_known(b"JSON.GET"));
        assert!(!is_known(b"message") && !is_known(b"HTTP") && !is_known(b""));
    }
}
