//! Scripted bytes, gaps and losses against the mysql parser, as the parse stage feeds it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redtap_fuzz::wire(redtap_stages::protocols::Protocol::Mysql, data));
