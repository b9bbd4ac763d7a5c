/* SPDX-License-Identifier: Apache-2.0
 *
 * Which connections are watched. Decided once a connection, by the task of its first operation (of connect, for a TCP
 * client), before any byte of it is looked at.
 *
 * A kind of filter (cgroup, pid namespace, process, port) is a list of at most RT_FILTERS entries, each allow or deny.
 * Any deny that matches excludes; where a kind has allow entries, one of them must match. The agent is always excluded.
 */
#ifndef REDTAP_FILTER_H
#define REDTAP_FILTER_H

#include "core.h"

#define RT_FILTERS 16
/* Levels of nested cgroups and of nested pid namespaces (MAX_PID_NS_LEVEL) looked through. */
#define RT_CGROUP_LEVELS 32
#define RT_PIDNS_LEVELS 33
/* PROC_PID_INIT_INO, include/linux/proc_ns.h: the first pid namespace. */
#define RT_INIT_PIDNS 0xEFFFFFFCu

/* Written by the loader. `_n` entries are in use; bit i of `_deny` says that entry i excludes. */
volatile const __u32 rt_agent_pidns = RT_INIT_PIDNS;
volatile const __u32 rt_agent_pid = 0;
volatile const __u32 rt_cgroup_n = 0, rt_cgroup_deny = 0;
volatile const __u64 rt_cgroup_list[RT_FILTERS] = {};
volatile const __u32 rt_pidns_n = 0, rt_pidns_deny = 0;
volatile const __u32 rt_pidns_list[RT_FILTERS] = {};
volatile const __u32 rt_pid_n = 0, rt_pid_deny = 0;
volatile const __u32 rt_pid_list[RT_FILTERS] = {};
volatile const __u32 rt_comm_n = 0, rt_comm_deny = 0;
volatile const __u64 rt_comm_list[2 * RT_FILTERS] = {}; /* 16 bytes of name an entry, NUL padded */
volatile const __u32 rt_port_n = 0, rt_port_deny = 0;
volatile const __u32 rt_port_list[RT_FILTERS] = {};

/* Verdict of one kind: `matched` has a bit for each entry that matched, of `n` entries. */
__inline int rt_kind_passes(__u32 matched, __u32 n, __u32 deny)
{
	__u32 allow = ((1u << n) - 1) & ~deny;

	if (matched & deny)
		return 0;
	return !allow || (matched & allow);
}

/* Bits of the cgroup entries that are `id`. */
__alone __u32 rt_cgroup_matches(__u64 id)
{
	__u32 matched = 0;

	for (__u32 i = 0; i < RT_FILTERS; i++)
		if (i < rt_cgroup_n && rt_cgroup_list[i] == id)
			matched |= 1u << i;
	return matched;
}

/* The cgroup of the current task or any above it. Levels count from the root of the hierarchy. */
__apart int rt_cgroup_passes(void)
{
	__u32 matched = 0;

	if (!rt_cgroup_n)
		return 1;
	for (int level = 0; level < RT_CGROUP_LEVELS; level++) {
		__u64 id = bpf_get_current_ancestor_cgroup_id(level);

		if (!id)
			break;
		matched |= rt_cgroup_matches(id);
	}
	return rt_kind_passes(matched, rt_cgroup_n, rt_cgroup_deny);
}

__alone __u32 rt_pidns_matches(__u32 inum)
{
	__u32 matched = 0;

	for (__u32 i = 0; i < RT_FILTERS; i++)
		if (i < rt_pidns_n && rt_pidns_list[i] == inum)
			matched |= 1u << i;
	return matched;
}

/* The pid namespace that the current task lives in: that of its deepest number. */
__apart int rt_pidns_passes(struct task_struct *task)
{
	struct pid *pid = KREAD(task->thread_pid);
	unsigned int level = KREAD(pid->level);
	struct pid_namespace *ns;

	if (!rt_pidns_n)
		return 1;
	ns = KREAD(pid->numbers[level].ns);
	return rt_kind_passes(rt_pidns_matches(KREAD(ns->ns.inum)), rt_pidns_n, rt_pidns_deny);
}

__alone __u32 rt_pid_matches(__u32 pid)
{
	__u32 matched = 0;

	for (__u32 i = 0; i < RT_FILTERS; i++)
		if (i < rt_pid_n && rt_pid_list[i] == pid)
			matched |= 1u << i;
	return matched;
}

/* A name as two words of eight bytes. */
__alone __u32 rt_comm_matches(__u64 first, __u64 second)
{
	__u32 matched = 0;

	for (__u32 i = 0; i < RT_FILTERS; i++)
		if (i < rt_comm_n && rt_comm_list[2 * i] == first && rt_comm_list[2 * i + 1] == second)
			matched |= 1u << i;
	return matched;
}

/* By number (in the agent's pid namespace) or by name, of the thread or of the process; one kind of two lists. */
__apart int rt_process_passes(struct task_struct *task, __u32 pid)
{
	__u32 all = ((1u << rt_pid_n) - 1) | (((1u << rt_comm_n) - 1) << RT_FILTERS);
	__u32 deny = rt_pid_deny | rt_comm_deny << RT_FILTERS, allow = all & ~deny, matched;
	struct task_struct *leader;
	__u64 name[2] = {};

	if (!all)
		return 1;
	matched = rt_pid_matches(pid);
	if (rt_comm_n) {
		bpf_get_current_comm(name, sizeof(name));
		matched |= rt_comm_matches(name[0], name[1]) << RT_FILTERS;
		leader = KREAD(task->group_leader);
		bpf_probe_read_kernel(name, sizeof(name), &leader->comm);
		matched |= rt_comm_matches(name[0], name[1]) << RT_FILTERS;
	}
	if (matched & deny)
		return 0;
	return !allow || (matched & allow);
}

__alone __u32 rt_port_matches(__u32 port)
{
	__u32 matched = 0;

	for (__u32 i = 0; i < RT_FILTERS; i++)
		if (i < rt_port_n && rt_port_list[i] == port)
			matched |= 1u << i;
	return matched;
}

/* Either end's port, host order. Sockets without ports (unix) have 0, which no entry is. */
__apart int rt_port_passes(__u32 lport, __u32 rport)
{
	if (!rt_port_n)
		return 1;
	return rt_kind_passes(rt_port_matches(lport) | rt_port_matches(rport), rt_port_n, rt_port_deny);
}

/* The number of a task as the agent sees it: of `pid`'s numbers, the one in the agent's namespace. 0: not visible. */
__apart __u32 rt_number_in_agent_ns(struct pid *pid)
{
	unsigned int level = KREAD(pid->level);

	for (unsigned int i = 0; i < RT_PIDNS_LEVELS; i++) {
		struct pid_namespace *ns;

		if (i > level)
			break;
		ns = KREAD(pid->numbers[i].ns);
		if (KREAD(ns->ns.inum) == rt_agent_pidns)
			return (__u32)KREAD(pid->numbers[i].nr);
	}
	return 0;
}

#endif
