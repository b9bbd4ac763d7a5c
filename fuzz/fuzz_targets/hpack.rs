//! Header blocks in pieces of any size: the pieces make no difference, and nothing grows past its bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redtap_fuzz::header_blocks(data));
