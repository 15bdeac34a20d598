//! What wakes the hart: the timer, and the network card through the PLIC.
//!
//! No interrupt is ever taken. `wfi` returns when one is *pending* and enabled,
//! whether or not interrupts as a whole are on, and pending it stays until it is
//! acknowledged. So sleeping is a question of when to acknowledge, and there is
//! one rule:
//!
//! > Acknowledge only when nothing was found, and then look once more.
//!
//! A frame that arrives before the acknowledgement is found by the second look.
//! One that arrives later leaves the interrupt pending, and the next `wfi`
//! returns at once. Acknowledged *after* the last look instead, a frame in
//! between is neither seen nor announced; it looks like a connection that now
//! and then pauses until its next timer.

use crate::registers::{Register, read, write};
use core::sync::atomic::{AtomicBool, Ordering};
use riscv::register::mip;

/// Whether something was acknowledged and is still to be done.
static IS_DUE: AtomicBool = AtomicBool::new(false);

/// Whether the PLIC has an interrupt that was not acknowledged.
pub fn is_pending() -> bool {
    mip::read().mext()
}

/// Acknowledges it: to the device by `device`, and to the PLIC. The device goes
/// first. A line that it still holds when the PLIC is told is an interrupt
/// again, for nothing.
pub fn acknowledge(device: impl FnOnce()) {
    let line = read(Register::Claim);
    device();
    if line != 0 {
        write(Register::Claim, line);
    }
    // The registers were written before memory is read again, which the
    // hardware may swap.
    riscv::asm::fence();
}

/// Spares the next sleep.
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
