//! Decides which socket sends next if the device has no room for all.
//!
//! An egress step of smoltcp visits the sockets in the order of their set, and ends at the
//! first that finds no room. So the first socket that always has something to send would get
//! all the room of a busy device. Here a socket that has sent is moved after those that have
//! not:
//!
//! - After a step that ended for lack of room, each step sends one frame, until a step
//!   has room for every socket that has a frame to send.
//! - A connection whose frame was sent changes places with the last of those that have not
//!   had their turn. Once every socket with a frame to send has had its turn, another
//!   round begins.
//! - In each round, one socket of the application comes first.
//!
//! A socket that changes places is removed from the set and added again, because smoltcp
//! stores with the place, not with the socket, which neighbour it waits for.

use super::device::Watch;
use super::retry::swap_with_first;
use super::slot::Slot;
use super::time::to_smoltcp;
use super::tracker::{Net, REST_MS, Tracker};
use smoltcp::iface::{PollResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::Socket;

impl<const N: usize> Tracker<N> {
    /// Sends at most one segment of each connection, and one packet of each other socket,
    /// as far as the device has room.
    pub(super) fn send_segments<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
    ) -> PollResult {
        self.rests_until = net.now.plus_millis(REST_MS);
        let sent = self.send_round(net);
        #[cfg(feature = "medium-ethernet")]
        let sent = self.help_out(net, sent);
        #[cfg(feature = "dhcpv4")]
        self.follow_lease(net);
        sent
    }

    /// Like `send_segments`, for the sockets whose neighbour smoltcp knows.
    pub(super) fn send_round<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
    ) -> PollResult {
        let is_short = self.wire.room.begin_step();
        let guest = match is_short {
            true => self.next_guest(net.sockets),
            false => None,
        };
        if let Some(guest) = guest {
            swap_with_first(net.sockets, guest);
        }
        let mut watch = Watch::new(net.device, &self.wire);
        if is_short {
            watch = watch.narrowed();
        }
        let sent = net
            .interface
            .poll_egress(to_smoltcp(net.now), &mut watch, net.sockets);
        if let Some(guest) = guest {
            swap_with_first(net.sockets, guest);
        }
        if is_short && self.wire.room.is_used() {
            self.turns.is_round_new = N == 1;
            if N > 1 {
                self.move_back(self.wire.room.used_by(), net.sockets);
            }
        }
        sent
    }

    /// At the beginning of a round, the socket of the application whose turn it is.
    fn next_guest(&mut self, sockets: &SocketSet<'_>) -> Option<SocketHandle> {
        if !self.turns.is_round_new {
            return None;
        }
        let is_guest = |place: &SocketHandle| self.slots.iter().all(|slot| slot.handle != *place);
        let mut guests = sockets.iter().map(|(place, _)| place).filter(is_guest);
        let guest = guests.nth(self.turns.guests);
        self.turns.guests = match guest {
            Some(_) => self.turns.guests.wrapping_add(1),
            None => 0,
        };
        guest
    }

    /// Moves a connection that has sent after those that have not.
    fn move_back(&mut self, index: usize, sockets: &mut SocketSet<'_>) {
        let Some(place) = self.slots.get(index).map(|slot| slot.handle) else {
            return;
        };
        if self.turns.served.is_some_and(|served| place >= served) {
            self.turns.served = None;
            self.turns.is_round_new = true;
        }
        let served = self.turns.served;
        let is_unserved = |slot: &&mut Slot| served.is_none_or(|served| slot.handle < served);
        let unserved = self.slots.iter_mut().filter(is_unserved);
        let Some(last) = unserved.max_by_key(|slot| slot.handle) else {
            return;
        };
        let last_place = last.handle;
        self.turns.served = Some(last_place);
        if last_place == place {
            return;
        }
        #[allow(irrefutable_let_patterns, reason = "there may be only TCP sockets")]
        if let Socket::Tcp(sent) = sockets.remove(place)
            && let Socket::Tcp(other) = sockets.remove(last_place)
        {
            last.handle = sockets.add(other);
            if let Some(slot) = self.slots.get_mut(index) {
                slot.handle = sockets.add(sent);
            }
        }
    }
}
