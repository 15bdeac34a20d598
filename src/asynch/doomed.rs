//! Connections that were dropped while the network was lent.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// The slots to release as soon as the network is not lent.
///
/// A task that adds one looks again afterwards whether the network is lent, and the borrower looks
/// after returning it: one of them releases it.
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
            is_doomed.store(true, SeqCst);
            self.is_any.store(true, SeqCst);
        }
    }

    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(SeqCst)
    }

    /// Removes and returns all of them.
    pub(super) fn take(&self) -> impl Iterator<Item = usize> {
        self.is_any.store(false, SeqCst);
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(slot, is_doomed)| {
                let was_doomed = is_doomed.load(SeqCst);
                is_doomed.store(false, SeqCst);
                was_doomed.then_some(slot)
            })
    }
}
