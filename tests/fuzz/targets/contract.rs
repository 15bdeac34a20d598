//! The entry point for libFuzzer.
#![no_main]

#[cfg(fuzzing)]
compile_error!(
    "smoltcp checks no checksum with `--cfg fuzzing`: use `cargo fuzz --no-cfg-fuzzing`"
);

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::run(input));
