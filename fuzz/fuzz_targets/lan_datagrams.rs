#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| posse::fuzzing::lan_datagrams(bytes));
