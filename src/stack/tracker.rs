//! Polls in steps, so that nothing that happens to a connection is missed.
//!
//! A combined `Interface::poll` can process a FIN and a RST, acknowledge bytes
//! and time out in one call, and does not report which of these happened. The
//! tracker does the same work in steps (maintenance, one ingress frame at a time,
//! egress). After each step it checks the connections that the step touched, and
//! only those.

#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
use super::addressing::Addressing;
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
#[cfg(feature = "async")]
use crate::sabotage::Sabotage;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use smoltcp::iface::{Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::tcp;
#[cfg(feature = "proto-ipv4")]
use smoltcp::wire::IpCidr;

/// The maximum number of egress passes in one poll, each with at most one segment of each
/// socket: more than any buffer holds, so that only a bug reaches it.
const EGRESS_BURST: u32 = 1 << 20;

/// The segment size of a peer that announces none (RFC 9293, 3.7.1). Less data than this
/// may be left to the next poll, even if the peer announces a smaller size.
pub(super) const SMALLEST_SEGMENT: usize = 536;

/// A full segment on Ethernet. A segment may be longer if the device does segmentation
/// offload. Less data than this may be held back, more may not.
pub(super) const FULL_SEGMENT: usize = 1_460;

/// How long no egress pass is made after one that found nothing to send, if smoltcp
/// reports nothing as due. A retransmission may be late by this time during consecutive
/// writes that cannot send: a hundredth of the shortest retransmission timeout (RFC 6298,
/// 2.4).
pub(super) const REST_MS: u32 = 10;

/// A connection of a [`Tracker`] or a [`Stack`](super::Stack), from the call
/// that opened it until its slot is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectionId {
    pub(super) slot: u16,
    pub(super) generation: u32,
}

impl ConnectionId {
    /// The id of no connection.
    #[cfg(feature = "async")]
    pub(crate) const NONE: Self = Self {
        slot: u16::MAX,
        generation: 0,
    };

    /// Which slot it is in.
    #[cfg(feature = "async")]
    pub(crate) fn slot(self) -> usize {
        self.slot.into()
    }
}

/// The first generation of a tracker: far from those of every other tracker, so that an
/// id of one names no connection of another.
fn first_generation() -> u32 {
    static TRACKERS: AtomicU32 = AtomicU32::new(0);
    #[cfg(target_has_atomic = "32")]
    let number = TRACKERS.fetch_add(1, Ordering::Relaxed);
    // A machine without such an instruction has one core. The number is not unique only
    // if an interrupt makes a tracker in between.
    #[cfg(not(target_has_atomic = "32"))]
    let number = {
        let number = TRACKERS.load(Ordering::Relaxed);
        TRACKERS.store(number.wrapping_add(1), Ordering::Relaxed);
        number
    };
    // A multiplication by 2^32 divided by the golden ratio spreads consecutive numbers.
    number.wrapping_mul(0x9e37_79b9)
}

/// What a poll works on, lent for one call: the application owns it.
pub struct Net<'n, 'a, D: ?Sized> {
    /// The interface.
    pub interface: &'n mut Interface,
    /// The sockets, among them the tracker's.
    pub sockets: &'n mut SocketSet<'a>,
    /// The device, unwrapped: the tracker puts its guard around it.
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

/// The result of the receiving half of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There was no frame, and no timer was due.
    Nothing,
    /// It is unknown whether more frames were received: the device has no room for a frame
    /// to send, and most devices then return no received frame either.
    Full,
    /// It processed every frame that the device had received.
    All,
    /// It processed as many frames as the device holds, and so every frame that had
    /// arrived when it began. More may have arrived since.
    More,
}

/// `N` connections over an interface, a device and sockets that belong to the
/// application.
///
/// [`Stack`](super::Stack) combines a tracker with these parts and a clock. An application
/// that owns its poll loop uses the tracker instead, and never blocks: it calls
/// [`poll`](Self::poll) in place of `Interface::poll`, or makes the [`steps`](Self::steps)
/// of a poll itself.
#[derive(Debug)]
pub struct Tracker<const N: usize> {
    pub(crate) slots: [Slot; N],
    pub(super) wire: Wire<N>,
    pub(super) ports: Ports,
    pub(super) secret: Secret,
    /// A time not later than the earliest timer of any connection.
    pub(super) next_timer: Instant,
    /// Until this time, an egress pass of smoltcp is needed only if its `poll_at` reports
    /// something as due, because a pass was made shortly before.
    pub(super) rests_until: Instant,
    pub(super) turns: Turns,
    #[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
    pub(super) addressing: Addressing,
    /// When smoltcp was last given a neighbour, approximately.
    #[cfg(feature = "medium-ethernet")]
    pub(super) introduced_at: Instant,
    pub(super) link_is_up: bool,
    /// Whether the interface has a single owner, which calls [`disturb`](Self::disturb)
    /// when the application may have used it.
    pub(super) is_owned: bool,
    /// How many frames one poll processes at most before it sends: as many as the device
    /// holds. A flood must not keep the stack from answering.
    receive_queue: u16,
}

/// Most passes of a poll find nothing to do: the check whether there is something is
/// inlined, the work is not.
impl<const N: usize> Tracker<N> {
    /// A tracker over TCP sockets that the application has added to its set.
    /// From then on they belong to the tracker: it alone configures, opens and closes
    /// them, and each may serve any connection. Add the sockets of the application after
    /// them: only then do those take turns with the connections when the device is full.
    /// The interface should have been made with [`Config::interface_seed`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: what is wrong with the configuration, for this device.
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
            #[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
            addressing: Addressing::new(),
            #[cfg(feature = "medium-ethernet")]
            introduced_at: Instant::ZERO,
            link_is_up: true,
            is_owned: false,
            receive_queue: config.receive_queue,
        })
    }

    /// Does everything that is due: processes at most as many frames as the device
    /// [holds](Config::receive_queue), runs timers, sends.
    pub fn poll<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        self.ingest(net);
        self.send_after_ingest(net);
    }

    /// The receiving half of a poll: processes received frames, runs timers.
    pub(crate) fn ingest<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) -> Taken {
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
        self.next_timer.min(of_sockets).min(self.addresses_due())
    }

    /// The device with the guard around it, for one poll step: to measure what the guard
    /// costs.
    #[doc(hidden)]
    pub fn watch<'w, D: ?Sized>(&'w self, device: &'w mut D) -> Watch<'w, D, N> {
        Watch::new(device, &self.wire)
    }

    /// Detects a removed address before smoltcp clears the data queued to be sent from it.
    // tuning: addresses-apart
    #[inline(never)]
    pub(super) fn before_steps(
        &mut self,
        interface: &Interface,
        sockets: &mut SocketSet<'_>,
        now: Instant,
    ) {
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

    /// Updates the connections that a step touched. Public to measure its cost.
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
            #[cfg(feature = "async")]
            slot.waiters.fire(now);
            self.perform(index, action, net.sockets, now);
            #[cfg(feature = "medium-ethernet")]
            self.settle_doubt(index, net);
            if retry != Retry::None {
                self.try_again(index, retry, net);
            }
        }
    }

    /// Checks the addresses before the steps, if they may have changed.
    fn look_at_addresses<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        if !self.is_owned || self.rests_until == Instant::ZERO {
            self.before_steps(net.interface, net.sockets, net.now);
        }
    }

    /// The work before the first step of a poll.
    pub(super) fn prepare<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        self.serve_addresses(net);
        // smoltcp's own autoconfiguration removes addresses here.
        net.interface.poll_maintenance(to_smoltcp(net.now));
        self.look_at_addresses(net);
    }

    /// Processes frames that the device has received.
    fn take_in<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) -> Taken {
        self.prepare(net);
        let mut taken = Taken::Nothing;
        for _ in 0..self.receive_queue {
            if self.take_in_frame(net, net.now, None) == PollIngressSingleResult::None {
                return taken;
            }
            taken = Taken::All;
            self.after_step(Step::Ingress, net.sockets, net.now);
            self.heed_frame(net);
        }
        Taken::More
    }

    /// Processes a frame that the device has received, or `introduction` if there is one.
    /// A separate function, so that its setup is skipped if there is no frame.
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

    /// Sends what may be sent, in a call that has not received first. It checks the addresses
    /// before, because to send from a removed address would clear the queued data.
    pub(super) fn send_out<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        self.look_at_addresses(net);
        self.send_after_ingest(net);
    }

    /// Sends what may be sent, until nothing is left or the device is full. Call it after
    /// [`ingest`](Self::ingest).
    pub(super) fn send_after_ingest<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        for _ in 0..EGRESS_BURST {
            if self.send_segments(net) == PollResult::None {
                break;
            }
        }
        self.after_step(Step::Egress, net.sockets, net.now);
    }

    /// Sends what connection `id` has accepted, and with each of its segments at most one
    /// segment of each other connection. An egress pass of smoltcp visits every socket, so
    /// this makes no more passes than needed. Call it after [`ingest`](Self::ingest), with
    /// the result of that.
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
        // Nagle's algorithm (RFC 9293, 3.7.4) holds it back, nothing has to be answered,
        // and no timer of smoltcp's can have been due for long.
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
    /// of smoltcp if smoltcp reports that none is due. Call it after
    /// [`ingest`](Self::ingest), and call [`disturb`](Self::disturb) when other code may
    /// have used the interface.
    pub(crate) fn send_due<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) -> Instant {
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

    /// Records that other code may have changed the interface: only an egress pass shows what
    /// is to be sent.
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
        #[cfg(feature = "async")]
        slot.notify(socket, Sabotage::DeafReceive);
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

    /// Records what an egress step sent. An egress step acknowledges nothing, and changes
    /// no state of a socket that matters here.
    fn sync_sent(&mut self, index: usize, facts: Facts, sockets: &SocketSet<'_>, now: Instant) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        #[cfg(feature = "medium-ethernet")]
        let was_unanswered = facts.sent.is_some() && slot.connection.is_unanswered();
        slot.note_sent(facts, now);
        // Only when the number of tries has doubled, so that single losses cause few requests.
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

    /// Updates the guard with both ends of a connection, and removes the connection from it
    /// once its socket has nothing more to send.
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

    /// Assigns the segments between these ends to a connection.
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
            #[allow(irrefutable_let_patterns, reason = "there may be only one version")]
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

    /// Makes the timers run by this time at the latest.
    pub(crate) fn look_by(&mut self, bound: Instant) {
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
        #[cfg(feature = "async")]
        slot.notify(socket, Sabotage::DeafPerform);
        let bound = slot.timeout_bound();
        self.look_by(bound);
        self.note_ends(index, sockets);
    }
}
