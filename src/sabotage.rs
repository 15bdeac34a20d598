//! Rules that tests break on purpose, to see that they would be missed.
//!
//! With the feature `sabotage` a test [`set`]s one of them, for the whole
//! process, and expects its checks to fail. Without the feature `is_on` is
//! constantly false, and nothing of this is left in the code.

#[cfg(feature = "sabotage")]
use core::sync::atomic::{AtomicU8, Ordering};

/// A rule that is broken.
#[cfg_attr(
    not(feature = "sabotage"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "only named then, most of them by the stack"
    )
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Sabotage {
    /// None: everything works.
    None,
    /// A RST anywhere in the window goes on to the stack below.
    RstRule,
    /// An acknowledgement of octets never sent goes on to the stack below.
    SndNxtRule,
    /// No keep-alive is asked for, however long nothing crosses the wire with
    /// bytes pending.
    KeepAliveCure,
    /// What would end an open connection replaces the cause of an ended one.
    Latch,
    /// What was received stays in the buffer under
    /// [`OnReceive::Discard`](crate::OnReceive::Discard).
    Drain,
    /// A write takes bytes without taking in first what the device has
    /// received.
    FirstWrite,
}

#[cfg(feature = "sabotage")]
impl Sabotage {
    /// Every rule that can be broken.
    pub const ALL: [Self; 6] = [
        Self::RstRule,
        Self::SndNxtRule,
        Self::KeepAliveCure,
        Self::Latch,
        Self::Drain,
        Self::FirstWrite,
    ];

    #[expect(clippy::as_conversions, reason = "the number of a variant")]
    const fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(feature = "sabotage")]
static BROKEN: AtomicU8 = AtomicU8::new(Sabotage::None.number());

/// Breaks one rule, for every connection, until the next call.
///
/// ```
/// use lastbyte::sabotage::{Sabotage, set};
///
/// set(Sabotage::Latch);
/// set(Sabotage::None);
/// ```
#[cfg(feature = "sabotage")]
pub fn set(sabotage: Sabotage) {
    BROKEN.store(sabotage.number(), Ordering::Relaxed);
}

/// Whether this rule is broken.
#[cfg(feature = "sabotage")]
pub(crate) fn is_on(sabotage: Sabotage) -> bool {
    BROKEN.load(Ordering::Relaxed) == sabotage.number()
}

/// Whether this rule is broken: never.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn is_on(_: Sabotage) -> bool {
    false
}
