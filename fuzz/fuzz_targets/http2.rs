//! Scripted bytes, gaps and losses against the HTTP/2 parser, as the parse stage feeds it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redtap_fuzz::wire(redtap_stages::protocols::Protocol::Http2, data));
