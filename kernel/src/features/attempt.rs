//! Asks the kernel by trying: small maps and programs that return 0, created through bpf(2) and dropped at once.
//!
//! Nothing is attached but a filter, to a socket that the caller gives for it, and, for trampolines, one empty program to a function that the kernel has for tests only
//! (`bpf_fentry_test1`), for the length of one call. Absent: words for people, which are [`super::refusal`]'s.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::refusal::Refusal;

/// Commands of bpf(2), as in `enum bpf_cmd` of `include/uapi/linux/bpf.h`.
const MAP_CREATE: libc::c_int = 0;
const PROG_LOAD: libc::c_int = 5;
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BTF_LOAD: libc::c_int = 18;

/// `enum bpf_map_type`.
const MAP_TYPE_SK_STORAGE: u32 = 24;
const MAP_TYPE_RINGBUF: u32 = 27;
/// `BPF_F_NO_PREALLOC`: storage maps insist on it.
const NO_PREALLOC: u32 = 1;

/// Bytes of the verifier's log that are kept. An empty program needs a few hundred.
const LOG_BYTES: usize = 16 * 1024;

/// What kind of program to try, with the numbers of `enum bpf_prog_type` and `enum bpf_attach_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `BPF_PROG_TYPE_SOCKET_FILTER`.
    SocketFilter,
    /// `BPF_PROG_TYPE_TRACEPOINT`.
    Tracepoint,
    /// `BPF_PROG_TYPE_RAW_TRACEPOINT`.
    RawTracepoint,
    /// `BPF_PROG_TYPE_TRACING` on a tracepoint's BTF typedef, by BTF id.
    BtfTracepoint(u32),
    /// `BPF_PROG_TYPE_TRACING` on the return of a function, by BTF id.
    FunctionExit(u32),
}

impl Kind {
    fn numbers(self) -> (u32, u32, u32) {
        match self {
            Self::SocketFilter => (1, 0, 0),
            Self::Tracepoint => (5, 0, 0),
            Self::RawTracepoint => (17, 0, 0),
            Self::BtfTracepoint(id) => (26, 23, id),
            Self::FunctionExit(id) => (26, 25, id),
        }
    }
}

/// `union bpf_attr` as `BPF_MAP_CREATE` reads it.
#[derive(Default)]
#[repr(C)]
struct MapAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
}

/// `union bpf_attr` as `BPF_PROG_LOAD` reads it.
#[derive(Default)]
#[repr(C)]
struct ProgramAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

const _: () = assert!(std::mem::offset_of!(ProgramAttr, log_buf) == 32);
const _: () = assert!(std::mem::offset_of!(ProgramAttr, attach_btf_id) == 108);
const _: () = assert!(std::mem::offset_of!(MapAttr, btf_value_type_id) == 56);

/// `union bpf_attr` as `BPF_BTF_LOAD` reads it.
#[derive(Default)]
#[repr(C)]
struct BtfAttr {
    btf: u64,
    log_buf: u64,
    btf_size: u32,
    log_size: u32,
    log_level: u32,
    pad: u32,
}

/// `union bpf_attr` as `BPF_RAW_TRACEPOINT_OPEN` reads it.
#[derive(Default)]
#[repr(C)]
struct AttachAttr {
    name: u64,
    prog_fd: u32,
    pad: u32,
}

/// Creates a ring buffer of one page.
pub(super) fn ring_buffer() -> Result<(), Refusal> {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(65_536);
    let attr = MapAttr { map_type: MAP_TYPE_RINGBUF, max_entries: page, ..MapAttr::default() };
    bpf(MAP_CREATE, &attr).map(drop).map_err(Refusal::silent)
}

/// Creates a map of per-socket storage, with the type information that it insists on.
pub(super) fn socket_storage() -> Result<(), Refusal> {
    let blob = btf_of_an_int();
    let attr =
        BtfAttr { btf: blob.as_ptr() as u64, btf_size: u32::try_from(blob.len()).unwrap_or(0), ..BtfAttr::default() };
    let btf = bpf(BTF_LOAD, &attr).map_err(Refusal::silent)?;
    let attr = MapAttr {
        map_type: MAP_TYPE_SK_STORAGE,
        key_size: 4,
        value_size: 4,
        map_flags: NO_PREALLOC,
        btf_fd: btf.as_raw_fd().cast_unsigned(),
        btf_key_type_id: 1,
        btf_value_type_id: 1,
        ..MapAttr::default()
    };
    bpf(MAP_CREATE, &attr).map(drop).map_err(Refusal::silent)
}

/// Loads a program that returns 0.
pub(super) fn program(kind: Kind) -> Result<OwnedFd, Refusal> {
    // r0 = 0; exit
    let code: [u64; 2] = [0xb7, 0x95];
    let (prog_type, expected_attach_type, attach_btf_id) = kind.numbers();
    let mut log = vec![0_u8; LOG_BYTES];
    let attr = ProgramAttr {
        prog_type,
        insn_cnt: 2,
        insns: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 1,
        log_size: u32::try_from(log.len()).unwrap_or(0),
        log_buf: log.as_mut_ptr() as u64,
        expected_attach_type,
        attach_btf_id,
        ..ProgramAttr::default()
    };
    bpf(PROG_LOAD, &attr).map_err(|errno| Refusal::logged(errno, &log))
}

/// Loads a program for the return of the function `btf_id` and attaches it for the length of this call.
pub(super) fn trampoline(btf_id: u32) -> Result<(), Refusal> {
    let program = program(Kind::FunctionExit(btf_id))?;
    let attr = AttachAttr { prog_fd: program.as_raw_fd().cast_unsigned(), ..AttachAttr::default() };
    bpf(RAW_TRACEPOINT_OPEN, &attr).map(drop).map_err(Refusal::silent)
}

/// Loads a filter that keeps nothing and puts it before a socket.
pub(super) fn filter(socket: BorrowedFd<'_>) -> Result<OwnedFd, Refusal> {
    let program = program(Kind::SocketFilter)?;
    let number: libc::c_int = program.as_raw_fd();
    let bytes = libc::socklen_t::try_from(size_of_val(&number)).unwrap_or(0);
    let option = (libc::SOL_SOCKET, libc::SO_ATTACH_BPF);
    let value = std::ptr::from_ref(&number).cast();
    // SAFETY: the kernel reads `bytes` bytes at `value`, which is `number`; both descriptors are open.
    let answer = unsafe { libc::setsockopt(socket.as_raw_fd(), option.0, option.1, value, bytes) };
    if answer == 0 {
        return Ok(program);
    }
    let errno = std::io::Error::last_os_error();
    Err(Refusal::silent(Errno::from_io_error(&errno).unwrap_or(Errno::INVAL)))
}

/// Type information with one type: an int of 4 bytes, with id 1 (`Documentation/bpf/btf.rst`).
fn btf_of_an_int() -> Vec<u8> {
    let strings = b"\0int\0";
    let header: [u32; 6] = [0x0001_eb9f_u32.to_le(), 24, 0, 16, 16, 5];
    // name at offset 1, kind int, 4 bytes, 32 bits signed.
    let types: [u32; 4] = [1, 1 << 24, 4, 1 << 24 | 32];
    let mut blob: Vec<u8> = header.iter().chain(&types).flat_map(|word| word.to_ne_bytes()).collect();
    blob.extend_from_slice(strings);
    blob
}

/// One call of bpf(2) that returns a descriptor. `attr` is one of the structures above: plain integers, whose addresses
/// the caller keeps alive.
fn bpf<T>(command: libc::c_int, attr: &T) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attr`, and through it only buffers that live in the caller; it
    // writes at most `log_size` bytes to `log_buf`, which is that long.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    match i32::try_from(answer) {
        Ok(fd) if fd >= 0 => {
            // SAFETY: the commands used here return a new descriptor that nobody else owns.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
        _ => {
            let errno = std::io::Error::last_os_error();
            Err(Errno::from_io_error(&errno).unwrap_or(Errno::INVAL))
        }
    }
}
