/* SPDX-License-Identifier: Apache-2.0
 *
 * The little of the kernel that the programs name: helper numbers (include/uapi/linux/bpf.h), map definitions in BTF
 * form, and the fields read of kernel structures. The structures are partial on purpose: the loader relocates every
 * access against the running kernel's BTF, so only names and nesting matter, not offsets.
 *
 * Absent: a dump of vmlinux, any symbol resolved at load (kfuncs, ksyms, kconfig).
 */
#ifndef REDTAP_CORE_H
#define REDTAP_CORE_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;

#define NULL ((void *)0)
#define SEC(name) __attribute__((section(name), used))
#define __inline static inline __attribute__((always_inline))
#define __apart static __attribute__((noinline))
/* Checked by the verifier once, by itself, and of unknown result to its callers: keeps their states few. */
#define __alone __attribute__((noinline))
#define __core __attribute__((preserve_access_index))
#define min_of(a, b) ((a) < (b) ? (a) : (b))
/* Keeps the compiler from folding away a bound that the verifier has to see. */
#define visible(x) __asm__ volatile("" : "+r"(x))

/* BTF-defined maps: the loader reads the numbers out of the types. */
#define __number(name, value) int(*name)[value]
#define __typed(name, value) typeof(value) *name

enum {
	RT_MAP_ARRAY = 2,
	RT_MAP_PERCPU_ARRAY = 6,
	RT_MAP_LRU_HASH = 9,
	RT_MAP_SK_STORAGE = 24,
	RT_MAP_RINGBUF = 27,
	RT_MAP_NO_PREALLOC = 1 << 0, /* BPF_F_NO_PREALLOC */
	RT_MAP_MMAPABLE = 1 << 10,   /* BPF_F_MMAPABLE */
	RT_STORAGE_CREATE = 1,       /* BPF_SK_STORAGE_GET_F_CREATE */
	RT_RB_NO_WAKEUP = 1,
	RT_RB_FORCE_WAKEUP = 2,
	RT_RB_AVAIL_DATA = 0,
};

struct task_struct;
struct sock;
struct pt_regs;

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static __u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*bpf_get_current_comm)(void *buf, __u32 size) = (void *)16;
static __u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
static void *(*bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;
static long (*bpf_probe_read_user)(void *dst, __u32 size, const void *src) = (void *)112;
static long (*bpf_probe_read_kernel)(void *dst, __u32 size, const void *src) = (void *)113;
static __u64 (*bpf_get_current_ancestor_cgroup_id)(int level) = (void *)123;
static long (*bpf_ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) = (void *)130;
static __u64 (*bpf_ringbuf_query)(void *ring, __u64 flags) = (void *)134;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;
static struct pt_regs *(*bpf_task_pt_regs)(struct task_struct *task) = (void *)175;

/* KREAD reads one kernel field by bpf_probe_read_kernel. FIELD does so too, unless the pointer is one that the verifier
 * knows by type (RT_DIRECT, tp_btf programs), where it is a plain load. */
#define KREAD(access)                                                        \
	({                                                                   \
		typeof(access) value_;                                       \
		__builtin_memset(&value_, 0, sizeof(value_));                \
		bpf_probe_read_kernel(&value_, sizeof(value_), &(access));   \
		value_;                                                      \
	})
#ifdef RT_DIRECT
#define FIELD(access) (access)
#else
#define FIELD(access) KREAD(access)
#endif

/* On the way of every operation: a call costs, where returns are guarded (SRSO), as much as what it does. The verifier could
 * not follow all ways through the large programs of rung `syscall` with these in one piece. */
#ifdef RT_DIRECT
#define __hot static inline __attribute__((always_inline))
#else
#define __hot __attribute__((noinline))
#endif

struct ns_common {
	unsigned int inum;
} __core;

struct net {
	struct ns_common ns;
} __core;

struct pid_namespace {
	struct ns_common ns;
} __core;

struct upid {
	int nr;
	struct pid_namespace *ns;
} __core;

struct pid {
	unsigned int level;
	struct upid numbers[1];
} __core;

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
} __core;

typedef struct {
	long counter;
} atomic_long_t;

typedef struct {
	atomic_long_t refcnt;
} file_ref_t;

struct socket;

struct file {
	void *private_data;
	struct inode *f_inode;
	file_ref_t f_ref; /* 6.13 and later: references minus one */
} __core;

struct file___counted {
	atomic_long_t f_count; /* before 6.13: references */
} __core;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} __core;

struct files_struct {
	struct fdtable *fdt;
} __core;

struct thread_info {
	unsigned long flags;
	__u32 status; /* x86 */
} __core;

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	char comm[16];
	struct files_struct *files;
} __core;

struct in6_addr {
	union {
		__u32 u6_addr32[4];
	} in6_u;
} __core;

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} __core;

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	struct socket *sk_socket;
	__u16 sk_protocol;
	__u16 sk_type;
	__u8 sk_shutdown;
} __core;

struct socket {
	struct file *file;
	struct sock *sk;
} __core;

struct sockaddr_un {
	unsigned short sun_family;
	char sun_path[108];
} __core;

struct unix_address {
	int len;
	struct sockaddr_un name[1];
} __core;

struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
} __core;

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
} __core;
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
	__s32 syscallno;
} __core;
#else
#error "name the target: -D__TARGET_ARCH_x86 or -D__TARGET_ARCH_arm64"
#endif

#endif
