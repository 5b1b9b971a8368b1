#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(broken) = mnemon_fuzz::database::check(data) {
        panic!("{broken}");
    }
});
