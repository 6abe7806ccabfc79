//! See `bonsai_fuzz::pack::files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bonsai_fuzz::pack::files::check(data));
