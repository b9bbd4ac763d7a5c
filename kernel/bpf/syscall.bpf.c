/* SPDX-License-Identifier: Apache-2.0
 *
 * Rung `syscall`: exits of the socket system calls. Nothing is stashed at entry: at exit the arguments are still in the
 * task's saved registers. Connections live in a hash by socket address; a socket's inode number tells a new socket at
 * an old address. Kernel 5.12 or later with BTF.
 *
 * The table forgets the connection used longest ago when it is full: the end of some sockets is not seen (a process that
 * exits closes its UDP and unix sockets without a call), and these must not fill it for good. RT_C_EVICTED counts what
 * a full table gave up.
 */
#include "capture.h"

struct {
	__number(type, RT_MAP_LRU_HASH);
	__number(max_entries, 32768);
	__typed(key, __u64);
	__typed(value, struct rt_conn);
} rt_conns SEC(".maps");

/* What a connection begins as; too large for the stack. Never written. */
struct {
	__number(type, RT_MAP_ARRAY);
	__number(max_entries, 1);
	__typed(key, __u32);
	__typed(value, struct rt_conn);
} rt_blank SEC(".maps");

/* include/trace/syscall.h, struct syscall_trace_enter */
struct enter_args {
	__u64 common;
	__s64 nr;
	__u64 arg[6];
};

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define RCV_SHUTDOWN 1
#define EINPROGRESS 115
/* Messages of one sendmmsg or recvmmsg that are told apart; of the rest only sums are known. */
#define RT_MAX_MESSAGES 16
/* Most messages that the calls take (UIO_MAXIOV, include/uapi/linux/uio.h). */
#define RT_MAX_VECTOR 1024

/* ---- from descriptor to socket ---- */

__inline struct file *rt_file_of(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = FIELD(task->files);
	struct fdtable *table;
	struct file **slots, *file = NULL;

	if (!files)
		return NULL;
	table = FIELD(files->fdt);
	if (fd >= FIELD(table->max_fds))
		return NULL;
	slots = FIELD(table->fd);
	bpf_probe_read_kernel(&file, sizeof(file), slots + fd);
	return file;
}

__inline struct sock *rt_sock_of(struct file *file)
{
	struct inode *inode = file ? FIELD(file->f_inode) : NULL;
	struct socket *socket;

	if (!inode || (FIELD(inode->i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = FIELD(file->private_data);
	return socket ? FIELD(socket->sk) : NULL;
}

__inline struct rt_conn *rt_known(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&rt_conns, &key);
}

/* The entry of a socket, made blank if there is none. */
__inline struct rt_conn *rt_made(struct sock *sk, __u32 set)
{
	__u64 key = (__u64)sk;
	__u32 zero = 0;
	void *blank = bpf_map_lookup_elem(&rt_blank, &zero);
	struct rt_conn *c = bpf_map_lookup_elem(&rt_conns, &key);

	if (c || !blank)
		return c;
	bpf_map_update_elem(&rt_conns, &key, blank, 0);
	c = bpf_map_lookup_elem(&rt_conns, &key);
	if (!c) {
		rt_count(set, RT_C_NO_STORAGE);
	} else if (__sync_fetch_and_add(&rt_entries, 1) >= rt_capacity) {
		/* One came in, so one went. */
		__sync_fetch_and_add(&rt_entries, -1);
		rt_count(set, RT_C_EVICTED);
	}
	return c;
}

/* Takes a socket out of the table. */
__inline void rt_gone(struct sock *sk)
{
	__u64 key = (__u64)sk;

	if (!bpf_map_delete_elem(&rt_conns, &key))
		__sync_fetch_and_add(&rt_entries, -1);
}

/* Selected, or becomes so now. */
__apart int rt_watched(struct rt_conn *c, struct sock *sk, __u32 transport)
{
	__u64 inode = rt_inode_of(sk);

	/* Another socket at the address of one whose end was not seen. */
	if (c->transport && c->who.sock_ino && inode && c->who.sock_ino != inode)
		__builtin_memset(c, 0, sizeof(*c));
	if (c->selected == RT_SELECTED) {
		if (transport == RT_UDP || !c->who.sock_ino || (transport >= RT_UNIX_STREAM && !c->who.raddr64[0]))
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

/* ---- data ---- */

__inline struct sock *rt_operand(struct task_struct *task, __u32 fd, __u32 *transport)
{
	struct sock *sk;

	if (FIELD(task->flags) & PF_KTHREAD)
		return NULL;
	sk = rt_sock_of(rt_file_of(task, fd));
	*transport = sk ? rt_transport_of(sk) : 0;
	return *transport ? sk : NULL;
}

__inline void rt_recv_ended(struct sock *sk, __u32 transport)
{
	struct rt_conn *c;

	if ((transport != RT_TCP && transport != RT_UNIX_STREAM) || !(FIELD(sk->sk_shutdown) & RCV_SHUTDOWN))
		return;
	c = rt_known(sk);
	if (c)
		rt_end(c, RT_DIR_INGRESS, RT_SET_OPERATION);
}

/* A call that moved `ret` bytes through descriptor `fd`. `how` is a direction, with NO_BUFFER where the arguments name no
 * user buffer; `flags` are the call's MSG_ flags, 0 where it has none. */
#define NO_BUFFER 2

__apart int rt_call(struct pt_regs *regs, __u32 fd, __u32 how, __s64 ret, __u32 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 dir = how & 1, buffer = !(how & NO_BUFFER);
	struct rt_conn *c;
	struct sock *sk;
	__u32 transport;

	if (ret < 0 || (dir == RT_DIR_INGRESS && (flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB))))
		return 0;
	sk = rt_operand(task, fd, &transport);
	if (!sk)
		return 0;
	if (!ret) {
		if (dir == RT_DIR_INGRESS)
			rt_recv_ended(sk, transport);
		return 0;
	}
	c = rt_made(sk, RT_SET_OPERATION);
	if (!c || !rt_watched(c, sk, transport))
		return 0;
	if (dir == RT_DIR_INGRESS && transport == RT_TCP && (flags & MSG_TRUNC))
		buffer = 0;
	rt_moved(c, buffer ? regs : NULL, 0, dir, (__u32)ret, 0);
	return 0;
}

__inline long rt_message_len(__u64 vector, __u32 index, __u32 *len)
{
	__u64 at = vector + (__u64)index * sizeof(struct user_mmsghdr);

	return bpf_probe_read_user(len, sizeof(*len), (void *)(at + __builtin_offsetof(struct user_mmsghdr, len)));
}

/* One message of a vector. Not 0: no more. */
__alone int rt_vector_message(struct rt_conn *c, __u64 vector, __u32 dir, __u32 index)
{
	__u32 len = 0;

	if (!c || rt_message_len(vector, index, &len))
		return 1;
	if (len)
		rt_moved(c, NULL, vector + (__u64)index * sizeof(struct user_mmsghdr), dir & 1, len, 0);
	return 0;
}

/* Bytes of the messages from RT_MAX_MESSAGES up to `messages`, in the low half, and how many had any, in the high one. */
__alone __u64 rt_vector_rest(__u64 vector, __u32 messages)
{
	__u64 bytes = 0, count = 0;

	for (__u32 i = RT_MAX_MESSAGES; i < RT_MAX_VECTOR; i++) {
		__u32 len = 0;

		if (i >= messages || rt_message_len(vector, i, &len))
			break;
		bytes += len;
		count += len != 0;
	}
	return count << 32 | (bytes > ~0u ? ~0u : bytes);
}

/* Messages that are not told apart. On a stream they are one operation without a buffer; datagrams are turns each, of
 * which no record tells. */
__alone int rt_vector_skipped(struct rt_conn *c, __u32 dir, __u32 bytes, __u32 count)
{
	struct rt_claim claim = { .dir = dir & 1, .moved = bytes, .now = bpf_ktime_get_ns() };
	struct rt_policy policy;
	__u64 was;

	if (!c || !count)
		return 0;
	dir &= 1;
	if (c->transport != RT_UDP && c->transport != RT_UNIX_DGRAM) {
		rt_moved(c, NULL, 0, dir, bytes, 0);
		return 0;
	}
	rt_add(RT_SET_OPERATION, RT_C_OPERATIONS, count);
	rt_policy_of(&policy, c, dir, 0);
	for (int i = 0; i < 4; i++) {
		was = *(volatile __u64 *)&c->turn;
		claim.turn = ((was == RT_NO_TURN ? 0 : (was >> 1) + 1) + count - 1) << 1 | dir;
		if (__sync_val_compare_and_swap(&c->turn, was, claim.turn) == was)
			break;
	}
	claim.offset = __sync_fetch_and_add(&c->offset[dir], bytes);
	if (policy.mode == RT_MODE_MUTE) {
		rt_add(RT_SET_OPERATION, RT_C_MUTED, count);
		rt_tell(c, &claim, RT_MUTED);
		return 0;
	}
	rt_add(RT_SET_OPERATION, RT_C_TURNS, count);
	__sync_fetch_and_add(&c->unseen, count);
	rt_tell(c, &claim, RT_UNTRIED);
	return 0;
}

__apart int rt_vector(struct pt_regs *regs, __u32 dir, __s64 messages)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct rt_conn *c;
	struct sock *sk;
	__u32 transport;

	if (messages <= 0 || (dir == RT_DIR_INGRESS && (REG_3(regs) & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB))))
		return 0;
	sk = rt_operand(task, (__u32)REG_0(regs), &transport);
	if (!sk)
		return 0;
	c = rt_made(sk, RT_SET_OPERATION);
	if (!c || !rt_watched(c, sk, transport))
		return 0;
	for (__u32 i = 0; i < RT_MAX_MESSAGES; i++) {
		if (i >= messages || rt_vector_message(c, REG_1(regs), dir, i))
			return 0;
	}
	if (messages > RT_MAX_MESSAGES) {
		__u64 rest = rt_vector_rest(REG_1(regs), (__u32)messages);

		rt_vector_skipped(c, dir, (__u32)rest, rest >> 32);
	}
	return 0;
}

/* ---- beginnings and ends ---- */

/* TCP roles come with the state change; this names those of unix sockets, and of sockets that were connecting or queued
 * when the probe attached. */
__apart int rt_named(__u32 fd, __u32 role)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sock *sk = rt_sock_of(rt_file_of(task, fd));
	__u32 transport = sk ? rt_transport_of(sk) : 0;
	struct rt_conn *c;

	if (!transport || transport == RT_UDP || transport == RT_UNIX_DGRAM)
		return 0;
	c = rt_made(sk, RT_SET_OPERATION);
	if (!c || !rt_watched(c, sk, transport))
		return 0;
	c->role = role;
	if (c->turn == RT_NO_TURN)
		c->late = 0;
	return 0;
}

/* References to a file beyond the one being closed. 6.13 counts from -1 in f_ref, earlier kernels from 0 in f_count. */
__inline __s64 rt_other_references(struct file *file)
{
	struct file___counted *old = (void *)file;

	if (__builtin_preserve_field_info(old->f_count, 2 /* exists */))
		return FIELD(old->f_count.counter) - 1;
	return FIELD(file->f_ref.refcnt.counter);
}

/* ---- hooks ---- */

/* What one system call did, by its number. Numbers that are not here are none of ours. */
__inline int rt_dispatch(struct pt_regs *regs, __s64 nr, __s64 ret)
{
	__u32 fd = (__u32)REG_0(regs);

	switch (nr) {
	case NR_read:
	case NR_readv:
		return rt_call(regs, fd, RT_DIR_INGRESS, ret, 0);
	case NR_recvfrom:
		return rt_call(regs, fd, RT_DIR_INGRESS, ret, (__u32)REG_3(regs));
	case NR_recvmsg:
		return rt_call(regs, fd, RT_DIR_INGRESS, ret, (__u32)REG_2(regs));
	case NR_recvmmsg:
		return rt_vector(regs, RT_DIR_INGRESS, ret);
	case NR_write:
	case NR_writev:
	case NR_sendto:
	case NR_sendmsg:
		return rt_call(regs, fd, RT_DIR_EGRESS, ret, 0);
	case NR_sendmmsg:
		return rt_vector(regs, RT_DIR_EGRESS, ret);
	case NR_sendfile:
		return rt_call(regs, fd, RT_DIR_EGRESS | NO_BUFFER, ret, 0);
	case NR_splice: /* one end is a pipe, the other may be a socket */
		rt_call(regs, fd, RT_DIR_INGRESS | NO_BUFFER, ret, 0);
		return rt_call(regs, (__u32)REG_2(regs), RT_DIR_EGRESS | NO_BUFFER, ret, 0);
	case NR_accept:
	case NR_accept4:
		return ret < 0 ? 0 : rt_named((__u32)ret, RT_ROLE_SERVER);
	case NR_connect:
		return ret && ret != -EINPROGRESS ? 0 : rt_named(fd, RT_ROLE_CLIENT);
	default:
		return 0;
	}
}

/* True for the numbers that rt_dispatch knows. Every system call of the machine comes by here: two loads and a few
 * comparisons for those that are not ours. */
__inline int rt_is_ours(__s64 nr)
{
	switch (nr) {
	case NR_read:
	case NR_readv:
	case NR_recvfrom:
	case NR_recvmsg:
	case NR_recvmmsg:
	case NR_write:
	case NR_writev:
	case NR_sendto:
	case NR_sendmsg:
	case NR_sendmmsg:
	case NR_sendfile:
	case NR_splice:
	case NR_accept:
	case NR_accept4:
	case NR_connect:
		return 1;
	default:
		return 0;
	}
}

SEC("tp_btf/sys_exit")
int rt_sys_exit(__u64 *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx[0];
	struct task_struct *task;
	__s64 nr = KNOWN_NR(regs);

	if (!rt_is_ours(nr))
		return 0;
	task = bpf_get_current_task_btf();
	if (TASK_IS_32BIT(task))
		return 0;
	return rt_dispatch(regs, nr, (__s64)ctx[1]);
}

/* Unix and UDP sockets change no inet state, and TCP sockets that were reset change theirs no more: their end is the close of
 * the last descriptor. A tracepoint of this call alone, not sys_enter: other calls should not pay for it. Where a run is
 * skipped, the entry ages out. */
SEC("tracepoint/syscalls/sys_enter_close")
int rt_close_fd(struct enter_args *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = rt_file_of(task, (__u32)ctx->arg[0]);
	struct sock *sk = rt_sock_of(file);
	__u32 transport = sk ? rt_transport_of(sk) : 0;
	struct rt_conn *c;

	if (!transport || rt_other_references(file) > 0)
		return 0;
	c = rt_known(sk);
	/* TCP's end comes with its state, but for what is kept of a connection that was reset. */
	if (!c || (transport == RT_TCP && !(c->ended & RT_ENDED)))
		return 0;
	if (transport == RT_UNIX_STREAM) {
		rt_end(c, RT_DIR_EGRESS, RT_SET_OPERATION);
		rt_close(c, RT_REASON_FIN, RT_SET_OPERATION);
	}
	rt_gone(sk);
	return 0;
}

__inline void rt_opened(struct sock *sk, int client)
{
	struct rt_conn *c = rt_made(sk, RT_SET_STATE);

	if (!c)
		return;
	__builtin_memset(c, 0, sizeof(*c));
	c->role = client ? RT_ROLE_CLIENT : RT_ROLE_SERVER;
	rt_begin(c, sk, RT_TCP);
	if (client && rt_select(c))
		rt_count(RT_SET_STATE, RT_C_CONNECTIONS);
}

SEC("tp_btf/inet_sock_set_state")
int rt_sock_state(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int before = (int)ctx[1], after = (int)ctx[2], kept;
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
	c = rt_known(sk);
	if (!c)
		return 0;
	rt_state_moved(c, sk, before, after);
	/* A reset comes in the middle of a call, which is seen when it ends: the entry stays until the descriptor is closed. */
	kept = c->ended & RT_ENDED && rt_was_reset(FIELD(sk->sk_err), before) && KREAD(sk->sk_socket);
	if (after == TCP_CLOSE && !kept)
		rt_gone(sk);
	return 0;
}

char _license[] SEC("license") = "GPL";
