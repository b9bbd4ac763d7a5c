/* SPDX-License-Identifier: Apache-2.0
 *
 * A producer for the tests of the ring consumer and of the shared slots (kernel/tests/ring_live.rs, ring_slots.rs), run
 * on demand through BPF_PROG_TEST_RUN:
 * nothing is attached, nothing is observed. The arguments say what to put into the ring; the answer of the kernel
 * helper is the program's return value.
 *
 * No CO-RE and no registers, so one little-endian object serves every architecture. Built by
 * `cargo xtask bpf`.
 */

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

#include "abi.h"

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

enum { MAP_ARRAY = 2, MAP_RINGBUF = 27, F_MMAPABLE = 1 << 10 };
enum { RB_NO_WAKEUP = 1, RB_FORCE_WAKEUP = 2 };

static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)1;
static __u64 (*const ktime_get_ns)(void) = (void *)5;
static long (*const ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) = (void *)130;
static void *(*const ringbuf_reserve)(void *ring, __u64 size, __u64 flags) = (void *)131;
static void (*const ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static void (*const ringbuf_discard)(void *data, __u64 flags) = (void *)133;
static long (*const loop)(__u32 rounds, void *callback, void *context, __u64 flags) = (void *)181;

/* Largest record that a test can ask for. */
#define SCRATCH 65536
/* Payload of a held or discarded record: reservations need a constant size. */
#define FIXED 56
/* A held record is let go after this long even when nobody asks, so that no CPU is kept. */
#define HOLD_NS 5000000000ull

enum op { OP_OUTPUT = 0, OP_DISCARD = 1, OP_HOLD = 2, OP_OUTPUT_WAKE = 3, OP_SLOT = 4 };

struct scratch {
	__u64 tag;
	unsigned char rest[SCRATCH - 8];
};

struct {
	__uint(type, MAP_RINGBUF);
	__uint(max_entries, 4096); /* set by the test */
} ring SEC(".maps");

struct {
	__uint(type, MAP_ARRAY);
	__uint(map_flags, F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* [0]: set to 1 by the program while it holds a busy record; [1]: set to 1 by the test to let it go. */
struct {
	__uint(type, MAP_ARRAY);
	__uint(map_flags, F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} hold SEC(".maps");

/* The shared tables, as the probe has them, for SLOTS connections. */
#define SLOTS 1024

struct {
	__uint(type, MAP_ARRAY);
	__uint(map_flags, F_MMAPABLE);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct rt_slot);
} rt_slots SEC(".maps");

struct {
	__uint(type, MAP_ARRAY);
	__uint(map_flags, F_MMAPABLE);
	__uint(max_entries, SLOTS / 64);
	__type(key, __u32);
	__type(value, __u64);
} rt_dirty SEC(".maps");

struct {
	__uint(type, MAP_ARRAY);
	__uint(map_flags, F_MMAPABLE);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} rt_verdict SEC(".maps");

struct request {
	__u64 op;
	__u64 len;
	__u64 tag;
};

struct waiting {
	volatile __u64 *let_go;
	__u64 deadline;
};

static long still_held(__u64 round __attribute__((unused)), void *context)
{
	struct waiting *w = context;

	return *w->let_go != 0 || ktime_get_ns() > w->deadline;
}

/* One loop is at most 2^23 rounds, a tenth of a second: too short for a machine that is busy. */
static long still_held_long(__u64 round, void *context)
{
	loop(1 << 23, still_held, context, 0);
	return still_held(round, context);
}

static long hold_busy(__u64 tag)
{
	__u32 announced_key = 0, let_go_key = 1;
	volatile __u64 *announced = map_lookup_elem(&hold, &announced_key);
	struct waiting w = {
		.let_go = map_lookup_elem(&hold, &let_go_key),
		.deadline = ktime_get_ns() + HOLD_NS,
	};
	__u64 *record;

	if (!announced || !w.let_go)
		return -2;
	record = ringbuf_reserve(&ring, FIXED, 0);
	if (!record)
		return -11;
	record[0] = tag;
	*announced = 1;
	loop(1 << 23, still_held_long, &w, 0);
	ringbuf_submit(record, RB_NO_WAKEUP);
	return 0;
}

struct updates {
	__u64 conn_id;
	struct rt_slot *slot;
	__u64 *dirty;
};

/* One update of a slot, in the order that the probe keeps: fields first, dirty bit last. */
static long update_slot(__u64 round, void *context)
{
	struct updates *u = context;
	volatile struct rt_slot *slot = u->slot;
	__u64 value = round + 1;

	slot->conn_id = u->conn_id;
	slot->offset[RT_DIR_EGRESS] = value;
	slot->ts_ns[RT_DIR_EGRESS] = value;
	slot->turn = value << 1 | RT_DIR_EGRESS;
	slot->shard = u->conn_id % 3;
	__sync_fetch_and_or(u->dirty, 1ull << (u->conn_id % 64));
	return 0;
}

static long update_slots(__u64 conn_id, __u64 rounds)
{
	__u32 slot_key = conn_id % SLOTS, word_key = slot_key / 64;
	struct updates u = {
		.conn_id = conn_id,
		.slot = map_lookup_elem(&rt_slots, &slot_key),
		.dirty = map_lookup_elem(&rt_dirty, &word_key),
	};

	if (!u.slot || !u.dirty)
		return -2;
	return loop(rounds, update_slot, &u, 0);
}

SEC("raw_tp/sys_enter")
int produce(struct request *request)
{
	__u64 op = request->op, len = request->len, tag = request->tag;
	__u32 zero = 0;
	struct scratch *s;
	void *record;

	if (op == OP_HOLD)
		return hold_busy(tag);
	if (op == OP_SLOT)
		return update_slots(tag, len);
	if (op == OP_DISCARD) {
		record = ringbuf_reserve(&ring, FIXED, 0);
		if (!record)
			return -11;
		ringbuf_discard(record, RB_NO_WAKEUP);
		return 0;
	}
	s = map_lookup_elem(&scratch, &zero);
	if (!s || len > SCRATCH)
		return -2;
	s->tag = tag;
	return ringbuf_output(&ring, s, len, op == OP_OUTPUT_WAKE ? RB_FORCE_WAKEUP : RB_NO_WAKEUP);
}

char LICENSE[] SEC("license") = "GPL";
