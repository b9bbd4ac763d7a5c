//! Scripted ring records, some of them nonsense, through decode, identify, parse and pair.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redtap_fuzz::records(data));
