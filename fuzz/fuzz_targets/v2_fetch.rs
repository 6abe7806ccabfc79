//! See `bonsai_fuzz::v2::fetch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bonsai_fuzz::v2::fetch::check(data));
