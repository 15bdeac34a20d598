//! The last line of a log: why the firmware panicked.

use crate::{exit, log};
use core::fmt::{self, Display, Write as _};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU8, Ordering};

/// The status after a panic, as for a program of the host.
const PANICKED: i32 = 101;

/// The longest message, in octets. The rest is left out.
const LONGEST: usize = 400;

/// The number of panics. The second one is a fault or a panic while the first is
/// formatted; a third one would be in the few instructions that report the second.
static PANICS: AtomicU8 = AtomicU8::new(0);

/// Reports the reason in one line, and stops. A panic may happen anywhere, also in the
/// middle of a log line.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // Nothing else runs that could count: interrupts that panic also end here.
    let before = PANICS.load(Ordering::Relaxed);
    PANICS.store(before.saturating_add(1), Ordering::Relaxed);
    match before {
        0 => {
            log::seize();
            let (file, line) = info.location().map_or(("", 0), |at| (at.file(), at.line()));
            let message = OneLine(info.message());
            defmt::error!(
                "panicked at {=str}:{=u32}: {}",
                file,
                line,
                defmt::Display2Format(&message)
            );
        }
        1 => {
            log::seize();
            let (file, line) = info.location().map_or(("", 0), |at| (at.file(), at.line()));
            defmt::error!(
                "panicked at {=str}:{=u32}, while a panic was reported",
                file,
                line
            );
        }
        _ => {}
    }
    exit(PANICKED)
}

/// A message of several lines as one line, and not longer than a line of the log.
struct OneLine<T>(T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Joined { f, left: LONGEST };
        write!(line, "{}", self.0)
    }
}

struct Joined<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    left: usize,
}

impl fmt::Write for Joined<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let Some(left) = self.left.checked_sub(letter.len_utf8()) else {
                return Ok(());
            };
            self.left = left;
            self.f
                .write_char(if letter == '\n' { ' ' } else { letter })?;
        }
        Ok(())
    }
}
