/* SPDX-License-Identifier: Apache-2.0
 *
 * Rung `socket`: one hook a socket operation, after it, whatever the system call; connection state in the socket.
 * Kernel 6.3 or later with BTF. Neither kprobes nor BPF trampolines.
 *
 * Absent: bytes received by splice(2) (net/socket.c sock_splice_read goes past the hook), so the ingress offset of such a
 * connection counts the other bytes only; the end of a unix socket (it changes no inet state).
 */
#define RT_DIRECT 1
#include "capture.h"

struct {
	__number(type, RT_MAP_SK_STORAGE);
	__number(map_flags, RT_MAP_NO_PREALLOC);
	__typed(key, int);
	__typed(value, struct rt_conn);
} rt_conns SEC(".maps");

#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define RCV_SHUTDOWN 1

__inline int rt_is_vector(struct pt_regs *regs)
{
	__s64 nr = REG_NR(regs);

	return nr == NR_sendmmsg || nr == NR_recvmmsg;
}

/* sendmmsg and recvmmsg come once a message with the same registers. The next message of the same vector by the same
 * thread has the next index; a message that failed ends the call (net/socket.c __sys_sendmmsg, do_recvmmsg). */
__inline __u32 rt_next_message(struct rt_conn *c, struct pt_regs *regs)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid(), index = 0;
	__u64 vector = REG_1(regs);

	if (c->vector == vector && c->vector_tid == tid && c->vector_next < (__u32)REG_2(regs))
		index = c->vector_next;
	c->vector = vector;
	c->vector_tid = tid;
	c->vector_next = index + 1;
	return index;
}

__inline void rt_failed(struct sock *sk, struct task_struct *task)
{
	struct rt_conn *c;

	if (!rt_is_vector(bpf_task_pt_regs(task)))
		return;
	c = bpf_sk_storage_get(&rt_conns, sk, NULL, 0);
	if (c)
		c->vector = 0;
}

/* Selected, or becomes so now. The addresses are completed first: ports are filtered on, and an accepted socket had no
 * inode when its state was made. A datagram's sender reaches user memory only after this hook: on receive, the remote
 * end of an unconnected UDP socket stays unknown here. */
__inline int rt_watched(struct rt_conn *c, struct sock *sk, __u32 transport)
{
	if (c->selected == RT_SELECTED) {
		if (transport == RT_UDP || (transport >= RT_UNIX_STREAM && !c->who.raddr64[0]))
			rt_fill_ends(c, sk);
		return 1;
	}
	if (c->selected == RT_UNDECIDED) {
		if (!c->transport) {
			c->late = transport == RT_TCP;
			rt_begin(c, sk, transport);
		} else {
			rt_fill_ends(c, sk);
		}
		if (rt_select(c)) {
			rt_count(RT_SET_OPERATION, RT_C_CONNECTIONS);
			return 1;
		}
	}
	rt_count(RT_SET_OPERATION, RT_C_NOT_SELECTED);
	return 0;
}

/* A receive of 0 bytes by a stream is its end, unless 0 were asked for: then the peer has not shut down. */
__inline void rt_ended(struct sock *sk, __u32 transport)
{
	struct rt_conn *c;

	if (transport != RT_TCP && transport != RT_UNIX_STREAM)
		return;
	if (!(FIELD(sk->sk_shutdown) & RCV_SHUTDOWN))
		return;
	c = bpf_sk_storage_get(&rt_conns, sk, NULL, 0);
	if (c)
		rt_end(c, RT_DIR_INGRESS, RT_SET_OPERATION);
}

__inline int rt_operation(struct sock *sk, __u32 dir, int ret, int flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 transport = rt_transport_of(sk), message = 0;
	struct pt_regs *regs;
	struct rt_conn *c;

	if (!transport || (FIELD(task->flags) & PF_KTHREAD))
		return 0;
	if (dir == RT_DIR_INGRESS && (flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB)))
		return 0;
	if (ret < 0) {
		rt_failed(sk, task);
		return 0;
	}
	if (!ret) {
		if (dir == RT_DIR_INGRESS)
			rt_ended(sk, transport);
		return 0;
	}
	c = bpf_sk_storage_get(&rt_conns, sk, NULL, RT_STORAGE_CREATE);
	if (!c) {
		rt_count(RT_SET_OPERATION, RT_C_NO_STORAGE);
		return 0;
	}
	if (!rt_watched(c, sk, transport))
		return 0;
	regs = rt_user_regs(task);
	if (regs && rt_is_vector(regs))
		message = rt_next_message(c, regs);
	else
		c->vector = 0;
	if (dir == RT_DIR_INGRESS && transport == RT_TCP && (flags & MSG_TRUNC))
		regs = NULL; /* tcp(7): discarded, not copied */
	rt_moved(c, regs, 0, dir, ret, message);
	return 0;
}

SEC("tp_btf/sock_send_length")
int rt_sock_send(__u64 *ctx)
{
	return rt_operation((struct sock *)ctx[0], RT_DIR_EGRESS, (int)ctx[1], (int)ctx[2]);
}

SEC("tp_btf/sock_recv_length")
int rt_sock_recv(__u64 *ctx)
{
	return rt_operation((struct sock *)ctx[0], RT_DIR_INGRESS, (int)ctx[1], (int)ctx[2]);
}

/* A connection begins: its state is made anew, because a socket may be connected again after a failure. */
__inline void rt_opened(struct sock *sk, int client)
{
	struct rt_conn *c = bpf_sk_storage_get(&rt_conns, sk, NULL, RT_STORAGE_CREATE);

	if (!c) {
		rt_count(RT_SET_STATE, RT_C_NO_STORAGE);
		return;
	}
	__builtin_memset(c, 0, sizeof(*c));
	c->role = client ? RT_ROLE_CLIENT : RT_ROLE_SERVER;
	rt_begin(c, sk, RT_TCP);
	/* SYN_SENT is entered inside connect(2), so the caller is known; an accepted socket has no owner yet. */
	if (client && rt_select(c))
		rt_count(RT_SET_STATE, RT_C_CONNECTIONS);
}

SEC("tp_btf/inet_sock_set_state")
int rt_sock_state(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int before = (int)ctx[1], after = (int)ctx[2];
	struct rt_conn *c;

	if (rt_transport_of(sk) != RT_TCP)
		return 0;
	if (after == TCP_SYN_SENT) {
		struct task_struct *task = bpf_get_current_task_btf();

		if (!(FIELD(task->flags) & PF_KTHREAD))
			rt_opened(sk, 1);
		return 0;
	}
	if (after == TCP_ESTABLISHED && before == TCP_SYN_RECV) {
		rt_opened(sk, 0);
		return 0;
	}
	c = bpf_sk_storage_get(&rt_conns, sk, NULL, 0);
	if (c)
		rt_state_moved(c, sk, before, after);
	return 0;
}

char _license[] SEC("license") = "GPL";
