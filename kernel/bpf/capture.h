/* SPDX-License-Identifier: Apache-2.0
 *
 * The one body of all rungs: (connection, direction, user buffers, bytes moved) into records of the ring, or, when the
 * turn's budget is spent or the ring is full, into the connection's slot.
 */
#ifndef REDTAP_CAPTURE_H
#define REDTAP_CAPTURE_H

#include "arch.h"
#include "conn.h"
#include "frames.h"

/* Pieces that one operation is copied or passed over in. Outside of mode full it never takes as many. */
#define RT_MAX_STEPS (4 * RT_MAX_CHUNKS + RT_MAX_IOVECS + 1)

/* User-space layouts, 64 bit (include/linux/socket.h, include/uapi/linux/uio.h). */
struct user_iovec {
	__u64 base;
	__u64 len;
};

struct user_msghdr {
	__u64 name;
	__s32 name_len;
	__u32 pad0;
	__u64 iov;
	__u64 iov_len;
	__u64 control;
	__u64 control_len;
	__u32 flags;
	__u32 pad1;
};

struct user_mmsghdr {
	struct user_msghdr hdr;
	__u32 len;
	__u32 pad;
};
_Static_assert(sizeof(struct user_msghdr) == 56, "uapi");
_Static_assert(sizeof(struct user_mmsghdr) == 64, "uapi");

/* One operation being captured. In map memory and not in registers, so that the verifier sees every round of the copy
 * loop in the same state and need not follow each. */
struct rt_op {
	__u64 base; /* rest of the buffer being read */
	__u64 left;
	__u64 iov; /* next iovec */
	__u64 name; /* user sockaddr of this message, 0: none */
	__u64 want; /* bytes still to capture */
	__u64 rest; /* bytes moved and not yet in a record */
	__u32 iovs;
	__u32 fill; /* bytes in `data` */
	__u32 flags;
	__u32 refused; /* not 0: a record was, and no more are made */
	__u32 walked; /* mode full: bytes of `data` walked over */
	__u32 keep; /* mode full: bytes of `data` that go into the record */
	__u32 skip; /* bytes of the buffers to pass over before the next are copied */
	__u32 full; /* mode full */
};

struct rt_scratch {
	struct rt_event ev;
	__u8 data[2 * RT_MAX_CHUNK]; /* twice, so that a masked position plus a bounded length stays inside */
	struct rt_op op;
	__u32 busy;
	__u32 shard;
	__u64 unasked; /* bytes put since the reader was last asked after */
};
_Static_assert(__builtin_offsetof(struct rt_scratch, data) == sizeof(struct rt_event), "header and payload adjoin");

/* One a CPU. Safe because the hooks run with preemption off (include/linux/tracepoint.h __DO_TRACE_CALL and
 * kernel/trace/trace_syscalls.c perf_syscall_exit hold guard(preempt_notrace)), and state changes in softirq build
 * their records on the stack. `busy` catches what is left, a send from softirq: it is counted and not captured. */
struct {
	__number(type, RT_MAP_PERCPU_ARRAY);
	__number(max_entries, 1);
	__typed(key, __u32);
	__typed(value, struct rt_scratch);
} rt_scratches SEC(".maps");

/* ---- slots ---- */

__inline __u64 *rt_dirty_word(__u32 index)
{
	__u32 key = index >> 6;

	return bpf_map_lookup_elem(&rt_dirty, &key);
}

/* The slot still holds another connection: what of it was never read is lost, and said to be. */
__inline void rt_take_over(struct rt_slot *slot, __u64 *dirty, __u32 index, __u32 set)
{
	if (slot->conn_id && (*dirty & 1ull << (index & 63))) {
		rt_count(set, RT_C_SLOT_LOST);
		/* A connection that is open says so itself with its next record. */
		if (slot->closed)
			rt_add(set, RT_C_SLOT_LOST_TURNS, (__u32)(slot->unseen - slot->told));
	}
	/* The exchange is a full barrier: whoever reads 0 afterwards knows that the rest is being written. */
	__sync_lock_test_and_set(&slot->conn_id, 0);
	slot->closed = 0;
}

__inline __u32 rt_shard_of(struct rt_conn *c)
{
	c->said |= RT_PLACED;
	return rt_shards < 2 ? 0 : c->place % rt_shards;
}

/* Where the connection stands, for user space to find without a record. `turn` (number << 1 | direction) is that of the
 * operation that says so. */
__alone int rt_note(struct rt_conn *c, __u64 turn, __u32 reason, __u32 set)
{
	struct rt_slot *slot;
	__u64 *dirty;
	__u32 index;

	if (!c)
		return 0;
	index = (__u32)c->id & rt_slot_mask;
	slot = bpf_map_lookup_elem(&rt_slots, &index);
	dirty = rt_dirty_word(index);
	if (!slot || !dirty)
		return 0;
	if (slot->conn_id != c->id)
		rt_take_over(slot, dirty, index, set);
	slot->offset[0] = c->told[0];
	slot->offset[1] = c->told[1];
	slot->ts_ns[0] = c->ts_ns[0];
	slot->ts_ns[1] = c->ts_ns[1];
	slot->turn = turn == RT_NO_TURN ? 0 : turn;
	slot->unseen = c->unseen;
	slot->told = c->unseen_told;
	slot->role = c->role;
	slot->transport = c->transport;
	slot->shard = rt_shard_of(c);
	slot->first = !(c->said & RT_HEARD);
	if (reason)
		slot->closed = reason;
	__sync_lock_test_and_set(&slot->conn_id, c->id);
	__sync_fetch_and_or(dirty, 1ull << (index & 63));
	return 0;
}

/* ---- verdicts ---- */

/* Who asks: as the connection began, else as user space says (of one older than the probe). */
__inline __u32 rt_role_of(struct rt_conn *c)
{
	return c->role ? c->role : c->verdict >> RT_VERDICT_ROLE_SHIFT & 3;
}

/* The level asked for is taken over where requests begin, so that an exchange is wholly in or out and the number that it
 * stands for is one. Who asks must be known for that, and a datagram socket may serve many: none of it could stand for
 * others. In mode full (HTTP/2) what is said later leans on what was said before, which who comes back would never know: such a
 * connection is not left out once it is followed. */
__inline int rt_sampling_moves(struct rt_conn *c, __u32 mode, __u32 dir, __u32 level)
{
	__u32 role, now = c->sampling & ~RT_OUT;

	if (mode == RT_MODE_MUTE || (mode == RT_MODE_FULL && level > now))
		return 0;
	if (level == now || (c->transport != RT_TCP && c->transport != RT_UNIX_STREAM))
		return 0;
	role = rt_role_of(c);
	return role && dir == (role == RT_ROLE_SERVER ? RT_DIR_INGRESS : RT_DIR_EGRESS);
}

/* Both ends of a connection have the same place, so either both are followed or none; who is followed at a level is so at
 * all lower ones. Who is left out is closed to user space; who comes back does so as another connection, older than the
 * probe: nothing is known of what it said meanwhile. */
__alone int rt_sample(struct rt_conn *c, __u64 turn, __u32 level)
{
	__u32 out;

	if (!c || level > RT_MAX_SAMPLING)
		return 0;
	/* Bits that the shard, a remainder by at most eight, does not depend on. */
	out = c->place >> 28 & ((1u << level) - 1);
	c->said |= RT_PLACED;
	if (out && !(c->sampling & RT_OUT)) {
		if (c->said & RT_SAID)
			rt_note(c, turn, RT_REASON_SAMPLED, RT_SET_OPERATION);
	} else if (!out && c->sampling & RT_OUT) {
		c->id = __sync_fetch_and_add(&rt_connections, 1) + 1;
		c->late = 1;
		c->said |= RT_SAID | RT_HEARD;
	}
	c->sampling = level | (out ? RT_OUT : 0);
	return 0;
}

/* Until a verdict comes, so many classes more (16 times the bytes) are captured of requests, and of a connection older than
 * the probe. Clients begin before the verdict is there, and may ask a hundred things in a turn; of what is cut off here
 * nobody knows, least of all of requests that are not answered. Large answers are the usual, large requests are not. */
#define RT_CLASSES_MORE 4u

struct rt_policy {
	__u32 mode;
	__u32 budget; /* bytes a turn in this direction; ignored in mode full */
};

__inline void rt_policy_of(struct rt_policy *p, struct rt_conn *c, __u32 dir, __u64 tuned)
{
	__u32 shortest = tuned & RT_TUNING_CLASS_MASK;
	__u32 index = (__u32)c->id & rt_slot_mask;
	__u32 class = dir == RT_DIR_INGRESS ? rt_class_in : rt_class_out;
	__u64 *verdict = bpf_map_lookup_elem(&rt_verdict, &index);

	p->mode = RT_MODE_HEAD;
	if (class && (c->late || c->role == (dir == RT_DIR_INGRESS ? RT_ROLE_SERVER : RT_ROLE_CLIENT)))
		class += RT_CLASSES_MORE;
	if (verdict) {
		__u64 word = *(volatile __u64 *)verdict;

		/* Kept: a newer connection may overwrite the word, but not what it asked for. */
		if (word && word >> RT_VERDICT_CONN_SHIFT == (c->id & (~0ull >> RT_VERDICT_CONN_SHIFT)))
			c->verdict = (word & 0xffff) | RT_VERDICT_KNOWN | (c->verdict & RT_VERDICT_PREFACE);
	}
	if (c->verdict) {
		p->mode = c->verdict >> RT_VERDICT_MODE_SHIFT & RT_VERDICT_MODE_MASK;
		/* What was asked for when this was HTTP/1 still. */
		if (p->mode == RT_MODE_HEAD && c->verdict & RT_VERDICT_PREFACE)
			p->mode = RT_MODE_FULL;
		class = (dir == RT_DIR_INGRESS ? c->verdict >> RT_VERDICT_IN_SHIFT : c->verdict) & RT_VERDICT_CLASS_MASK;
	}
	/* Of answers little is needed; of a request that is not captured nobody would know. */
	if (shortest && class > shortest && rt_role_of(c) == (dir == RT_DIR_INGRESS ? RT_ROLE_CLIENT : RT_ROLE_SERVER))
		class = shortest;
	if (class > 16)
		class = 16;
	p->budget = class ? 1u << class : 0;
	if (p->mode == RT_MODE_FULL)
		p->budget = RT_FULL_WALKED;
}

/* ---- records ---- */

/* All of a header but lengths and what its kind adds. */
__inline void rt_head(struct rt_event *ev, struct rt_conn *c, __u32 kind, __u32 dir, __u64 offset, __u64 now)
{
	ev->version = RT_ABI_VERSION;
	ev->kind = kind;
	ev->dir = dir;
	ev->role = c->role;
	ev->transport = c->transport;
	ev->family = c->family;
	ev->flags = (c->late ? RT_F_LATE : 0) | (c->said & RT_HEARD ? 0 : RT_F_FIRST);
	ev->detail = c->sampling & ~RT_OUT;
	ev->cap_len = 0;
	ev->len = 0;
	ev->conn_id = c->id;
	ev->ts_ns = now;
	ev->offset = offset;
	ev->other_offset = c->told[!dir];
	ev->other_ts_ns = c->ts_ns[!dir];
	ev->unseen = c->unseen;
	__builtin_memcpy(&ev->pid, &c->who, sizeof(c->who));
}

/* How often the reader is asked after while a ring fills up to the mark at which it is woken. */
#define RT_ASKS 16u

/* The two ways into a ring: what this processor's scratch holds, with `cap` bytes of payload, and a header alone. Functions
 * that the verifier checks by themselves: eight rings in the caller's frame would be eight times its states. */
__alone int rt_put_scratch(__u32 cap)
{
	__u32 zero = 0;
	struct rt_scratch *s = bpf_map_lookup_elem(&rt_scratches, &zero);
	int ask;

	if (!s || cap > RT_MAX_CHUNK)
		return -1;
	s->unasked += sizeof(s->ev) + cap;
	ask = s->unasked >= rt_wake_bytes / RT_ASKS;
	if (ask)
		s->unasked = 0;
	return rt_put(s->shard, &s->ev, sizeof(s->ev) + cap, ask);
}

__alone int rt_put_header(struct rt_event *ev, __u32 shard)
{
	return ev ? rt_put(shard, ev, sizeof(*ev), 0) : -1;
}

/* Every attempt is counted before the ring is asked, and settled after. Not 0 from `rt_settle`: refused; the caller notes
 * the slot. */
__inline void rt_attempt(struct rt_conn *c, __u32 set)
{
	c->said |= RT_SAID;
	rt_count(set, RT_C_ATTEMPTED);
}

__inline int rt_settle(struct rt_conn *c, struct rt_event *ev, int refused, __u32 set)
{
	if (refused) {
		rt_count(set, RT_C_REFUSED_FULL);
		if (ev->flags & RT_F_TURN_START) {
			rt_count(set, RT_C_REFUSED_TURNS);
			__sync_fetch_and_add(&c->unseen, 1);
		}
	} else {
		c->said |= RT_HEARD;
		c->unseen_told = ev->unseen;
	}
	return refused;
}

/* EOF or CLOSE: a header alone, on the stack, because it may run in softirq over an operation on the same CPU. */
__apart int rt_mark(struct rt_conn *c, __u32 kind, __u32 dir, __u32 reason, __u32 set)
{
	__u64 turn = c->turn;
	struct rt_event ev = {};

	dir &= 1;
	rt_head(&ev, c, kind, dir, c->told[dir], bpf_ktime_get_ns());
	if (kind == RT_KIND_CLOSE) { /* whatever is on its way comes too late */
		ev.offset = c->offset[dir];
		ev.other_offset = c->offset[!dir];
	}
	ev.turn = turn == RT_NO_TURN ? 0 : turn >> 1;
	ev.detail = reason;
	rt_attempt(c, set);
	if (rt_settle(c, &ev, rt_put_header(&ev, rt_shard_of(c)), set))
		rt_note(c, turn, reason, set);
	return 0;
}

/* One direction ended; said once. */
__inline void rt_end(struct rt_conn *c, __u32 dir, __u32 set)
{
	__u8 bit = dir == RT_DIR_INGRESS ? RT_ENDED_IN : RT_ENDED_OUT;

	struct rt_policy policy;

	if (c->selected != RT_SELECTED || !(c->said & RT_SAID) || (c->ended & bit))
		return;
	c->ended |= bit;
	if (c->sampling & RT_OUT)
		return;
	rt_policy_of(&policy, c, dir, 0);
	if (policy.mode == RT_MODE_MUTE)
		return;
	rt_mark(c, RT_KIND_EOF, dir, 0, set);
}

/* The socket is gone; said once. Silent for connections of which nothing was ever said, but for failed connects. */
__inline void rt_close(struct rt_conn *c, __u32 reason, __u32 set)
{
	int failed = c->role == RT_ROLE_CLIENT && (reason == RT_REASON_REFUSED || reason == RT_REASON_TIMEOUT);

	if (c->selected != RT_SELECTED || (c->ended & RT_ENDED) || (c->turn == RT_NO_TURN && !failed))
		return;
	c->ended |= RT_ENDED;
	if (c->sampling & RT_OUT)
		return;
	rt_mark(c, RT_KIND_CLOSE, c->turn & 1, reason, set);
}

/* ---- where the bytes are ---- */

__inline void rt_from_iovecs(struct rt_op *op, __u64 iov, __u64 count)
{
	op->iov = iov;
	op->iovs = count > RT_MAX_IOVECS ? RT_MAX_IOVECS : count;
}

__inline int rt_from_msghdr(struct rt_op *op, __u64 at)
{
	struct user_msghdr hdr;

	if (bpf_probe_read_user(&hdr, sizeof(hdr), (void *)at)) {
		op->flags |= RT_F_FAULT;
		return 0;
	}
	op->name = hdr.name_len >= 16 ? hdr.name : 0;
	rt_from_iovecs(op, hdr.iov, hdr.iov_len);
	return 0;
}

/* Fills `op` from the arguments of the system call that the task is still in. 0: this call carries no user buffer in
 * direction `dir`. `message` is the index into the vector of sendmmsg and recvmmsg. */
__apart int rt_locate(struct rt_op *op, struct pt_regs *regs, __u32 dir, __u32 message)
{
	__s64 nr = REG_NR(regs);
	__u32 out = dir == RT_DIR_EGRESS;

	if (nr == (out ? NR_write : NR_read)) {
		op->base = REG_1(regs);
		op->left = REG_2(regs);
	} else if (nr == (out ? NR_sendto : NR_recvfrom)) {
		op->base = REG_1(regs);
		op->left = REG_2(regs);
		op->name = REG_4(regs);
	} else if (nr == (out ? NR_writev : NR_readv) || nr == (out ? NR_pwritev2 : NR_preadv2)) {
		rt_from_iovecs(op, REG_1(regs), REG_2(regs));
	} else if (nr == (out ? NR_sendmsg : NR_recvmsg)) {
		rt_from_msghdr(op, REG_1(regs));
	} else if (nr == (out ? NR_sendmmsg : NR_recvmmsg)) {
		rt_from_msghdr(op, REG_1(regs) + (__u64)message * sizeof(struct user_mmsghdr));
	} else {
		return 0;
	}
	return 1;
}

/* The other end of a datagram, from the caller's sockaddr. Unreadable: left unknown. */
__apart int rt_read_name(struct rt_conn *c, __u64 at)
{
	struct {
		__u16 family;
		__u16 port;
		__u32 word[5]; /* IPv4: address first; IPv6: flow, then four words */
	} name = {};

	bpf_probe_read_user(&name, 8, (void *)at);
	if (name.family == AF_INET) {
		c->who.raddr32[0] = name.word[0];
		c->who.raddr32[1] = c->who.raddr32[2] = c->who.raddr32[3] = 0;
	} else if (name.family == AF_INET6) {
		bpf_probe_read_user(&name, sizeof(name), (void *)at);
		for (int i = 0; i < 4; i++)
			c->who.raddr32[i] = name.word[i + 1];
		if (rt_is_mapped(c->who.raddr32)) {
			c->family = AF_INET;
			rt_unmap(c->who.raddr32);
		}
	} else {
		return 0;
	}
	c->who.rport = rt_host_order(name.port);
	return 0;
}

/* ---- turns and budgets ---- */

/* Moves the connection to the turn that this operation belongs to: number << 1 | direction. True when it begins one. A
 * datagram is a turn. */
__inline int rt_enter_turn(struct rt_conn *c, __u32 dir, int datagram, __u64 *turn)
{
	__u64 was, next;

	for (int i = 0; i < 4; i++) {
		was = *(volatile __u64 *)&c->turn;
		if (was == RT_NO_TURN)
			next = dir;
		else if (datagram || (was & 1) != dir)
			next = ((was >> 1) + 1) << 1 | dir;
		else
			break;
		if (__sync_val_compare_and_swap(&c->turn, was, next) == was) {
			*turn = next;
			return 1;
		}
	}
	*turn = was;
	return 0;
}

/* ---- the copy ---- */

/* Moves the walk on by one frame, or to the end of what `data` holds. Not 0: there. */
__alone int rt_walk_frame(struct rt_conn *c, struct rt_scratch *s)
{
	struct rt_frames *f;
	struct rt_op *op;
	__u32 n, at, len;

	if (!c || !s)
		return 1;
	op = &s->op;
	f = &c->frames[s->ev.dir & 1];
	at = op->walked & (RT_MAX_CHUNK - 1);
	if (op->walked >= op->fill || f->step == RT_OUT_OF_STEP)
		return 1;
	n = op->fill - op->walked;
	if (f->left) {
		n = min_of(n, f->left);
		if (f->skip) {
			/* The header, or an operation, ended before what is needed of the payload. */
			len = min_of(n, f->due);
			f->due -= len;
			if (op->walked + n == op->fill)
				op->keep = op->walked + len;
		}
		f->left -= n;
		op->walked += n;
		return 0;
	}
	f->skip = 0;
	for (int i = 0; i < (int)RT_FRAME_HEADER; i++) {
		if (f->have >= RT_FRAME_HEADER || !n)
			break;
		f->head[f->have & 15] = s->data[at];
		at = (at + 1) & (RT_MAX_CHUNK - 1);
		f->have++;
		op->walked++;
		n--;
	}
	if (f->have < RT_FRAME_HEADER)
		return 1;
	f->have = 0;
	len = (__u32)f->head[0] << 16 | (__u32)f->head[1] << 8 | f->head[2];
	if (!rt_frame_plausible(f->head, len, f->step == RT_IN_STEP)) {
		f->step = RT_OUT_OF_STEP;
		return 1;
	}
	f->step = RT_IN_STEP;
	f->left = len;
	/* The payload goes on behind what was copied: of that, and of what follows, little is needed. */
	if (f->head[3] == RT_H2_DATA && len > RT_DATA_WHOLE && len > n) {
		f->skip = 1;
		f->due = RT_DATA_HEAD - min_of(n, RT_DATA_HEAD);
		op->keep = min_of(op->walked + RT_DATA_HEAD, op->fill);
		op->walked += n;
		f->left -= n;
	}
	return 0;
}

/* Mode full: walks what `data` holds. Gives how many bytes of the buffers behind it are only to be counted. */
__alone __u32 rt_walk(struct rt_conn *c, struct rt_scratch *s)
{
	struct rt_frames *f;
	struct rt_op *op;

	if (!c || !s)
		return 0;
	f = &c->frames[s->ev.dir & 1];
	op = &s->op;
	op->walked = 0;
	op->keep = op->fill;
	for (int i = 0; i < (int)(2 * RT_MAX_FRAMES); i++)
		if (rt_walk_frame(c, s))
			break;
	if (op->walked < op->fill)
		f->step = RT_OUT_OF_STEP;
	f->at += op->fill;
	return rt_frames_skip(f, op->want);
}

/* Sends what `data` holds as one record, and with it that `behind` bytes which follow are only counted. Not 0: the operation
 * is over, or the ring is full. */
__alone int rt_send(struct rt_conn *c, struct rt_scratch *s, __u32 cap, __u32 behind)
{
	struct rt_op *op;
	__u32 last, len;

	if (!c || !s)
		return 1;
	op = &s->op;
	last = !op->want;
	len = last ? op->rest : op->fill + behind;

	s->ev.flags = (s->ev.flags & RT_F_FIRST) | op->flags | (last ? 0 : RT_F_MORE) | (last && len > cap ? RT_F_CUT : 0);
	s->ev.len = len;
	s->ev.cap_len = cap;
	rt_attempt(c, RT_SET_OPERATION);
	if (rt_settle(c, &s->ev, rt_put_scratch(cap), RT_SET_OPERATION)) {
		op->refused = 1;
		return 1;
	}
	op->flags &= ~RT_F_TURN_START;
	s->ev.flags &= ~RT_F_FIRST;
	op->rest -= len;
	op->fill = 0;
	s->ev.offset += len;
	return last;
}

/* The first bytes of a turn are in `data`. If they are the preface of HTTP/2 (at the beginning of a connection, or behind an
 * upgrade), the connection is in mode full from here on, this operation included. User space would say the same, but some
 * milliseconds later: what a client asks at once and what it is answered until then is more than a budget holds, and a header
 * block that is cut takes the later ones with it. */
__alone int rt_meet_preface(struct rt_conn *c, struct rt_scratch *s)
{
	struct rt_op *op;

	if (!c || !s)
		return 0;
	op = &s->op;
	if (op->fill < RT_PREFACE_LEN || op->flags & RT_F_FAULT)
		return 0;
	if (__builtin_memcmp(s->data, RT_PREFACE, RT_PREFACE_LEN))
		return 0;
	c->verdict = (c->verdict & 3u << RT_VERDICT_ROLE_SHIFT) | RT_MODE_FULL << RT_VERDICT_MODE_SHIFT | RT_VERDICT_KNOWN |
		     RT_VERDICT_PREFACE;
	op->full = 1;
	op->want = min_of(op->rest - op->fill, RT_FULL_WALKED);
	rt_frames_behind_preface(&c->frames[s->ev.dir & 1], s->ev.offset);
	return 1;
}

__alone int rt_flush(struct rt_conn *c, struct rt_scratch *s)
{
	struct rt_op *op;
	__u32 behind = 0;

	if (!c || !s)
		return 1;
	op = &s->op;
	if (op->flags & RT_F_TURN_START && !op->full)
		rt_meet_preface(c, s);
	op->keep = op->fill;
	if (op->full) {
		behind = rt_walk(c, s);
		op->want -= behind;
		op->skip = behind;
	}
	return rt_send(c, s, op->keep, behind);
}

/* On to the next iovec. 0: it could not be read. */
__inline int rt_next_buffer(struct rt_op *op)
{
	struct user_iovec iov = {};

	if (bpf_probe_read_user(&iov, sizeof(iov), (void *)op->iov))
		return 0;
	op->iov += sizeof(iov);
	op->iovs--;
	op->base = iov.base;
	op->left = iov.len;
	return 1;
}

/* Moves on by one piece: the next iovec if the last is used up, then as much as fits. Not 0: done. */
__alone int rt_step(struct rt_conn *c, struct rt_scratch *s)
{
	struct rt_op *op;
	__u32 at;
	__u64 take;

	if (!c || !s)
		return 1;
	op = &s->op;
	at = op->fill & (RT_MAX_CHUNK - 1);
	if (op->want && !op->left) {
		if (!op->iovs) {
			op->want = 0; /* beyond the iovecs that are walked */
		} else if (!rt_next_buffer(op)) {
			op->flags |= RT_F_FAULT;
			op->want = 0;
		}
	}
	if (op->skip && op->want) {
		take = min_of(op->left, op->skip);
		op->base += take;
		op->left -= take;
		op->skip -= take;
		return 0;
	}
	take = min_of(op->left, op->want);
	take = min_of(take, RT_MAX_CHUNK - at);
	visible(take);
	if (take && take <= RT_MAX_CHUNK) {
		if (bpf_probe_read_user(s->data + at, take, (void *)op->base)) {
			op->flags |= RT_F_FAULT;
			op->want = 0;
		} else {
			op->base += take;
			op->left -= take;
			op->want -= take;
			op->fill += take;
		}
	}
	if (op->want && op->fill < RT_MAX_CHUNK)
		return 0;
	return rt_flush(c, s);
}

__inline void rt_copy(struct rt_conn *c, struct rt_scratch *s)
{
	struct rt_op *op = &s->op;
	int done = 0;

	for (int i = 0; i < (int)RT_MAX_STEPS; i++) {
		done = rt_step(c, s);
		if (done)
			break;
	}
	if (!done) { /* mode full, in more pieces than are taken: the rest is only counted */
		op->want = 0;
		rt_flush(c, s);
	}
	if (s->op.flags & RT_F_FAULT)
		rt_count(RT_SET_OPERATION, RT_C_FAULT);
}

/* ---- one operation ---- */

__inline struct rt_scratch *rt_enter(void)
{
	__u32 zero = 0;
	struct rt_scratch *s = bpf_map_lookup_elem(&rt_scratches, &zero);

	if (!s || s->busy) {
		rt_count(RT_SET_STATE, RT_C_NO_STORAGE);
		return NULL;
	}
	s->busy = 1;
	return s;
}

__inline void rt_leave(struct rt_scratch *s)
{
	s->busy = 0;
}

/* An operation whose place on the connection is claimed. */
struct rt_claim {
	__u64 offset;
	__u64 turn; /* number << 1 | direction */
	__u64 now;
	__u32 dir;
	__u32 moved;
	__u32 want; /* bytes to capture */
	__u32 begins; /* its turn */
	__u32 full; /* in mode full */
	__u32 skipped; /* of the bytes, the first that many are only counted */
	__u64 header; /* user_msghdr that names the buffers; 0: the registers do */
};

/* Most operations: the first buffer holds all that is wanted, and one record takes it. Does without the loop of `rt_copy`. 0: this is
 * none of them, and nothing was done. */
__inline int rt_copy_whole(struct rt_conn *c, struct rt_scratch *s)
{
	struct rt_op *op = &s->op;
	__u64 take = op->want;

	if (op->full || op->skip || op->flags & RT_F_FAULT || take > op->left || take > RT_MAX_CHUNK)
		return 0;
	visible(take);
	if (take && take <= RT_MAX_CHUNK) {
		if (bpf_probe_read_user(s->data, take, (void *)op->base))
			return 0;
		if (op->flags & RT_F_TURN_START && take >= RT_PREFACE_LEN && rt_begins_like_preface(s->data))
			return 0;
	}
	s->ev.flags = (s->ev.flags & RT_F_FIRST) | op->flags | (op->rest > take ? RT_F_CUT : 0);
	s->ev.len = op->rest;
	s->ev.cap_len = take;
	rt_attempt(c, RT_SET_OPERATION);
	op->refused = !!rt_settle(c, &s->ev, rt_put_scratch(take), RT_SET_OPERATION);
	return 1;
}

enum rt_outcome { RT_RECORDED = 0, RT_REFUSED = 1, RT_UNTRIED = 2, RT_MUTED = 3 };

/* Puts the operation into the ring, in as many records as it takes. What goes on with a turn and has no buffer (sendfile behind a
 * head) would be a record without payload, one more for each answer of a file: the slot says as much. */
__inline int rt_record(struct rt_conn *c, struct rt_scratch *s, const struct rt_claim *claim, struct pt_regs *regs,
		       __u32 message)
{
	struct rt_op *op = &s->op;

	op->flags = (claim->begins ? RT_F_TURN_START : 0) | (c->late ? RT_F_LATE : 0);
	op->base = op->left = op->iov = op->name = 0;
	op->iovs = op->fill = op->refused = op->skip = 0;
	op->full = claim->full;
	op->rest = claim->moved;
	op->want = claim->want;
	if (claim->header) {
		rt_from_msghdr(op, claim->header);
	} else if (!regs || !rt_locate(op, regs, claim->dir, message)) {
		__u32 passed = claim->skipped;

		if (claim->full) { /* what is due of a payload cannot be read here: it is counted with the rest */
			struct rt_frames *f = &c->frames[claim->dir & 1];

			f->due = 0;
			passed += rt_frames_skip(f, claim->moved - passed);
		}
		if (!claim->begins && (!claim->full || passed == claim->moved))
			return RT_UNTRIED;
		op->flags |= RT_F_NO_BUFFER;
		op->want = 0;
	}
	if (op->want && op->iovs && !rt_next_buffer(op))
		op->flags |= RT_F_FAULT;
	if (op->flags & RT_F_FAULT)
		op->want = 0;
	if (c->transport == RT_UDP && op->name)
		rt_read_name(c, op->name);
	rt_head(&s->ev, c, RT_KIND_DATA, claim->dir & 1, claim->offset, claim->now);
	s->ev.turn = claim->turn >> 1;
	s->shard = rt_shard_of(c);
	if (claim->skipped && op->want) {
		op->skip = claim->skipped;
		/* It may reach beyond what is walked of an operation: then all of that is passed over. */
		op->want = op->want > claim->skipped ? op->want - claim->skipped : 0;
		if (rt_send(c, s, 0, claim->skipped))
			return op->refused ? RT_REFUSED : RT_RECORDED;
	}
	if (!rt_copy_whole(c, s))
		rt_copy(c, s);
	return op->refused ? RT_REFUSED : RT_RECORDED;
}

/* Mode full: how much of an operation is captured. */
__inline int rt_take_full(struct rt_conn *c, struct rt_claim *claim)
{
	struct rt_frames *f = &c->frames[claim->dir & 1];

	rt_frames_meet(f, claim->offset, claim->begins);
	claim->full = 1;
	claim->skipped = rt_frames_skip(f, claim->moved);
	claim->want = min_of(claim->moved, f->step == RT_OUT_OF_STEP ? RT_FULL_CAPTURED : RT_FULL_WALKED);
	if (claim->skipped < claim->moved)
		return RT_RECORDED;
	/* All of it is payload that is only counted; but that a turn begins must be said. */
	claim->want = 0;
	return claim->begins ? RT_RECORDED : RT_UNTRIED;
}

/* Takes the operation's place on the connection, and says what is to become of it. */
__hot int rt_take_place(struct rt_conn *c, struct rt_claim *claim)
{
	struct rt_policy policy;
	__u32 dir, spent, moved, level;
	__u64 tuned;
	int datagram;

	if (!c || !claim)
		return RT_MUTED;
	dir = claim->dir & 1;
	moved = claim->moved;
	datagram = c->transport == RT_UDP || c->transport == RT_UNIX_DGRAM;
	rt_count(RT_SET_OPERATION, RT_C_OPERATIONS);
	rt_note_owner(c);
	tuned = rt_tuned();
	level = tuned >> RT_TUNING_SAMPLING_SHIFT;
	rt_policy_of(&policy, c, dir, tuned);
	claim->begins = rt_enter_turn(c, dir, datagram, &claim->turn);
	if (claim->begins && rt_sampling_moves(c, policy.mode, dir, level))
		rt_sample(c, claim->turn, level);
	claim->offset = __sync_fetch_and_add(&c->offset[dir], moved);
	spent = claim->begins ? 0 : c->spent[dir];
	c->spent[dir] = spent + moved < spent ? ~0u : spent + moved;
	if (policy.mode == RT_MODE_MUTE) {
		rt_count(RT_SET_OPERATION, RT_C_MUTED);
		return RT_MUTED;
	}
	if (c->sampling & RT_OUT) {
		if (claim->begins)
			rt_count(RT_SET_OPERATION, RT_C_SAMPLED_TURNS);
		return RT_MUTED;
	}
	if (claim->begins)
		rt_count(RT_SET_OPERATION, RT_C_TURNS);
	if (policy.mode == RT_MODE_FULL)
		return rt_take_full(c, claim);
	if (spent >= policy.budget)
		return RT_UNTRIED;
	claim->want = min_of(moved, policy.budget - spent);
	return RT_RECORDED;
}

/* Nothing more comes of the operation: from here on others may say that its bytes have moved. */
__hot int rt_tell(struct rt_conn *c, struct rt_claim *claim, __u32 outcome)
{
	__u32 dir;

	if (!c || !claim)
		return 0;
	dir = claim->dir & 1;
	if (outcome == RT_UNTRIED && claim->begins)
		__sync_fetch_and_add(&c->unseen, 1);
	c->ts_ns[dir] = claim->now;
	*(volatile __u64 *)&c->told[dir] = claim->offset + claim->moved;
	if (outcome == RT_REFUSED || outcome == RT_UNTRIED)
		rt_note(c, claim->turn, 0, RT_SET_OPERATION);
	return 0;
}

/* `moved` bytes went through a selected connection. The buffers are named by `header`, or, where that is 0, by `regs`;
 * both none: there is no user buffer. */
__inline void rt_moved(struct rt_conn *c, struct pt_regs *regs, __u64 header, __u32 dir, __u32 moved, __u32 message)
{
	struct rt_claim claim = { .now = bpf_ktime_get_ns(), .dir = dir, .moved = moved, .header = header };
	int outcome = rt_take_place(c, &claim);
	struct rt_scratch *s;

	if (outcome == RT_RECORDED) {
		s = rt_enter();
		if (s) {
			outcome = rt_record(c, s, &claim, regs, message);
			rt_leave(s);
		} else {
			outcome = RT_UNTRIED;
		}
	}
	rt_tell(c, &claim, outcome);
}

/* The user's registers, if the buffers they name are this operation's to read. */
__inline struct pt_regs *rt_user_regs(struct task_struct *task)
{
	if ((FIELD(task->flags) & PF_IO_WORKER) || TASK_IS_32BIT(task))
		return NULL;
	return bpf_task_pt_regs(task);
}

/* ---- TCP states, shared by both rungs (include/net/tcp_states.h) ---- */

enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
};
/* include/uapi/asm-generic/errno.h */
enum { EPIPE = 32, ECONNRESET = 104, ETIMEDOUT = 110 };

__inline int rt_was_reset(int err, int before)
{
	return before != TCP_SYN_SENT && (err == ECONNRESET || err == EPIPE);
}

__inline __u32 rt_close_reason(int err, int before)
{
	if (err == ETIMEDOUT)
		return RT_REASON_TIMEOUT;
	if (before == TCP_SYN_SENT)
		return RT_REASON_REFUSED;
	if (rt_was_reset(err, before))
		return RT_REASON_RESET;
	if (err)
		return RT_REASON_TIMEOUT; /* unreachable and the like: the peer was given up */
	return before == TCP_ESTABLISHED || before == TCP_CLOSE_WAIT ? RT_REASON_ABORT : RT_REASON_FIN;
}

/* A change of an existing connection's state. */
__inline void rt_state_moved(struct rt_conn *c, struct sock *sk, int before, int after)
{
	if (after == TCP_ESTABLISHED && before == TCP_SYN_SENT)
		rt_fill_ends(c, sk);
	else if (after == TCP_FIN_WAIT1 || after == TCP_LAST_ACK)
		rt_end(c, RT_DIR_EGRESS, RT_SET_STATE);
	else if (after == TCP_CLOSE)
		rt_close(c, rt_close_reason(FIELD(sk->sk_err), before), RT_SET_STATE);
}

#endif
