//! The world: virtual time, the wire, and the schedule.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use lastbyte::Instant;

use super::peer::PeerCore;
use super::raw::RawCore;
use super::schedule::Schedule;
use super::wire::Wire;
use super::{
    Counters, Direction, Drops, EventLog, FrameEvent, LoopClock, LoopDevice, Path, Peer, RawPeer,
    WorldConfig,
};

type Observer = Box<dyn FnMut(&World, &FrameEvent<'_>)>;
type Witness = Box<dyn FnMut(Instant, Direction, &[u8])>;

pub(super) struct Inner {
    pub(super) config: WorldConfig,
    pub(super) now: Cell<Instant>,
    pub(super) latency: [Cell<Duration>; 2],
    pub(super) wire: RefCell<Wire>,
    pub(super) drops: [RefCell<Drops>; 2],
    /// Decides on the frames that the drop switch lets through.
    pub(super) paths: [RefCell<Option<Box<dyn Path>>>; 2],
    /// Whether our device accepts no frame, whatever room there is.
    pub(super) is_stuck: Cell<bool>,
    /// Whether there is a carrier.
    pub(super) is_link_up: Cell<bool>,
    /// Whether the link went up or down since our end last waited.
    pub(super) link_changed: Cell<bool>,
    /// When the link went down.
    pub(super) cuts: RefCell<Vec<Instant>>,
    /// Called whenever our end polls its device for a frame.
    pub(super) on_poll: Cell<Option<fn(Instant)>>,
    /// Set when an end found no room, by direction.
    pub(super) refused: [Cell<bool>; 2],
    pub(super) observers: RefCell<Vec<Observer>>,
    pub(super) witnesses: RefCell<Vec<Witness>>,
    /// How often our end has waited.
    pub(super) waits: Cell<u64>,
    pub(super) actions: RefCell<Schedule>,
    pub(super) peer: RefCell<PeerCore>,
    /// When the peer has to run again.
    pub(super) peer_due: Cell<Instant>,
    /// Replaces the peer once the test calls `raw`.
    pub(super) raw: RefCell<Option<RawCore>>,
    pub(super) stalled: Cell<bool>,
    pub(super) spins: Cell<u32>,
}

/// Two hosts and the wire between them, in virtual time.
///
/// A `World` is a handle: clones refer to the same world. It belongs to one thread and to
/// one test, and the same calls give the same run, bit for bit. Nothing happens by
/// itself: time passes, frames arrive and the peer runs only while our end waits on its
/// [`LoopClock`], or in [`World::run_for`] and [`World::run_until`].
///
/// What is due at the same time happens in this order: scheduled actions as
/// they were scheduled, frames as they were sent, the peer.
///
/// ```
/// use std::time::Duration;
/// use lastbyte::Clock;
/// use lastbyte_sim::loopback::{Behaviour, OUR_ADDRESSES, PEER_V4, lastbyte_time};
/// use lastbyte_sim::loopback::{World, WorldConfig, our_hardware_address, smoltcp_time};
/// use smoltcp::iface::{Config, Interface, SocketSet};
/// use smoltcp::socket::tcp;
///
/// let world = World::new(WorldConfig { latency: Duration::from_millis(20), ..Default::default() });
/// world.peer().listen(80, Behaviour::sink());
/// // A reset at 10 s, in whatever state.
/// world.at(world.after(Duration::from_secs(10)), |world| world.peer().abort(80));
///
/// // Our end: any smoltcp interface on the world's device.
/// let (mut device, mut clock) = (world.device(), world.clock());
/// let config = Config::new(our_hardware_address(world.config().medium));
/// let mut iface = Interface::new(config, &mut device, smoltcp_time(clock.now()));
/// iface.update_ip_addrs(|list| list.extend(OUR_ADDRESSES));
/// let mut sockets = SocketSet::new(Vec::new());
/// let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
/// let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
/// let socket = sockets.get_mut::<tcp::Socket>(handle);
/// socket.connect(iface.context(), (PEER_V4, 80), 49_152).unwrap();
///
/// let mut written = 0;
/// loop {
///     let now = smoltcp_time(clock.now());
///     iface.poll(now, &mut device, &mut sockets);
///     let socket = sockets.get_mut::<tcp::Socket>(handle);
///     if !socket.is_open() {
///         break;
///     }
///     if written == 0 && socket.can_send() {
///         written = socket.send_slice(b"hello").unwrap();
///     }
///     iface.poll(now, &mut device, &mut sockets);
///     clock.wait(iface.poll_at(now, &sockets).map(lastbyte_time));
/// }
/// assert_eq!(world.peer().received(80), b"hello");
/// // The reset took 20 ms to arrive.
/// assert_eq!(world.now(), world.after(Duration::from_millis(10_020)));
/// ```
///
/// # Panics
///
/// This is support for tests and demonstrations, so a run that cannot end panics with the
/// reason, in whichever call drives the world: when the [horizon](WorldConfig::horizon)
/// is reached (a wait without a limit while nothing can happen any more jumps ahead an
/// hour at a time), and when our end waits 100,000 times in a row without time passing or
/// a frame moving.
#[derive(Clone)]
pub struct World {
    pub(super) inner: Rc<Inner>,
}

impl World {
    /// A new world, at the time [`WorldConfig::begins_at`].
    #[must_use]
    pub fn new(config: WorldConfig) -> Self {
        let peer = PeerCore::new(&config);
        Self {
            inner: Rc::new(Inner {
                now: Cell::new(config.begins_at),
                latency: [Cell::new(config.latency), Cell::new(config.latency)],
                wire: RefCell::new(Wire::new(config.queue_frames, config.transmit_frames)),
                drops: Default::default(),
                paths: Default::default(),
                is_stuck: Cell::new(false),
                is_link_up: Cell::new(true),
                link_changed: Cell::new(false),
                cuts: RefCell::default(),
                on_poll: Cell::new(None),
                refused: Default::default(),
                observers: RefCell::default(),
                witnesses: RefCell::default(),
                waits: Cell::new(0),
                actions: RefCell::default(),
                peer: RefCell::new(peer),
                peer_due: Cell::new(Instant::NEVER),
                raw: RefCell::new(None),
                stalled: Cell::new(false),
                spins: Cell::new(0),
                config,
            }),
        }
    }

    /// The configuration of this world.
    #[must_use]
    pub fn config(&self) -> &WorldConfig {
        &self.inner.config
    }

    /// The present virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.inner.now.get()
    }

    /// The time at this distance after the beginning.
    #[must_use]
    pub fn after(&self, time: Duration) -> Instant {
        self.inner.config.begins_at + time
    }

    /// Our end of the wire.
    #[must_use]
    pub fn device(&self) -> LoopDevice {
        LoopDevice::new(self.clone())
    }

    /// Our end's clock, which drives the world.
    #[must_use]
    pub fn clock(&self) -> LoopClock {
        LoopClock::new(self.clone())
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer::new(self.clone())
    }

    /// Replaces the other end by a script: from then on the [`Peer`] neither receives nor
    /// sends. Every call returns the same scripted end.
    #[must_use]
    pub fn raw(&self) -> RawPeer {
        let mut raw = self.inner.raw.borrow_mut();
        raw.get_or_insert_with(RawCore::default);
        RawPeer::new(self.clone())
    }

    /// Runs `action` at this time, or as soon as possible if the time has passed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lastbyte_sim::loopback::{Direction, Drops, World, WorldConfig};
    /// let world = World::new(WorldConfig::default());
    /// // The cable is cut at 5 s.
    /// world.at(world.after(Duration::from_secs(5)), |world| {
    ///     world.set_drops(Direction::ToPeer, Drops::All);
    ///     world.set_drops(Direction::ToUs, Drops::All);
    /// });
    /// ```
    pub fn at(&self, time: Instant, action: impl FnOnce(&Self) + 'static) {
        let mut actions = self.inner.actions.borrow_mut();
        actions.push(time, Box::new(action));
    }

    /// Calls `observer` for every frame sent from now on, including dropped ones.
    ///
    /// It is called while one of the ends is sending. To change something at an end, or
    /// to query the peer, it has to call [`World::at`] with the present time.
    pub fn observe(&self, observer: impl FnMut(&Self, &FrameEvent<'_>) + 'static) {
        self.inner.observers.borrow_mut().push(Box::new(observer));
    }

    /// Calls `witness` with every frame that arrives at an end from now on: the time, the
    /// direction, the frame, damaged or not. A frame that is lost because the inbox is
    /// full has not arrived.
    pub fn witness(&self, witness: impl FnMut(Instant, Direction, &[u8]) + 'static) {
        self.inner.witnesses.borrow_mut().push(Box::new(witness));
    }

    /// How often our end has waited so far: a measure of how busy it was.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.inner.waits.get()
    }

    /// Records the wire from now on: a hash of everything, and the first `capacity`
    /// frames as text.
    #[must_use]
    pub fn record(&self, capacity: usize) -> EventLog {
        EventLog::attach(self, capacity)
    }

    /// Sets what one direction drops from now on. Frames already in flight
    /// still arrive.
    pub fn set_drops(&self, direction: Direction, drops: Drops) {
        self.inner.drops[direction.index()].replace(drops);
    }

    /// Makes `path` decide on every frame of one direction from now on: when it arrives,
    /// how often, and with which damage. It replaces the latency, and applies after the
    /// drop switch.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lastbyte::Instant;
    /// # use lastbyte_sim::loopback::{Direction, Fate, Loss, World, WorldConfig};
    /// let world = World::new(WorldConfig::default());
    /// // Long frames vanish: a path with a smaller MTU and no ICMP.
    /// world.set_path(Direction::ToPeer, |now: Instant, frame: &[u8]| match frame.len() {
    ///     1400.. => Fate::Lost(Loss::TooLong),
    ///     _ => Fate::sound(now + Duration::from_millis(5)),
    /// });
    /// ```
    pub fn set_path(&self, direction: Direction, path: impl Path + 'static) {
        self.inner.paths[direction.index()].replace(Some(Box::new(path)));
    }

    /// Stalls our device's transmit queue, or lets it run again. While it is stalled, the
    /// device has no room for a frame, and so returns no received frame either, like most
    /// drivers: received frames wait.
    pub fn set_stuck(&self, is_stuck: bool) {
        self.inner.is_stuck.set(is_stuck);
    }

    /// Sets whether our link has a carrier. Without one nothing passes, and what is in flight
    /// when it is lost is lost too. Our device reports it ([`LoopDevice::is_link_up`]), and a
    /// change ends the wait of [`LoopClock`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lastbyte_sim::loopback::{World, WorldConfig};
    /// let world = World::new(WorldConfig::default());
    /// // The cable is unplugged after 5 s, for a minute.
    /// world.at(world.after(Duration::from_secs(5)), |world| world.set_link(false));
    /// world.at(world.after(Duration::from_secs(65)), |world| world.set_link(true));
    /// ```
    pub fn set_link(&self, is_up: bool) {
        let was_up = self.inner.is_link_up.replace(is_up);
        if was_up != is_up {
            self.inner.link_changed.set(true);
        }
        if was_up && !is_up {
            self.inner.cuts.borrow_mut().push(self.now());
            self.inner.wire.borrow_mut().lose_all();
        }
    }

    /// Whether our link has a carrier.
    #[must_use]
    pub fn is_link_up(&self) -> bool {
        self.inner.is_link_up.get()
    }

    /// The times at which the link went down so far.
    pub(crate) fn cuts(&self) -> Vec<Instant> {
        self.inner.cuts.borrow().clone()
    }

    /// Calls `hook` whenever our end polls its device for a frame.
    pub(crate) fn on_poll(&self, hook: fn(Instant)) {
        self.inner.on_poll.set(Some(hook));
    }

    /// Whether our device's transmit queue is stalled or full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.has_room(Direction::ToPeer)
    }

    /// Sets how long a frame sent from now on travels.
    pub fn set_latency(&self, direction: Direction, latency: Duration) {
        self.inner.latency[direction.index()].set(latency);
    }

    /// What was sent in one direction so far.
    #[must_use]
    pub fn counters(&self, direction: Direction) -> Counters {
        self.inner.wire.borrow().counters(direction)
    }

    /// Whether our end last waited without a limit when nothing could happen any more: no
    /// frame in flight, no timer of the peer, no action.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.inner.stalled.get()
    }

    /// Makes the peer run at the present time.
    pub(super) fn wake_peer(&self) {
        self.inner.peer_due.set(Instant::ZERO);
    }

    pub(super) fn with_peer<R>(&self, f: impl FnOnce(&mut PeerCore) -> R) -> R {
        f(&mut self.inner.peer.borrow_mut())
    }

    pub(super) fn with_raw<R>(&self, f: impl FnOnce(&mut RawCore) -> R) -> R {
        let mut raw = self.inner.raw.borrow_mut();
        f(raw.get_or_insert_with(RawCore::default))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("World");
        out.field("now", &self.now());
        if let Ok(wire) = self.inner.wire.try_borrow() {
            out.field("to_peer", &wire.counters(Direction::ToPeer))
                .field("to_us", &wire.counters(Direction::ToUs))
                .field("in_flight_to_peer", &wire.in_flight(Direction::ToPeer))
                .field("in_flight_to_us", &wire.in_flight(Direction::ToUs));
        }
        out.field("peer_due", &self.inner.peer_due.get())
            .field("is_stalled", &self.is_stalled())
            .finish_non_exhaustive()
    }
}
