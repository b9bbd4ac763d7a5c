//! What the stages want to know of Redis.

use super::Redis;
use crate::metric::Metric;
use crate::protocols::traits::{EdgeKind, Endpoint, Growth, Methods, Patience, Traits, Unlisted, is_word};
use crate::protocols::{Budget, Pairing, Protocol, Wire};
use crate::text::Token;

pub(super) const TRAITS: Traits = Traits {
    protocol: Protocol::Redis,
    over: None,
    name: "redis",
    probe: Redis::probe,
    ports: &[6379, 6380, 26379, 16379],
    // Pipelines: a turn is many messages.
    budget: Budget::head(14, 13),
    growth: Growth::Requests,
    pairing: Pairing::Fifo,
    patience: Patience::Usual,
    // Clients share one connection, and do not wait for each other's answers.
    asks_again_unanswered: true,
    // The parser makes up for requests that it could not read.
    orphans_tell: false,
    methods: Methods::Table { words: COMMANDS, unlisted },
    is_code: is_word,
    // Never a key.
    endpoint: Endpoint::Method,
    server_metric: Metric::DbServerOperationDuration,
    client_metric: Metric::DbClientOperationDuration,
    system: Some("redis"),
    edge: EdgeKind::Database,
    is_server_error: |_| true,
};

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

/// Commands are the same in any case. A container command keeps its subcommand, and a module's command its name, if they
/// look like words; anything else goes by its first word.
fn unlisted(command: &str) -> Unlisted {
    let command = Token::from_wire_upper(command.as_bytes());
    let text = command.as_str();
    let (first, rest) = text.split_once([' ', '|']).unwrap_or((text, ""));
    let of_container = CONTAINERS.contains(&first) && is_word(rest.as_bytes());
    let of_module = || {
        let (module, name) = text.split_once('.')?;
        (MODULES.contains(&module) && is_word(name.as_bytes())).then_some(())
    };
    if of_container || of_module().is_some() {
        return Unlisted::Kept(command);
    }
    Unlisted::Known(Token::from(first))
}
