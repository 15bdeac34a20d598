//! Actions to run at a point in virtual time.

use std::collections::BTreeMap;

use lastbyte::Instant;

use super::World;

type Action = Box<dyn FnOnce(&World)>;

/// Actions by time, and at the same time by the order of scheduling.
#[derive(Default)]
pub(super) struct Schedule {
    actions: BTreeMap<(Instant, u64), Action>,
    next_number: u64,
}

impl Schedule {
    pub(super) fn push(&mut self, time: Instant, action: Action) {
        self.actions.insert((time, self.next_number), action);
        self.next_number += 1;
    }

    pub(super) fn next_due(&self) -> Instant {
        self.actions
            .first_key_value()
            .map_or(Instant::NEVER, |((time, _), _)| *time)
    }

    /// Removes the first action that is due by `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Action> {
        if self.next_due() > now {
            return None;
        }
        self.actions.pop_first().map(|(_, action)| action)
    }
}
