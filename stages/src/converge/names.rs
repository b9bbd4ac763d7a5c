//! Methods and codes: which texts are reported by name.
//!
//! HTTP methods, Redis commands and DNS question types come out of tables, so that a client which sends nonsense makes no
//! series. A Redis container command keeps its subcommand, and a module's command its name, if they look like words and
//! there is room ([`limits::MAX_COMMANDS`]). A code is kept if it looks like one and there is room ([`limits::MAX_CODES`]).
//! Everything else is `_OTHER`.

use crate::flow::exchange::{Exchange, NoAnswer};
use crate::flow::message::Status;
use crate::limits;
use crate::protocols::Protocol;
use crate::symbol::{Interner, Symbol};
use crate::text::Token;

/// What is not reported by name.
const OTHER: &str = "_OTHER";
/// What was not captured.
const UNKNOWN: &str = "unknown";
/// Longest code, and longest subcommand, bytes.
const MAX_WORD: usize = 32;

/// The commands of a stock Redis server (`COMMAND LIST` of 7.0, and what 7.2 to 8.0 added).
const COMMANDS: &str = "\
    ACL APPEND ASKING AUTH BGREWRITEAOF BGSAVE BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS BLMOVE BLMPOP BLPOP \
    BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT CLUSTER COMMAND CONFIG COPY DBSIZE DEBUG DECR DECRBY DEL \
    DISCARD DUMP ECHO EVAL EVALSHA EVALSHA_RO EVAL_RO EXEC EXISTS EXPIRE EXPIREAT EXPIRETIME FAILOVER FCALL \
    FCALL_RO FLUSHALL FLUSHDB FUNCTION GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER \
    GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE GET GETBIT GETDEL GETEX GETRANGE GETSET HDEL HELLO \
    HEXISTS HEXPIRE HEXPIREAT HEXPIRETIME HGET HGETALL HGETDEL HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET \
    HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSET HSETEX HSETNX HSTRLEN HTTL HVALS INCR \
    INCRBY INCRBYFLOAT INFO KEYS LASTSAVE LATENCY LCS LINDEX LINSERT LLEN LMOVE LMPOP LOLWUT LPOP LPOS LPUSH \
    LPUSHX LRANGE LREM LSET LTRIM MEMORY MGET MIGRATE MODULE MONITOR MOVE MSET MSETNX MULTI OBJECT PERSIST PEXPIRE \
    PEXPIREAT PEXPIRETIME PFADD PFCOUNT PFDEBUG PFMERGE PFSELFTEST PING PSETEX PSUBSCRIBE PSYNC PTTL PUBLISH \
    PUBSUB PUNSUBSCRIBE QUIT RANDOMKEY READONLY READWRITE RENAME RENAMENX REPLCONF REPLICAOF RESET RESTORE \
    RESTORE-ASKING ROLE RPOP RPOPLPUSH RPUSH RPUSHX SADD SAVE SCAN SCARD SCRIPT SDIFF SDIFFSTORE SELECT SENTINEL \
    SET SETBIT SETEX SETNX SETRANGE SHUTDOWN SINTER SINTERCARD SINTERSTORE SISMEMBER SLAVEOF SLOWLOG SMEMBERS \
    SMISMEMBER SMOVE SORT SORT_RO SPOP SPUBLISH SRANDMEMBER SREM SSCAN SSUBSCRIBE STRLEN SUBSCRIBE SUBSTR SUNION \
    SUNIONSTORE SUNSUBSCRIBE SWAPDB SYNC TIME TOUCH TTL TYPE UNLINK UNSUBSCRIBE UNWATCH WAIT WAITAOF WATCH XACK \
    XADD XAUTOCLAIM XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XSETID XTRIM ZADD \
    ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN \
    ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK \
    ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE";

/// Commands whose first argument is a subcommand.
const CONTAINERS: &[&str] = &[
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT",
    "PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO",
];

/// Modules that name their commands after themselves.
const MODULES: &[&str] = &["BF", "CF", "CMS", "FT", "GRAPH", "JSON", "TDIGEST", "TOPK", "TS"];

/// Question types (IANA, "DNS Parameters") that are asked for in earnest, and the other operations.
const DNS_TYPES: &str = "A NS CNAME SOA PTR HINFO MX TXT RP AFSDB SIG KEY AAAA LOC SRV NAPTR KX CERT DNAME OPT DS SSHFP IPSECKEY \
    RRSIG NSEC DNSKEY DHCID NSEC3 NSEC3PARAM TLSA SMIMEA HIP CDS CDNSKEY OPENPGPKEY CSYNC ZONEMD SVCB HTTPS SPF EUI48 EUI64 \
    TKEY TSIG IXFR AXFR ANY URI CAA NOTIFY UPDATE";

/// The symbols of methods and codes.
#[derive(Debug)]
pub(super) struct Names {
    methods: Interner,
    commands: Interner,
    types: Interner,
    codes: Interner,
    other: Symbol,
    unknown: Symbol,
    none: Symbol,
}

impl Names {
    pub(super) fn new(http_methods: &[Box<str>]) -> Self {
        let mut own = Interner::with_capacity(4);
        let mut names = Self {
            methods: Interner::with_capacity(http_methods.len()),
            commands: Interner::with_capacity(limits::MAX_COMMANDS),
            types: Interner::with_capacity(limits::MAX_COMMANDS),
            codes: Interner::with_capacity(limits::MAX_CODES),
            other: own.intern(OTHER),
            unknown: own.intern(UNKNOWN),
            none: own.intern(""),
        };
        for method in http_methods {
            names.methods.intern(method);
        }
        for command in COMMANDS.split_ascii_whitespace() {
            names.commands.intern(command);
        }
        for kind in DNS_TYPES.split_ascii_whitespace() {
            names.types.intern(kind);
        }
        names
    }

    /// The symbol of the empty text.
    pub(super) fn none(&self) -> Symbol {
        self.none.clone()
    }

    /// The method of an exchange; `unknown` where it was not captured.
    pub(super) fn method(&mut self, protocol: Protocol, method: &Token) -> Symbol {
        if method.is_empty() {
            return self.unknown.clone();
        }
        let known = match protocol {
            Protocol::Http1 => self.methods.find(method.as_str()),
            Protocol::Dns => self.types.find(method.as_str()),
            Protocol::Redis => self.command(method),
            Protocol::Unknown | Protocol::Foreign => None,
        };
        known.unwrap_or_else(|| self.other.clone())
    }

    fn command(&mut self, method: &Token) -> Option<Symbol> {
        if let Some(symbol) = self.commands.find(method.as_str()) {
            return Some(symbol);
        }
        let upper = Token::from_wire_upper(method.as_bytes());
        let text = upper.as_str();
        if let Some(symbol) = self.commands.find(text) {
            return Some(symbol);
        }
        let (first, rest) = text.split_once([' ', '|']).unwrap_or((text, ""));
        let is_module =
            || text.split_once('.').is_some_and(|(module, name)| MODULES.contains(&module) && is_word(name));
        if is_module() || (CONTAINERS.contains(&first) && is_word(rest)) {
            return Some(kept(&mut self.commands, text, &self.other));
        }
        self.commands.find(first)
    }

    /// The code of an exchange: empty without an answer, `unknown` where the answer moved but its code was not captured.
    pub(super) fn code(&mut self, exchange: &Exchange) -> Symbol {
        let code = &exchange.code;
        if !code.is_empty() {
            let looks_right = match exchange.protocol {
                Protocol::Http1 => is_http_status(code.as_bytes()),
                _ => is_word(code.as_str()),
            };
            return if looks_right { kept(&mut self.codes, code.as_str(), &self.other) } else { self.other.clone() };
        }
        let silent = exchange.no_answer.is_some_and(|why| !matches!(why, NoAnswer::Lost | NoAnswer::Shutdown));
        if exchange.status == Status::Unknown && !exchange.one_way && !silent {
            return self.unknown.clone();
        }
        self.none.clone()
    }
}

/// The symbol of `text`, `_OTHER` when there is no room.
fn kept(symbols: &mut Interner, text: &str, other: &Symbol) -> Symbol {
    let symbol = symbols.intern(text);
    if symbol.key() == symbols.overflow().key() { other.clone() } else { symbol }
}

/// Three digits, the first from 1 to 5 (RFC 9110, section 15), or up to 9 as some servers send.
fn is_http_status(code: &[u8]) -> bool {
    matches!(code, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'])
}

/// Letters, digits, `_` and `-`, beginning with a letter or digit, not too long.
fn is_word(text: &str) -> bool {
    text.len() <= MAX_WORD
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converge::rules::HTTP_METHODS;

    fn names() -> Names {
        Names::new(&HTTP_METHODS.iter().map(|&method| method.into()).collect::<Vec<_>>())
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
            (Protocol::Redis, "GET secret", "GET"),
            (Protocol::Redis, "JSON.GET", "JSON.GET"),
            (Protocol::Redis, "EVIL.GET", "_OTHER"),
            (Protocol::Redis, "SECRET", "_OTHER"),
            (Protocol::Dns, "AAAA", "AAAA"),
            (Protocol::Dns, "TYPE65280", "_OTHER"),
        ] {
            assert_eq!(names.method(protocol, &Token::from(method)).as_str(), expected, "{method}");
        }
    }

    #[test]
    fn the_table_leaves_room_for_subcommands_and_hostile_ones_stop_at_the_bound() {
        let mut names = names();
        for n in 0..2 * limits::MAX_COMMANDS {
            names.method(Protocol::Redis, &Token::from(format!("CONFIG X{n}").as_str()));
        }
        assert_eq!(names.commands.len(), limits::MAX_COMMANDS);
        assert_eq!(names.method(Protocol::Redis, &Token::from("CONFIG LAST")).as_str(), "_OTHER");
        assert_eq!(names.method(Protocol::Redis, &Token::from("ZADD")).as_str(), "ZADD");
    }
}
