//! Polling in steps, so that nothing that happens to a connection is missed.
//!
//! A combined `Interface::poll` can process a FIN and a RST, acknowledge bytes
//! and time out in one call, and does not report which of these happened. The
//! tracker does the same work in steps (maintenance, one ingress frame at a time,
//! egress). After each step it checks the connections that the step touched, and
//! only those.

use super::config::{Config, ConfigError};
use super::device::{Watch, Wire, link_of};
use super::ends::Ends;
use super::ports::Ports;
use super::room::Turns;
use super::secret::Secret;
use super::slot::{Slot, Step};
use super::time::{from_smoltcp, to_smoltcp};
use crate::Instant;
use crate::core::facts::Retry;
use crate::core::options::Nagle;
use crate::core::state::Action;
use crate::guard::tcb::Facts;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use smoltcp::iface::{Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::tcp;
#[cfg(feature = "proto-ipv4")]
use smoltcp::wire::IpCidr;

/// How many rounds of sending one poll makes, each with at most one segment a
/// socket: more than any buffer holds, so that only a fault ever reaches it.
const EGRESS_BURST: u32 = 1 << 20;

/// The segments of a peer that names no size (RFC 9293, 3.7.1). Less than one of them
/// may be left to the next poll; a peer that names a smaller size has to wait so long.
pub(super) const SMALLEST_SEGMENT: usize = 536;

/// A full segment on Ethernet. What leaves at once may be longer where the device cuts
/// it; less than it may be held back, more may not.
pub(super) const FULL_SEGMENT: usize = 1_460;

/// How long smoltcp is not asked again for what is to be sent, where nothing seems to
/// be. That late a retransmission may be, where writes follow each other of which none
/// can send: a hundredth of the shortest timeout (RFC 6298, 2.4).
pub(super) const REST_MS: u32 = 10;

/// A connection of a [`Tracker`] or a [`Stack`](super::Stack), from the call
/// that opened it until its slot is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectionId {
    pub(super) slot: u16,
    pub(super) generation: u32,
}

/// Where the generations of a tracker begin: far from those of every other, so that an id
/// of one names no connection of another.
fn first_generation() -> u32 {
    static TRACKERS: AtomicU32 = AtomicU32::new(0);
    #[cfg(target_has_atomic = "32")]
    let number = TRACKERS.fetch_add(1, Ordering::Relaxed);
    // A machine without such an instruction has one core; an interrupt that makes a
    // tracker in between is the exception.
    #[cfg(not(target_has_atomic = "32"))]
    let number = {
        let number = TRACKERS.load(Ordering::Relaxed);
        TRACKERS.store(number.wrapping_add(1), Ordering::Relaxed);
        number
    };
    // The golden ratio of 2^32 spreads numbers that follow each other.
    number.wrapping_mul(0x9e37_79b9)
}

/// What polling works on, lent for one call: the application keeps it.
pub struct Net<'n, 'a, D: ?Sized> {
    /// The interface.
    pub interface: &'n mut Interface,
    /// The sockets, among them the tracker's.
    pub sockets: &'n mut SocketSet<'a>,
    /// The device, as it is: the tracker puts its guard around it.
    pub device: &'n mut D,
    /// The present time.
    pub now: Instant,
}

impl<D: ?Sized> fmt::Debug for Net<'_, '_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// What the receiving half of a poll has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing: there was no frame, and no timer was due.
    Nothing,
    /// Nothing can be said of the rest: the device has no room for a frame to send, and most
    /// devices give none that they have received then.
    Full,
    /// It took in everything the device had.
    All,
    /// It took in as many frames as the device holds, so everything that had arrived when
    /// it began. There may be more, which has arrived since.
    More,
}

/// `N` connections over an interface, a device and sockets that belong to the
/// application.
///
/// [`Stack`](super::Stack) is a tracker with these parts and a clock in one. An
/// application that owns its poll loop uses the tracker instead, and never blocks: it calls
/// [`poll`](Self::poll) in place of `Interface::poll`, or makes the [`steps`](Self::steps)
/// of a poll itself.
#[derive(Debug)]
pub struct Tracker<const N: usize> {
    pub(super) slots: [Slot; N],
    pub(super) wire: Wire<N>,
    pub(super) ports: Ports,
    pub(super) secret: Secret,
    /// Not later than the earliest timer of any connection.
    next_timer: Instant,
    /// Until when no egress pass of smoltcp is needed for what its `poll_at` does not report
    /// as due: a pass was made a moment ago.
    pub(super) rests_until: Instant,
    pub(super) turns: Turns,
    /// When smoltcp was last given a neighbour, not to the microsecond.
    #[cfg(feature = "medium-ethernet")]
    pub(super) introduced_at: Instant,
    pub(super) link_is_up: bool,
    /// Whether only one owner uses the interface, and calls [`disturb`](Self::disturb) when
    /// the application may have used it.
    pub(super) is_owned: bool,
    /// How many frames one poll takes in before it sends: as many as the device holds. A
    /// flood must not keep the stack from answering.
    receive_queue: u16,
}

/// Of the passes of a poll most find nothing to do: the question whether there
/// is something is inlined, the answer to it is not.
impl<const N: usize> Tracker<N> {
    /// A tracker over TCP sockets that the application has added to its set.
    /// They belong to the tracker from now on: they are configured, opened and
    /// closed by it alone, and which of them serves which connection changes. Sockets of
    /// the application that are to have their turn where the device is full, and no more,
    /// are added after them. The interface should have been made with
    /// [`Config::interface_seed`].
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration, for this device.
    pub fn new(
        config: &Config,
        device: &impl Device,
        handles: [SocketHandle; N],
    ) -> Result<Self, ConfigError> {
        const {
            assert!(
                N > 0 && N < 65_000,
                "a tracker needs 1 to 64,999 connections"
            );
        };
        let capabilities = device.capabilities();
        config.check(&capabilities)?;
        let link = link_of(&capabilities).ok_or(ConfigError::HardwareAddressMismatch)?;
        for (slot, handle) in handles.iter().enumerate() {
            if handles.iter().position(|other| other == handle) != Some(slot) {
                return Err(ConfigError::SharedSocket { slot });
            }
        }
        let first = first_generation();
        let mut tag = 0_u16;
        let slots = handles.map(|handle| {
            let slot = Slot::new(tag, first, handle);
            tag = tag.wrapping_add(1);
            slot
        });
        Ok(Self {
            slots,
            wire: Wire::new(&link),
            ports: Ports::new(config.local_ports.clone(), config.secret),
            secret: config.secret,
            next_timer: Instant::NEVER,
            rests_until: Instant::ZERO,
            turns: Turns::new(),
            #[cfg(feature = "medium-ethernet")]
            introduced_at: Instant::ZERO,
            link_is_up: true,
            is_owned: false,
            receive_queue: config.receive_queue,
        })
    }

    /// Everything that is due: takes in as many frames as the device
    /// [holds](Config::receive_queue) at most, runs timers, sends.
    pub fn poll<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        self.ingest(net);
        self.send_after_ingest(net);
    }

    /// The receiving half of a poll: takes in frames, runs timers.
    pub(super) fn ingest<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) -> Taken {
        let taken = self.take_in(net);
        if self.next_timer > net.now {
            return taken;
        }
        self.fire_timers(net);
        match taken {
            Taken::Nothing => Taken::All,
            Taken::All | Taken::More | Taken::Full => taken,
        }
    }

    /// When to poll again at the latest, if no frame arrives before;
    /// [`Instant::NEVER`] if only a frame can change anything.
    pub fn poll_at<D: ?Sized>(&self, net: &mut Net<'_, '_, D>) -> Instant {
        let of_sockets = net
            .interface
            .poll_at(to_smoltcp(net.now), net.sockets)
            .map_or(Instant::NEVER, from_smoltcp);
        self.next_timer.min(of_sockets)
    }

    /// The device with the guard around it, for one poll step: to measure what the guard
    /// costs.
    #[doc(hidden)]
    pub fn watch<'w, D: ?Sized>(&'w self, device: &'w mut D) -> Watch<'w, D, N> {
        Watch::new(device, &self.wire)
    }

    /// Notices a lost address before smoltcp clears what was queued to be sent from it.
    // tuning: addresses-apart
    #[inline(never)]
    fn before_steps(&mut self, interface: &Interface, sockets: &mut SocketSet<'_>, now: Instant) {
        self.note_broadcasts(interface);
        for index in 0..N {
            let Some(slot) = self.slots.get_mut(index) else {
                return;
            };
            let socket = sockets.get::<tcp::Socket<'_>>(slot.handle);
            let action = slot.note_addresses(self.wire.guard.flow(index), socket, interface, now);
            if action != Action::None {
                self.perform(index, action, sockets, now);
            }
        }
    }

    /// Brings the connections up to date that a step touched. Public to measure what it
    /// costs.
    #[doc(hidden)]
    pub fn after_step(&mut self, step: Step, sockets: &mut SocketSet<'_>, now: Instant) {
        if self.wire.guard.is_touched() {
            self.collect(step, sockets, now);
        }
    }

    fn collect(&mut self, step: Step, sockets: &mut SocketSet<'_>, now: Instant) {
        for index in self.wire.guard.take_touched() {
            let Some(facts) = self.wire.guard.take(index) else {
                continue;
            };
            match step {
                Step::Ingress => self.sync_received(index, facts, sockets, now),
                Step::Egress => self.sync_sent(index, facts, sockets, now),
            }
        }
    }

    /// Fires the timers that are due.
    pub(super) fn run_timers<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        if self.next_timer <= net.now {
            self.fire_timers(net);
        }
    }

    fn fire_timers<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        let now = net.now;
        self.next_timer = Instant::NEVER;
        for index in 0..N {
            let slot = self.slots.get(index);
            let has_lingered = slot.is_some_and(|slot| slot.connection.has_lingered(now));
            if has_lingered {
                self.let_port_rest(index, tcp::State::FinWait2, now);
            }
            let Some(slot) = self.slots.get_mut(index) else {
                return;
            };
            let action = slot.connection.handle_timeout(now);
            if has_lingered {
                slot.give_up(net.sockets.get_mut::<tcp::Socket<'_>>(slot.handle), now);
            }
            let retry = slot.connection.poll_retry();
            self.perform(index, action, net.sockets, now);
            #[cfg(feature = "medium-ethernet")]
            self.settle_doubt(index, net);
            if retry != Retry::None {
                self.try_again(index, retry, net);
            }
        }
    }

    /// What comes before the steps, where it can matter.
    fn look_at_addresses<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        if !self.is_owned || self.rests_until == Instant::ZERO {
            self.before_steps(net.interface, net.sockets, net.now);
        }
    }

    /// What comes before the first step of a poll.
    pub(super) fn prepare<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        self.look_at_addresses(net);
        net.interface.poll_maintenance(to_smoltcp(net.now));
    }

    /// Takes in frames that the device has received.
    fn take_in<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) -> Taken {
        self.prepare(net);
        let mut taken = Taken::Nothing;
        for _ in 0..self.receive_queue {
            if self.take_in_frame(net, net.now, None) == PollIngressSingleResult::None {
                return taken;
            }
            taken = Taken::All;
            self.after_step(Step::Ingress, net.sockets, net.now);
        }
        Taken::More
    }

    /// Takes in a frame that the device has received; or this one, if there is one. A
    /// function of its own, so that what taking in a frame prepares is not prepared where
    /// there is none.
    // tuning: frame-apart
    #[inline(never)]
    pub(super) fn take_in_frame<D: Device + ?Sized>(
        &self,
        net: &mut Net<'_, '_, D>,
        at: Instant,
        introduction: Option<&[u8]>,
    ) -> PollIngressSingleResult {
        let mut watch = Watch::new(net.device, &self.wire).introducing(introduction);
        net.interface
            .poll_ingress_single(to_smoltcp(at), &mut watch, net.sockets)
    }

    /// Sends what may be sent, in a call that has not taken in first. It checks the addresses
    /// before: sending from a lost address would clear what was queued.
    pub(super) fn send_out<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        self.look_at_addresses(net);
        self.send_after_ingest(net);
    }

    /// Sends what may be sent, until nothing is left or the device is full.
    /// To be called after [`ingest`](Self::ingest).
    pub(super) fn send_after_ingest<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        for _ in 0..EGRESS_BURST {
            if self.send_segments(net) == PollResult::None {
                break;
            }
        }
        self.after_step(Step::Egress, net.sockets, net.now);
    }

    /// Sends what connection `id` has accepted, and with each segment of it one of each of
    /// the others at most. An egress pass of smoltcp visits every socket, so this makes no
    /// more passes than are needed. To be called after [`ingest`](Self::ingest), with what
    /// that has taken in.
    pub(super) fn send_accepted<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        id: ConnectionId,
        taken: Taken,
    ) {
        let index = usize::from(id.slot);
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let pending = slot.connection.ledger().queued();
        let in_flight = self.wire.guard.in_flight(index);
        // By Nagle's algorithm (RFC 9293, 3.7.4), with nothing to be answered and no
        // timer of smoltcp's that can have been due for long.
        let is_held_back = taken == Taken::Nothing
            && in_flight > 0
            && pending.saturating_sub(in_flight)
                < usize::from(self.wire.guard.largest(index)).clamp(SMALLEST_SEGMENT, FULL_SEGMENT)
            && slot.connection.options().nagle() == Nagle::On
            && net.now < self.rests_until;
        if is_held_back {
            return;
        }
        for _ in 0..EGRESS_BURST {
            let sent = self.send_segments(net);
            if sent == PollResult::None || self.wire.guard.in_flight(index) >= pending {
                break;
            }
        }
        self.after_step(Step::Egress, net.sockets, net.now);
    }

    /// Sends what is due, and returns when to poll again at the latest. Makes no egress pass
    /// of smoltcp where smoltcp reports that none is due. To be called after
    /// [`ingest`](Self::ingest), by an owner who calls [`disturb`](Self::disturb) when other
    /// code may have used the interface.
    pub(super) fn send_due<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) -> Instant {
        for _ in 0..EGRESS_BURST {
            let next = self.poll_at(net);
            if next > net.now && net.now < self.rests_until {
                return next;
            }
            let sent = self.send_segments(net);
            self.after_step(Step::Egress, net.sockets, net.now);
            if sent == PollResult::None {
                break;
            }
        }
        self.poll_at(net)
    }

    /// Other code may have changed the interface: only an egress pass finds out what is to be
    /// sent.
    pub(super) const fn disturb(&mut self) {
        self.rests_until = Instant::ZERO;
    }

    fn sync_received(
        &mut self,
        index: usize,
        facts: Facts,
        sockets: &mut SocketSet<'_>,
        now: Instant,
    ) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let socket = sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        let before = slot.tcp;
        let receipt = slot.sync_received(facts, self.wire.guard.icmp(), socket, now);
        self.next_timer = self.next_timer.min(slot.timeout_bound());
        let Some(receipt) = receipt else {
            return;
        };
        if before != slot.tcp {
            self.let_port_rest(index, tcp::State::TimeWait, now);
            self.note_ends(index, sockets);
        }
        self.wire.guard.advance(index, receipt);
    }

    /// Takes in what an egress step put on the wire. It acknowledges nothing, and no
    /// state of a socket that matters changes by it.
    fn sync_sent(&mut self, index: usize, facts: Facts, sockets: &SocketSet<'_>, now: Instant) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        #[cfg(feature = "medium-ethernet")]
        let was_unanswered = facts.sent.is_some() && slot.connection.is_unanswered();
        slot.note_sent(facts, now);
        // With each doubling of the tries, so that single losses send few requests.
        #[cfg(feature = "medium-ethernet")]
        let is_again = match facts.resent > 0 {
            true => slot.connection.retransmissions().is_power_of_two(),
            false => was_unanswered,
        };
        let bound = slot.timeout_bound();
        self.look_by(bound);
        #[cfg(feature = "medium-ethernet")]
        if is_again {
            self.note_try(index, facts, now);
        }
        if facts.has_reset {
            self.note_ends(index, sockets);
        }
    }

    /// Takes in between whom the segments of a connection go, and whether they still do.
    fn note_ends(&mut self, index: usize, sockets: &SocketSet<'_>) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let socket = sockets.get::<tcp::Socket<'_>>(slot.handle);
        if socket.state() == tcp::State::Listen {
            self.wire.guard.listen(index, socket.listen_endpoint().port);
        } else if Slot::is_over(socket) {
            self.wire.guard.take_off(index);
        } else if let (None, Some(local), Some(remote)) = (
            self.wire.guard.flow(index),
            socket.local_endpoint(),
            socket.remote_endpoint(),
        ) {
            self.assign(index, &Ends { local, remote });
        }
    }

    /// Segments between these ends belong to a connection from now on.
    pub(super) fn assign(&mut self, index: usize, ends: &Ends) {
        #[cfg(feature = "medium-ethernet")]
        self.wire.neighbours.forget(index);
        if let Some(arriving) = ends.arriving() {
            self.wire.guard.assign(index, arriving);
        }
    }

    /// Sets the directed broadcast addresses of our networks in the guard.
    pub(super) fn note_broadcasts(&mut self, interface: &Interface) {
        #[cfg(feature = "proto-ipv4")]
        {
            #[allow(irrefutable_let_patterns, reason = "there may be one version only")]
            let broadcast = |cidr: &IpCidr| {
                if let IpCidr::Ipv4(cidr) = cidr {
                    cidr.broadcast().map(|address| address.octets())
                } else {
                    None
                }
            };
            let addresses = interface.ip_addrs().iter().filter_map(broadcast);
            self.wire.guard.note_broadcasts(addresses);
        }
        let _ = interface;
    }

    /// Timers are to be looked at by this time at the latest.
    pub(super) fn look_by(&mut self, bound: Instant) {
        self.next_timer = self.next_timer.min(bound);
    }

    /// Performs an action of the state machine, and updates what depends on it.
    pub(super) fn perform(
        &mut self,
        index: usize,
        action: Action,
        sockets: &mut SocketSet<'_>,
        now: Instant,
    ) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let socket = sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        slot.perform(action, socket, now);
        let bound = slot.timeout_bound();
        self.look_by(bound);
        self.note_ends(index, sockets);
    }
}
