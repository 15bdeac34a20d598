//! The firmware panics: one line has the reason, and the firmware stops with the status of a
//! panic.

use crate::Case;
use crate::bench::Bench;
use crate::network::Place;
use lastbyte_firmware_host::Level;

pub const CASES: &[Case] = &[
    ("panic", Place::User, panic),
    ("panic_in_a_log_line", Place::User, panic_in_a_log_line),
    ("panic_in_a_panic", Place::User, panic_in_a_panic),
    ("stack_overflow", Place::User, stack_overflow),
    (
        "stack_overflow_in_a_log_line",
        Place::User,
        stack_overflow_in_a_log_line,
    ),
    (
        "stack_overflow_in_the_logger",
        Place::User,
        stack_overflow_in_the_logger,
    ),
    (
        "stack_overflow_by_one_frame",
        Place::User,
        stack_overflow_by_one_frame,
    ),
];

/// Checks that the last line is the only one above a warning, and complete.
#[track_caller]
fn assert_last_words(bench: &mut Bench, check: &str, words: &[&str]) {
    bench.boot(5000, &[&format!("check={check}")]);
    bench.wait_exit(101);
    let log = bench.log();
    let [before @ .., last] = log else {
        panic!("the log is empty");
    };
    assert_eq!(last.level, Level::Error);
    for word in words {
        assert!(last.text.contains(word), "{word}: {last}");
    }
    assert!(before.iter().all(|line| line.level < Level::Error));
}

fn panic(bench: &mut Bench) {
    let words = ["panicked at ", "check.rs:", ": on purpose, in two lines"];
    assert_last_words(bench, "panic", &words);
}

fn panic_in_a_log_line(bench: &mut Bench) {
    let words = ["panicked at ", "check.rs:", ": while a line was written"];
    assert_last_words(bench, "panic-in-log", &words);
}

fn panic_in_a_panic(bench: &mut Bench) {
    let words = ["panicked at ", "check.rs:", "while a panic was reported"];
    assert_last_words(bench, "panic-in-panic", &words);
}

const OVERFLOW: [&str; 2] = ["fault.rs:", "stack overflow: all 16384 octets are in use"];

fn stack_overflow(bench: &mut Bench) {
    assert_last_words(bench, "overflow", &OVERFLOW);
}

fn stack_overflow_in_a_log_line(bench: &mut Bench) {
    assert_last_words(bench, "overflow-in-log", &OVERFLOW);
}

fn stack_overflow_in_the_logger(bench: &mut Bench) {
    assert_last_words(bench, "overflow-by-logging", &OVERFLOW);
}

/// A stack frame that is larger than the whole memory.
fn stack_overflow_by_one_frame(bench: &mut Bench) {
    assert_last_words(bench, "large-frame", &OVERFLOW);
}
