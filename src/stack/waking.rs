//! Wakes the tasks whose wish has come true.

use super::slot::Slot;
use super::waiting::{Half, Wish};
use crate::core::state::State;
use crate::sabotage::{Sabotage, is_on};
use smoltcp::socket::tcp;

impl Slot {
    /// Wakes the tasks whose wish has come true, unless a test disables this place.
    #[inline]
    pub(super) fn notify(&mut self, socket: &tcp::Socket<'_>, place: Sabotage) {
        if is_on(place) {
            return;
        }
        if !self.waiters.are_none() {
            self.wake_granted(socket);
        }
    }

    fn wake_granted(&mut self, socket: &tcp::Socket<'_>) {
        for half in [Half::Write, Half::Read] {
            let wish = self.waiters.of(half).as_ref().map(|waiter| waiter.wish);
            if wish.is_some_and(|wish| self.is_granted(wish, socket)) {
                self.waiters.wake(half);
            }
        }
    }

    fn is_granted(&self, wish: Wish, socket: &tcp::Socket<'_>) -> bool {
        let connection = &self.connection;
        let is_opening = matches!(connection.state(), State::Connecting | State::Listening);
        match wish {
            Wish::Open => !is_opening,
            Wish::Room(octets) => {
                let free = socket.send_capacity().saturating_sub(socket.send_queue());
                let is_there = !is_opening && socket.may_send() && free >= octets;
                is_there || connection.error().is_some()
            }
            Wish::Device => connection.error().is_some(),
            Wish::Flushed => connection.is_flushed() != Ok(false),
            Wish::Ended => connection.state().cause().is_some(),
            Wish::Closed => connection.state().is_closed(),
            Wish::Readable => !is_opening && (socket.can_recv() || !socket.may_recv()),
        }
    }

    /// How many tasks wait for a wish that has already come true: each is a lost wake.
    #[cfg(feature = "trace")]
    pub(crate) fn forgotten(&mut self, socket: &tcp::Socket<'_>) -> usize {
        let wishes = [Half::Write, Half::Read]
            .map(|half| self.waiters.of(half).as_ref().map(|waiter| waiter.wish));
        let wishes = wishes.into_iter().flatten();
        wishes.filter(|&wish| self.is_granted(wish, socket)).count()
    }
}
