/* SPDX-License-Identifier: Apache-2.0
 *
 * What both objects share with user space: rings, slots, dirty bits, verdicts, counters. Sizes are defaults; the loader
 * sets the real ones.
 */
#ifndef REDTAP_MAPS_H
#define REDTAP_MAPS_H

#include "core.h"
#include "abi.h"

#define RING(name)                                     \
	struct {                                       \
		__number(type, RT_MAP_RINGBUF);        \
		__number(max_entries, 4096);           \
	} name SEC(".maps")

RING(ring0);
RING(ring1);
RING(ring2);
RING(ring3);
RING(ring4);
RING(ring5);
RING(ring6);
RING(ring7);

struct {
	__number(type, RT_MAP_ARRAY);
	__number(max_entries, 65536);
	__number(map_flags, RT_MAP_MMAPABLE);
	__typed(key, __u32);
	__typed(value, struct rt_slot);
} rt_slots SEC(".maps");

struct {
	__number(type, RT_MAP_ARRAY);
	__number(max_entries, 1024);
	__number(map_flags, RT_MAP_MMAPABLE);
	__typed(key, __u32);
	__typed(value, __u64);
} rt_dirty SEC(".maps");

struct {
	__number(type, RT_MAP_ARRAY);
	__number(max_entries, 65536);
	__number(map_flags, RT_MAP_MMAPABLE);
	__typed(key, __u32);
	__typed(value, __u64);
} rt_verdict SEC(".maps");

/* Two sets: operations count in the first, state changes in the second. A state change in softirq may interrupt an
 * operation on its CPU; with a set each, a plain increment is never interrupted by another of the same word, so the
 * sums are exact without atomics. */
enum { RT_SET_OPERATION = 0, RT_SET_STATE = RT_C_COUNT, RT_SETS = 2 * RT_C_COUNT };

struct {
	__number(type, RT_MAP_PERCPU_ARRAY);
	__number(max_entries, RT_SETS);
	__typed(key, __u32);
	__typed(value, __u64);
} rt_counters SEC(".maps");

/* Written when the governor takes a step; 0: everything is followed, with the budgets as they are. */
struct {
	__number(type, RT_MAP_ARRAY);
	__number(max_entries, 1);
	__typed(key, __u32);
	__typed(value, __u64);
} rt_tuning SEC(".maps");

/* Written by the loader. */
volatile const __u32 rt_shards = 1;
volatile const __u32 rt_slot_mask = 65535;
volatile const __u32 rt_class_in = 12;
volatile const __u32 rt_class_out = 12;
volatile const __u64 rt_wake_bytes = 1 << 20;
volatile const __u32 rt_capacity = 32768; /* connections of the syscall rung */

__u64 rt_connections = 0; /* ids given so far */
__u64 rt_entries = 0;     /* connections in the syscall rung's table */

__inline __u64 rt_tuned(void)
{
	__u32 zero = 0;
	__u64 *word = bpf_map_lookup_elem(&rt_tuning, &zero);

	return word ? *(volatile __u64 *)word : 0;
}

__inline void rt_add(__u32 set, __u32 counter, __u64 n)
{
	__u32 key = set + counter;
	__u64 *value = bpf_map_lookup_elem(&rt_counters, &key);

	if (value)
		*value += n;
}

__inline void rt_count(__u32 set, __u32 counter)
{
	rt_add(set, counter, 1);
}

__inline long rt_ring_put(void *ring, void *record, __u64 size, int ask)
{
	__u64 wake = ask && bpf_ringbuf_query(ring, RT_RB_AVAIL_DATA) >= rt_wake_bytes ? RT_RB_FORCE_WAKEUP : RT_RB_NO_WAKEUP;

	return bpf_ringbuf_output(ring, record, size, wake);
}

/* Copies a record into the ring of its connection. Both directions of a connection share a ring, and so an order. The reader
 * polls on its own clock; `ask`: wake it if the ring fills faster than that. To ask reads what the reader writes, and to wake it
 * is an interrupt (on a virtual machine more than all else that is done for a record), so this is for one record in many. */
__inline long rt_put(__u32 shard, void *record, __u64 size, int ask)
{
	switch (shard) {
	case 0:
		return rt_ring_put(&ring0, record, size, ask);
	case 1:
		return rt_ring_put(&ring1, record, size, ask);
	case 2:
		return rt_ring_put(&ring2, record, size, ask);
	case 3:
		return rt_ring_put(&ring3, record, size, ask);
	case 4:
		return rt_ring_put(&ring4, record, size, ask);
	case 5:
		return rt_ring_put(&ring5, record, size, ask);
	case 6:
		return rt_ring_put(&ring6, record, size, ask);
	default:
		return rt_ring_put(&ring7, record, size, ask);
	}
}

#endif
