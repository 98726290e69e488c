#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| posse::fuzzing::router_answers(bytes));
