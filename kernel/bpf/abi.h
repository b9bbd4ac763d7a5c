/* SPDX-License-Identifier: Apache-2.0
 *
 * What crosses from the kernel programs to user space. The twin of stages/src/abi.rs: both sides pin
 * every size and offset with static assertions, and RT_ABI_VERSION moves when anything here does.
 *
 * All integers are in the byte order of the host.
 */
#ifndef REDTAP_ABI_H
#define REDTAP_ABI_H

#define RT_ABI_VERSION 2

/* One ring a shard; unused ones are shrunk to a page by the loader. */
#define RT_MAX_SHARDS 8

/* Largest payload of one record. A larger operation is cut into several records. Power of two. */
#define RT_MAX_CHUNK 4096u
/* Records that one socket operation may be cut into. Chunk times this bounds the budget of a turn. */
#define RT_MAX_CHUNKS 16u
/* iovecs walked in one operation: as many as the C core of gRPC hands over (one a header field). */
#define RT_MAX_IOVECS 260u

enum rt_kind {
	RT_KIND_DATA = 1,     /* bytes moved; payload holds the captured part */
	RT_KIND_PROGRESS = 2, /* made in user space from a dirty slot: offsets and turn moved, no payload */
	RT_KIND_EOF = 3,      /* direction `dir` ended: recv returned 0, or our side shut down (FIN sent) */
	RT_KIND_CLOSE = 4,    /* the socket is gone; `detail` says how */
};

enum rt_dir { RT_DIR_INGRESS = 0 /* the watched process received */, RT_DIR_EGRESS = 1 /* it sent */ };
enum rt_role { RT_ROLE_UNKNOWN = 0, RT_ROLE_CLIENT = 1, RT_ROLE_SERVER = 2 };
enum rt_transport { RT_TCP = 1, RT_UDP = 2, RT_UNIX_STREAM = 3, RT_UNIX_DGRAM = 4 };

/* rt_event.flags */
#define RT_F_TURN_START 0x01 /* first record of a turn */
#define RT_F_CUT 0x02        /* fewer bytes captured than moved: the turn's budget is spent */
#define RT_F_NO_BUFFER 0x04  /* no user buffer to read (sendfile, splice, io_uring, 32-bit task) */
#define RT_F_FAULT 0x08      /* the user buffer could not be read */
#define RT_F_LATE 0x10       /* the socket is older than the probe: offsets count from when it was first seen */
#define RT_F_MORE 0x20       /* further records of the same operation follow */
#define RT_F_FIRST 0x40      /* no record of this connection had entered a ring when this one was made */

enum rt_reason {
	RT_REASON_NONE = 0,
	RT_REASON_FIN = 1,     /* both sides closed in order */
	RT_REASON_RESET = 2,   /* RST received (sk_err ECONNRESET/EPIPE) */
	RT_REASON_ABORT = 3,   /* our side closed with unread data, or with SO_LINGER 0: RST sent */
	RT_REASON_TIMEOUT = 4, /* sk_err ETIMEDOUT */
	RT_REASON_REFUSED = 5, /* connect failed: sk_err ECONNREFUSED, EHOSTUNREACH, ... */
	RT_REASON_SAMPLED = 6, /* it goes on, and sampling leaves it out: what it waits for will not be seen */
};

/* One record of a ring. 8-byte aligned; followed by cap_len bytes of payload. */
struct rt_event {
	__u8 version; /* RT_ABI_VERSION */
	__u8 kind;
	__u8 dir;
	__u8 role;
	__u8 transport;
	__u8 family; /* AF_INET, AF_INET6, AF_UNIX; v4-mapped IPv6 is written as AF_INET */
	__u8 flags;
	__u8 detail; /* CLOSE: rt_reason; DATA: the sampling level that its connection is followed at (RT_MAX_SAMPLING) */
	__u32 cap_len;       /*  8: payload bytes behind this header */
	__u32 len;           /* 12: bytes that the operation (or this chunk of it) moved */
	__u64 conn_id;       /* 16: unique while the probe runs, sequential from 1 */
	__u64 ts_ns;         /* 24: CLOCK_MONOTONIC at the end of the operation */
	__u64 offset;        /* 32: stream offset, in `dir`, of the first byte of this record */
	__u64 other_offset;  /* 40: bytes of the other direction that are settled: in a record, refused, or not captured */
	__u64 other_ts_ns;   /* 48: end of the last settled operation in the other direction, 0 if none */
	__u32 unseen;        /* 56: turns so far that no record begins: refused, or beyond the budget; not those while muted */
	__u32 turn;          /* 60: number of this turn on the connection, from 0 */
	__u32 pid;           /* 64: thread group id, in the agent's pid namespace */
	__u32 tid;           /* 68 */
	__u64 cgroup_id;     /* 72: cgroup v2 id (inode of its directory) */
	__u32 netns;         /* 80: inode number of the network namespace */
	__u16 lport;         /* 84: host order */
	__u16 rport;         /* 86 */
	__u8 laddr[16];      /* 88: IPv4 in the first four bytes; unix: inode number in 0..8, hash of the path in 8..16 */
	__u8 raddr[16];      /* 104: likewise */
	char comm[16];       /* 120: of the thread group's leader, so of the process */
	__u64 sock_ino;      /* 136: inode number of the socket, joins /proc/PID/fd */
};

/* Shared slots, one cache line a connection: slot = conn_id & mask. Written by the kernel programs when they
 * do not emit a record (budget spent, ring full), so that user space learns of progress, missed turns and closes
 * without a record. A bit in rt_dirty says which ones to read. */
struct rt_slot {
	__u64 conn_id;
	__u64 offset[2];  /* bytes settled, by rt_dir; as rt_event.other_offset */
	__u64 ts_ns[2];   /* end of the last settled operation, by rt_dir */
	__u64 turn;       /* number << 1 | direction of the turn that the slot was written in: one word, never torn */
	__u32 unseen;     /* as in rt_event */
	__u32 told;       /* `unseen` when a record last entered the ring */
	__u8 closed;      /* rt_reason of the close, 0 while open */
	__u8 role;
	__u8 transport;
	__u8 shard;       /* whose ring the connection's records go to */
	__u8 first;       /* 1: no record of the connection has entered a ring */
	__u8 pad[3];
};

/* A verdict from user space, one word a slot: conn_id << 16 | role << 14 | mode << 12 | ingress budget class << 6 | egress class.
 * A class c means a budget of 2^c bytes a turn (0: none). The role is what user space found out where the programs have not
 * seen the connection begin; they never show it again. A word whose conn_id differs is ignored. */
enum rt_mode { RT_MODE_HEAD = 0, RT_MODE_FULL = 1, RT_MODE_MUTE = 2 };
#define RT_VERDICT_CONN_SHIFT 16
#define RT_VERDICT_ROLE_SHIFT 14
#define RT_VERDICT_MODE_SHIFT 12
#define RT_VERDICT_MODE_MASK 0x3
#define RT_VERDICT_IN_SHIFT 6
#define RT_VERDICT_CLASS_MASK 0x3f

/* What the governor asks of the programs, one word (map rt_tuning): class that the budget of answers is cut to (0: none),
 * then the sampling level << 8. At level n the connections of one place in 2^n are followed, each for as many. */
#define RT_MAX_SAMPLING 4u
#define RT_TUNING_CLASS_MASK 0xff
#define RT_TUNING_SAMPLING_SHIFT 8

/* Per-CPU counters (map rt_counters, one __u64 each). */
enum rt_counter {
	RT_C_ATTEMPTED = 0,       /* records attempted */
	RT_C_REFUSED_FULL = 1,    /* refused: ring full */
	RT_C_REFUSED_TURNS = 2,   /* of these, first records of a turn */
	RT_C_TURNS = 3,           /* turns begun on selected connections */
	RT_C_CONNECTIONS = 4,     /* connections given an id */
	RT_C_NO_STORAGE = 5,      /* operations not seen: connection state could not be allocated */
	RT_C_SLOT_LOST = 6,       /* a dirty slot was taken over by a newer connection before it was read */
	RT_C_SLOT_LOST_TURNS = 7, /* turns that nothing will tell of because of that: the connection was closed */
	RT_C_NOT_SELECTED = 8,    /* operations of sockets that the filters exclude */
	RT_C_MUTED = 9,           /* operations of muted connections */
	RT_C_FAULT = 10,          /* user buffers that could not be read */
	RT_C_OPERATIONS = 11,     /* socket operations of selected connections that moved data */
	RT_C_EVICTED = 12,        /* connections that others pushed out of the table (syscall rung) */
	RT_C_SAMPLED_TURNS = 13,  /* turns begun on connections that sampling leaves out */
	RT_C_COUNT = 14,
};


_Static_assert(sizeof(struct rt_event) == 144, "twin of stages/src/abi.rs");
_Static_assert(__builtin_offsetof(struct rt_event, conn_id) == 16, "twin of stages/src/abi.rs");
_Static_assert(__builtin_offsetof(struct rt_event, unseen) == 56, "twin of stages/src/abi.rs");
_Static_assert(__builtin_offsetof(struct rt_event, laddr) == 88, "twin of stages/src/abi.rs");
_Static_assert(__builtin_offsetof(struct rt_event, sock_ino) == 136, "twin of stages/src/abi.rs");
_Static_assert(sizeof(struct rt_slot) == 64, "one cache line; twin of stages/src/abi.rs");

#endif
