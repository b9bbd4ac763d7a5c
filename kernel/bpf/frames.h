/* SPDX-License-Identifier: Apache-2.0
 *
 * Mode full: everything is captured but the payload of large HTTP/2 DATA frames (RFC 9113, sections 4.1 and 6.1), which is
 * only counted. Header blocks are state: one that is missing makes later ones unreadable, and a ring full of bodies loses them.
 *
 * What was copied for a record is walked frame by frame before the record goes out; nothing is read for the walk alone. Where
 * the walk stands is kept by direction and stream offset (rt_conn.frames). It gets into step behind the preface, and where a
 * turn begins with a plausible frame header, and falls out of step at the first implausible one, or when bytes went by that
 * it did not see: then everything is captured, as of a protocol without frames.
 */
#ifndef REDTAP_FRAMES_H
#define REDTAP_FRAMES_H

#include "conn.h"

/* What a client begins with (section 3.4). */
#define RT_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define RT_PREFACE_LEN 24u
_Static_assert(sizeof(RT_PREFACE) == RT_PREFACE_LEN + 1, "RFC 9113, section 3.4");
#define RT_FRAME_HEADER 9u
/* A DATA frame of up to this many bytes is captured whole: a record of its own would cost as much. */
#define RT_DATA_WHOLE 1024u
/* What is captured of a larger one: room for the prefix of a message (gRPC: five bytes). */
#define RT_DATA_HEAD 64u
/* Frames walked in one record; behind more of them the walk is out of step. All that fit, but for empty ones. */
#define RT_MAX_FRAMES 256u
/* SETTINGS_MAX_FRAME_SIZE before anything else was agreed (RFC 9113, section 6.5.2): what a frame that is to get us into step
 * may be long. */
#define RT_FRAME_USUAL 16384u
/* Bytes of one operation that are walked, or, out of step, captured. */
#define RT_FULL_WALKED (512u * 1024u)
#define RT_FULL_CAPTURED (RT_MAX_CHUNK * RT_MAX_CHUNKS)

enum { RT_H2_DATA = 0, RT_H2_SETTINGS = 4, RT_H2_PING = 6, RT_H2_GOAWAY = 7, RT_H2_WINDOW_UPDATE = 8, RT_H2_LAST = 0x10 };

/* A glance, for most of what is no preface. */
__inline int rt_begins_like_preface(const __u8 *data)
{
	return data[0] == 'P' && data[1] == 'R' && data[2] == 'I' && data[3] == ' ';
}

/* Could this be a frame header? Types that belong to a stream name one, those of the connection none. */
__inline int rt_frame_plausible(const __u8 *h, __u32 len, int in_step)
{
	__u32 type = h[3];
	__u32 stream = (__u32)h[5] << 24 | (__u32)h[6] << 16 | (__u32)h[7] << 8 | h[8];

	if (type > RT_H2_LAST || stream >> 31 || (!in_step && len > RT_FRAME_USUAL))
		return 0;
	if (type == RT_H2_SETTINGS || type == RT_H2_PING || type == RT_H2_GOAWAY)
		return !stream;
	return type == RT_H2_WINDOW_UPDATE || type > 9 || stream;
}

/* The operation at `offset` is about to be captured: is the walk in step with it? */
__inline void rt_frames_meet(struct rt_frames *f, __u64 offset, __u32 begins)
{
	if (f->step != RT_OUT_OF_STEP && f->at == offset)
		return;
	f->step = begins ? RT_ENTERING : RT_OUT_OF_STEP;
	f->left = f->have = f->skip = f->due = 0;
	f->at = offset;
}

/* At `offset`, where the preface begins: it is walked like a payload, and frames follow it. */
__inline void rt_frames_behind_preface(struct rt_frames *f, __u64 offset)
{
	f->step = RT_IN_STEP;
	f->at = offset;
	f->left = RT_PREFACE_LEN;
	f->have = f->skip = f->due = 0;
}

/* Bytes at the beginning of an operation of `moved` that belong to a payload which is only counted. */
__inline __u32 rt_frames_skip(struct rt_frames *f, __u32 moved)
{
	__u32 n = f->step == RT_IN_STEP && f->skip && !f->due ? min_of(f->left, moved) : 0;

	f->left -= n;
	f->at += n;
	return n;
}

#endif
