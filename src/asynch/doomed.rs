//! Connections that were dropped while the network was lent.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The slots to release as soon as the network is not lent.
///
/// Only the borrower of the network writes and reads here, so accesses are in program
/// order.
#[derive(Debug)]
pub(super) struct Doomed<const N: usize> {
    is_any: AtomicBool,
    slots: [AtomicBool; N],
}

impl<const N: usize> Doomed<N> {
    pub(super) const fn new() -> Self {
        Self {
            is_any: AtomicBool::new(false),
            slots: [const { AtomicBool::new(false) }; N],
        }
    }

    /// Adds a slot.
    pub(super) fn add(&self, slot: usize) {
        if let Some(is_doomed) = self.slots.get(slot) {
            is_doomed.store(true, Relaxed);
            self.is_any.store(true, Relaxed);
        }
    }

    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Relaxed)
    }

    /// Removes and returns all of them.
    pub(super) fn take(&self) -> impl Iterator<Item = usize> {
        self.is_any.store(false, Relaxed);
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(slot, is_doomed)| {
                let was_doomed = is_doomed.load(Relaxed);
                is_doomed.store(false, Relaxed);
                was_doomed.then_some(slot)
            })
    }
}
