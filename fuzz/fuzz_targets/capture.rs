//! Capture files, some of them nonsense, and scripted packets through reassembly, in every mode.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redtap_fuzz::capture::file(data));
