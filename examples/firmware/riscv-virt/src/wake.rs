//! What wakes the hart: the timer, and the network card through the PLIC.
//!
//! No interrupt is ever taken. `wfi` returns when one is *pending* and enabled, even if
//! interrupts are globally off, and it stays pending until it is acknowledged. So it
//! matters when to acknowledge, and there is one rule:
//!
//! > Acknowledge only when nothing was found, and then check once more.
//!
//! The second check finds a frame that arrives before the acknowledgement. A later frame
//! leaves the interrupt pending, and the next `wfi` returns at once. If the interrupt
//! were acknowledged *after* the last check, a frame in between would be neither detected
//! nor signalled. Symptom: a connection sometimes pauses until its next timer.

use crate::registers::{Register, read, write};
use core::sync::atomic::{AtomicBool, Ordering};
use riscv::register::mip;

/// Whether something was acknowledged and is still to do.
static IS_DUE: AtomicBool = AtomicBool::new(false);

/// Whether the PLIC has an interrupt that was not acknowledged.
pub fn is_pending() -> bool {
    mip::read().mext()
}

/// Acknowledges it: to the device with `device`, and to the PLIC. The device comes first:
/// a line that is still active when the PLIC is acknowledged causes a spurious interrupt.
pub fn acknowledge(device: impl FnOnce()) {
    let line = read(Register::Claim);
    device();
    if line != 0 {
        write(Register::Claim, line);
    }
    // The registers must be written before memory is read again; the hardware may reorder
    // the two.
    riscv::asm::fence();
}

/// Skips the next sleep.
pub fn note_due() {
    IS_DUE.store(true, Ordering::Relaxed);
}

/// Sleeps until an interrupt is pending.
pub fn sleep() {
    if IS_DUE.load(Ordering::Relaxed) {
        IS_DUE.store(false, Ordering::Relaxed);
    } else {
        riscv::asm::wfi();
    }
}
