//! See `bonsai_fuzz::pktline`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bonsai_fuzz::pktline::check(data));
