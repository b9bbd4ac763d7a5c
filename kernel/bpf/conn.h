/* SPDX-License-Identifier: Apache-2.0
 *
 * What is remembered of a connection: who it is (filled once), where its two streams stand, which turn it is in.
 * The value of SK_STORAGE in the socket rung, of a hash by socket address in the syscall rung.
 *
 * Two threads may send and receive on one socket at the same time. `offset` and `turn` are claimed by atomics when an
 * operation begins; `told` and `ts_ns` move when it is settled: its records are in the ring, refused, or not wanted. Only
 * settled values are shown to user space, so that nothing is told to have moved whose record is still being made. What
 * is kept by direction is written by one operation at a time: threads that share a direction take turns.
 */
#ifndef REDTAP_CONN_H
#define REDTAP_CONN_H

#include "maps.h"
#include "filter.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_SEQPACKET 5
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define PF_IO_WORKER 0x00000010 /* include/linux/sched.h */
#define PF_KTHREAD 0x00200000

enum { RT_UNDECIDED = 0, RT_SELECTED = 1, RT_EXCLUDED = 2 };
/* rt_conn.said: a record was attempted; one entered a ring; the shard was used */
enum { RT_SAID = 1, RT_HEARD = 2, RT_PLACED = 4 };
#define RT_VERDICT_KNOWN 0x10000
#define RT_VERDICT_PREFACE 0x20000
enum { RT_ENDED_IN = 1, RT_ENDED_OUT = 2, RT_ENDED = 4 };
#define RT_NO_TURN (~0ull)
/* rt_conn.sampling, beside the level: sampling leaves the connection out */
#define RT_OUT 0x80

/* The tail of struct rt_event, from `pid` on, so that it is copied in one go. */
struct rt_identity {
	__u32 pid;
	__u32 tid;
	__u64 cgroup_id;
	__u32 netns;
	__u16 lport;
	__u16 rport;
	union {
		__u8 laddr[16];
		__u32 laddr32[4];
		__u64 laddr64[2];
	};
	union {
		__u8 raddr[16];
		__u32 raddr32[4];
		__u64 raddr64[2];
	};
	char comm[16];
	__u64 sock_ino;
};
_Static_assert(sizeof(struct rt_identity) == sizeof(struct rt_event) - __builtin_offsetof(struct rt_event, pid), "tail");
_Static_assert(__builtin_offsetof(struct rt_identity, comm) == 120 - 64, "tail");

enum { RT_OUT_OF_STEP = 0, RT_ENTERING = 1, RT_IN_STEP = 2 };

/* Where the walk over the frames of one direction stands (frames.h). */
struct rt_frames {
	__u64 at;   /* stream offset behind what was walked */
	__u32 left; /* bytes of the current frame's payload from there on */
	__u8 step;
	__u8 skip;     /* they are only counted */
	__u8 due;      /* but for that many, which go first */
	__u8 have;     /* bytes of an unfinished header */
	__u8 head[16]; /* 9, and room for a masked index */
};

struct rt_conn {
	__u64 id; /* 0 until selected */
	__u64 offset[2]; /* claimed */
	__u64 told[2];   /* settled */
	__u64 ts_ns[2];  /* end of the last settled operation */
	__u64 turn; /* number << 1 | direction; RT_NO_TURN before the first */
	__u64 owner; /* pid_tgid, in the first namespace, that `who` was filled from */
	__u64 vector; /* mmsghdr array of the last sendmmsg or recvmmsg, 0: none */
	__u32 vector_tid;
	__u32 vector_next;
	__u32 spent[2]; /* bytes moved in the direction's last turn, saturating */
	__u32 unseen; /* as in struct rt_event */
	__u32 unseen_told; /* `unseen` when a record last entered the ring */
	__u32 verdict; /* low half of the last verdict seen, with RT_VERDICT_KNOWN; 0: none. RT_VERDICT_PREFACE: the preface was seen */
	__u32 place; /* hash of both ends, the same at either; its remainder is the shard */
	__u8 transport; /* 0: not begun */
	__u8 role;
	__u8 family;
	__u8 selected;
	__u8 late;
	__u8 ended;
	__u8 said;
	__u8 sampling; /* level that it is followed, or left out, at; RT_OUT */
	struct rt_frames frames[2]; /* mode full */
	struct rt_identity who;
};

/* 0: not a kind of socket that is watched. */
__inline __u32 rt_transport_of(struct sock *sk)
{
	__u32 family = FIELD(sk->__sk_common.skc_family);
	__u32 type, protocol;

	if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
		return 0;
	type = FIELD(sk->sk_type);
	if (family == AF_UNIX)
		return type == SOCK_STREAM ? RT_UNIX_STREAM : RT_UNIX_DGRAM;
	protocol = FIELD(sk->sk_protocol);
	if (type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP))
		return RT_TCP;
	return type == SOCK_DGRAM && protocol == IPPROTO_UDP ? RT_UDP : 0;
}

__inline __u16 rt_host_order(__u16 be)
{
	return __builtin_bswap16(be);
}

/* ::ffff:a.b.c.d */
__inline int rt_is_mapped(const __u32 *a)
{
	return !a[0] && !a[1] && a[2] == __builtin_bswap32(0xffff);
}

__inline void rt_unmap(__u32 *a)
{
	a[0] = a[3];
	a[1] = a[2] = a[3] = 0;
}

/* An IPv6 socket that speaks IPv4 is written as IPv4. */
__inline void rt_settle_family(struct rt_conn *c)
{
	if (c->family == AF_INET6 && (rt_is_mapped(c->who.laddr32) || rt_is_mapped(c->who.raddr32))) {
		c->family = AF_INET;
		rt_unmap(c->who.laddr32);
		rt_unmap(c->who.raddr32);
	}
}

__apart void rt_fill_inet(struct rt_conn *c, struct sock *sk)
{
	struct net *net = FIELD(sk->__sk_common.skc_net.net);
	__u32 lport = FIELD(sk->__sk_common.skc_num);

	c->who.netns = FIELD(net->ns.inum);
	if (lport)
		c->who.lport = lport;
	c->who.rport = rt_host_order(FIELD(sk->__sk_common.skc_dport));
	c->family = FIELD(sk->__sk_common.skc_family);
	if (c->family == AF_INET) {
		c->who.laddr32[0] = FIELD(sk->__sk_common.skc_rcv_saddr);
		c->who.raddr32[0] = FIELD(sk->__sk_common.skc_daddr);
		return;
	}
	for (int i = 0; i < 4; i++) {
		c->who.laddr32[i] = FIELD(sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[i]);
		c->who.raddr32[i] = FIELD(sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[i]);
	}
	rt_settle_family(c);
}

__inline __u64 rt_inode_of(struct sock *sk)
{
	struct socket *socket = KREAD(sk->sk_socket);
	struct file *file = socket ? KREAD(socket->file) : NULL;
	struct inode *inode = file ? KREAD(file->f_inode) : NULL;

	return inode ? KREAD(inode->i_ino) : 0;
}

/* FNV-1a, 64 bit, of the path a unix socket is bound to, up to its first NUL; an abstract name counts with the NUL it
 * begins with. 0: not bound. */
__apart __u64 rt_path_hash(struct unix_sock *unix)
{
	struct unix_address *address = KREAD(unix->addr);
	__u64 hash = 0xcbf29ce484222325ull;
	char path[108] = {};
	__s32 len;

	if (!address)
		return 0;
	len = KREAD(address->len) - (__s32)sizeof(unsigned short);
	if (len <= 0)
		return 0;
	bpf_probe_read_kernel(path, sizeof(path), &address->name[0].sun_path);
	for (int i = 0; i < (int)sizeof(path); i++) {
		if (i >= len || (i && !path[i]))
			break;
		hash = (hash ^ (__u8)path[i]) * 0x100000001b3ull;
	}
	return hash;
}

/* Both ends by inode number and by path. The peer has no inode before it is accepted: tried again until it has. */
__apart void rt_fill_unix(struct rt_conn *c, struct sock *sk)
{
	struct unix_sock *own = (struct unix_sock *)sk, *other;
	struct sock *peer = KREAD(own->peer);

	c->family = AF_UNIX;
	c->who.laddr64[0] = c->who.sock_ino;
	if (!c->who.laddr64[1])
		c->who.laddr64[1] = rt_path_hash(own);
	if (!peer)
		return;
	other = (struct unix_sock *)peer;
	c->who.raddr64[0] = rt_inode_of(peer);
	if (!c->who.raddr64[1])
		c->who.raddr64[1] = rt_path_hash(other);
	if (c->role == RT_ROLE_UNKNOWN && c->transport == RT_UNIX_STREAM && c->who.laddr64[1] != c->who.raddr64[1])
		c->role = c->who.laddr64[1] ? RT_ROLE_SERVER : RT_ROLE_CLIENT;
}

__inline __u64 rt_mix(__u64 a, __u64 b, __u64 port)
{
	__u64 x = (a ^ port * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull + b * 0x94d049bb133111ebull;

	return (x ^ x >> 31) * 0xbf58476d1ce4e5b9ull;
}

/* Both ends of a local connection find the same place: a sum does not ask which end is ours. A unix socket's ends are
 * known by their addresses in the kernel, because the accepted one has no inode yet when the other begins to speak. */
__apart __u32 rt_place_of(struct rt_conn *c, struct sock *sk)
{
	__u64 sum;

	if (c->family == AF_UNIX) {
		struct socket *socket = KREAD(sk->sk_socket);
		/* Its own address as a number: the verifier does not let the pointer itself be reckoned with. */
		__u64 own = socket ? (__u64)KREAD(socket->sk) : 0;

		sum = rt_mix(own, 0, 0) + rt_mix((__u64)KREAD(((struct unix_sock *)sk)->peer), 0, 0);
	} else {
		sum = rt_mix(c->who.laddr64[0], c->who.laddr64[1], c->who.lport) +
		      rt_mix(c->who.raddr64[0], c->who.raddr64[1], c->who.rport);
	}
	return sum >> 32;
}

/* Addresses and inode, as far as they are known by now. Called when something may have been learned. The shard is the
 * connection's from the first thing said of it on. */
__inline void rt_fill_ends(struct rt_conn *c, struct sock *sk)
{
	if (!c->who.sock_ino)
		c->who.sock_ino = rt_inode_of(sk);
	if (c->transport == RT_UNIX_STREAM || c->transport == RT_UNIX_DGRAM)
		rt_fill_unix(c, sk);
	else
		rt_fill_inet(c, sk);
	if (!(c->said & RT_PLACED))
		c->place = rt_place_of(c, sk);
}

__inline void rt_begin(struct rt_conn *c, struct sock *sk, __u32 transport)
{
	c->turn = RT_NO_TURN;
	c->transport = transport;
	rt_fill_ends(c, sk);
}

/* Process, cgroup and name of the current task, read anew only when it is another process than last time. Where the
 * agent lives in a pid namespace of its own, numbers are looked up whenever the thread changes. */
__inline void rt_note_owner(struct rt_conn *c)
{
	struct task_struct *task, *leader;
	__u64 now = bpf_get_current_pid_tgid();
	__u64 was = c->owner;

	if (now == was)
		return;
	c->owner = now;
	task = bpf_get_current_task_btf();
	leader = KREAD(task->group_leader);
	if (rt_agent_pidns == RT_INIT_PIDNS) {
		c->who.tid = (__u32)now;
		c->who.pid = now >> 32;
	} else {
		c->who.tid = rt_number_in_agent_ns(KREAD(task->thread_pid));
		c->who.pid = rt_number_in_agent_ns(KREAD(leader->thread_pid));
	}
	if (now >> 32 == was >> 32)
		return;
	c->who.cgroup_id = bpf_get_current_cgroup_id();
	/* The process's name and not the thread's: a process that is gone before it can be looked up goes by it, and threads of
	 * one process must not go by several names. */
	bpf_probe_read_kernel(c->who.comm, sizeof(c->who.comm), &leader->comm);
}

/* Applies the filters to the current task and gives the connection its id if they pass. */
__apart int rt_select(struct rt_conn *c)
{
	struct task_struct *task = bpf_get_current_task_btf();

	rt_note_owner(c);
	if ((c->who.pid && c->who.pid == rt_agent_pid) || !rt_cgroup_passes() || !rt_pidns_passes(task) ||
	    !rt_process_passes(task, c->who.pid) || !rt_port_passes(c->who.lport, c->who.rport)) {
		c->selected = RT_EXCLUDED;
		return 0;
	}
	c->id = __sync_fetch_and_add(&rt_connections, 1) + 1;
	c->selected = RT_SELECTED;
	return 1;
}

#endif
