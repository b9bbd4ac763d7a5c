/* SPDX-License-Identifier: Apache-2.0
 *
 * What differs between processors: system call numbers, argument registers, and how a 32-bit task is recognised.
 */
#ifndef REDTAP_ARCH_H
#define REDTAP_ARCH_H

#include "core.h"

#if defined(__TARGET_ARCH_x86)

/* arch/x86/entry/syscalls/syscall_64.tbl */
enum {
	NR_read = 0,
	NR_write = 1,
	NR_readv = 19,
	NR_writev = 20,
	NR_sendto = 44,
	NR_recvfrom = 45,
	NR_sendmsg = 46,
	NR_recvmsg = 47,
	NR_recvmmsg = 299,
	NR_sendmmsg = 307,
	NR_preadv2 = 327,
	NR_pwritev2 = 328,
	NR_close = 3,
	NR_sendfile = 40,
	NR_connect = 42,
	NR_accept = 43,
	NR_splice = 275,
	NR_accept4 = 288,
};

#define REG_NR(regs) ((__s64)FIELD((regs)->orig_ax))
/* By a plain load, where the verifier knows the pointer. */
#define KNOWN_NR(regs) ((__s64)(regs)->orig_ax)
#define REG_0(regs) ((__u64)FIELD((regs)->di))
#define REG_1(regs) ((__u64)FIELD((regs)->si))
#define REG_2(regs) ((__u64)FIELD((regs)->dx))
#define REG_3(regs) ((__u64)FIELD((regs)->r10))
#define REG_4(regs) ((__u64)FIELD((regs)->r8))
#define REG_5(regs) ((__u64)FIELD((regs)->r9))

/* TS_COMPAT, arch/x86/include/asm/thread_info.h: inside a 32-bit system call, numbers and structures are others. */
#define TASK_IS_32BIT(task) (FIELD((task)->thread_info.status) & 0x2)

#else

/* include/uapi/asm-generic/unistd.h */
enum {
	NR_read = 63,
	NR_write = 64,
	NR_readv = 65,
	NR_writev = 66,
	NR_sendto = 206,
	NR_recvfrom = 207,
	NR_sendmsg = 211,
	NR_recvmsg = 212,
	NR_recvmmsg = 243,
	NR_sendmmsg = 269,
	NR_preadv2 = 286,
	NR_pwritev2 = 287,
	NR_close = 57,
	NR_sendfile = 71,
	NR_splice = 76,
	NR_accept = 202,
	NR_connect = 203,
	NR_accept4 = 242,
};

/* regs[0] holds the result once the call is over; orig_x0 keeps the argument. */
#define REG_NR(regs) ((__s64)FIELD((regs)->syscallno))
#define KNOWN_NR(regs) ((__s64)(regs)->syscallno)
#define REG_0(regs) ((__u64)FIELD((regs)->orig_x0))
#define REG_1(regs) ((__u64)FIELD((regs)->regs[1]))
#define REG_2(regs) ((__u64)FIELD((regs)->regs[2]))
#define REG_3(regs) ((__u64)FIELD((regs)->regs[3]))
#define REG_4(regs) ((__u64)FIELD((regs)->regs[4]))
#define REG_5(regs) ((__u64)FIELD((regs)->regs[5]))

/* TIF_32BIT, arch/arm64/include/asm/thread_info.h */
#define TASK_IS_32BIT(task) (FIELD((task)->thread_info.flags) & (1UL << 22))

#endif
#endif
