//! Tests of what must never happen: `check=` breaks the firmware on purpose. The last line
//! of the log reports what happened, and the firmware stops.

use crate::{USAGE, exit};
use core::fmt;
use core::hint::black_box;

/// More than the memory of any board here.
const LARGE: usize = 100 * 1024;

/// Performs the check with this name.
pub fn run(check: &str) -> ! {
    match check {
        "panic" => panic!("on purpose,\nin two lines"),
        "panic-in-log" => defmt::info!("this line is not finished: {}", Bomb),
        "panic-in-panic" => panic!("{Bomb}"),
        "overflow" => defmt::info!("{}", deeper(0)),
        "overflow-in-log" => defmt::info!("this line is not finished: {}", Well),
        "overflow-by-logging" => defmt::info!("{}", deeper_with_a_line(0)),
        "large-frame" => defmt::info!("{}", large()),
        _ => {
            defmt::error!(
                "settings: check={=str}: there are panic panic-in-log panic-in-panic overflow \
                 overflow-in-log overflow-by-logging large-frame",
                check
            );
            exit(USAGE)
        }
    }
    unreachable!("the firmware continued after check={check}");
}

/// Panics when it is formatted.
struct Bomb;

impl defmt::Format for Bomb {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "half of it, ");
        panic!("while a line was written");
    }
}

impl fmt::Display for Bomb {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("while a message was written");
    }
}

/// Recurses without end when it is formatted.
struct Well;

impl defmt::Format for Well {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", deeper(0));
    }
}

/// Calls itself until the stack overflows.
#[expect(unconditional_recursion, reason = "on purpose")]
#[inline(never)]
fn deeper(depth: u32) -> u32 {
    let frame = black_box([depth; 32]);
    let below = deeper(depth.wrapping_add(1));
    // Used after the call, so that each one has its frame.
    let [first, ..] = black_box(frame);
    below.wrapping_add(first)
}

/// Calls itself and writes a line each time, so that the stack overflows in the logger.
#[expect(unconditional_recursion, reason = "on purpose")]
#[inline(never)]
fn deeper_with_a_line(depth: u32) -> u32 {
    defmt::info!("depth {}", black_box(depth));
    deeper_with_a_line(depth.wrapping_add(1)).wrapping_add(black_box(depth))
}

/// One stack frame that skips everything next to the stack.
#[inline(never)]
fn large() -> u8 {
    let frame = black_box([1; LARGE]);
    let [first, ..] = black_box(&frame);
    *first
}
