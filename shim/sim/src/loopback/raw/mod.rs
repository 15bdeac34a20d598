//! The other end as a script that sends and receives single segments.
//!
//! - `flow`: the numbers of one connection, and the segments made from them.
//! - `neighbour`: answers to ARP and neighbour discovery.
//! - `icmp`: errors about our segments.
#![expect(
    clippy::panic,
    reason = "a test instrument: if what is expected does not arrive, the test fails"
)]

mod flow;
pub(crate) mod icmp;
mod neighbour;

use std::collections::VecDeque;
use std::time::Duration;

use super::{Direction, Segment, World, is_intact};
pub use flow::{Flow, Handshake};

/// The maximum number of segments and frames of ours that are kept for the test.
const KEPT: usize = 4096;

type Responder = Box<dyn FnMut(&RawPeer, &Segment)>;

pub(super) struct RawCore {
    segments: VecDeque<Segment>,
    /// Frames that are neither segments nor neighbour requests that were answered.
    others: VecDeque<Vec<u8>>,
    answers_neighbours: bool,
    responder: Option<Responder>,
}

impl Default for RawCore {
    fn default() -> Self {
        Self {
            segments: VecDeque::new(),
            others: VecDeque::new(),
            answers_neighbours: true,
            responder: None,
        }
    }
}

/// The other end, controlled by the test itself: see [`World::raw`].
///
/// The test sends [`Segment`]s and receives those of our end. Nothing is answered
/// automatically except ARP and neighbour discovery (which can be switched off) and what
/// a [responder](RawPeer::respond) answers.
///
/// Without latency ([`WorldConfig::instant`](super::WorldConfig::instant)) everything
/// that is sent has arrived when the call returns; with latency the test lets time pass
/// with [`World::run_for`] or its clock.
///
/// ```
/// use lastbyte_sim::loopback::{Flags, Handshake, OUR_ADDRESSES, OUR_V4, PEER_V4};
/// use lastbyte_sim::loopback::{World, WorldConfig, our_hardware_address, smoltcp_time};
/// use smoltcp::iface::{Config, Interface, SocketSet};
/// use smoltcp::socket::tcp;
///
/// let world = World::new(WorldConfig::instant());
/// let raw = world.raw();
///
/// let mut device = world.device();
/// let config = Config::new(our_hardware_address(world.config().medium));
/// let mut iface = Interface::new(config, &mut device, smoltcp_time(world.now()));
/// iface.update_ip_addrs(|list| list.extend(OUR_ADDRESSES));
/// let mut sockets = SocketSet::new(Vec::new());
/// let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
/// let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
/// let socket = sockets.get_mut::<tcp::Socket>(handle);
/// socket.connect(iface.context(), (PEER_V4, 80), 49_152).unwrap();
///
/// let mut flow = raw.handshake(Handshake::default(), || {
///     iface.poll(smoltcp_time(world.now()), &mut device, &mut sockets);
/// });
/// sockets.get_mut::<tcp::Socket>(handle).send_slice(b"hello").unwrap();
/// iface.poll(smoltcp_time(world.now()), &mut device, &mut sockets);
/// assert_eq!(raw.recv().payload, b"hello");
/// raw.recv_nothing();
///
/// flow.take(5);
/// raw.send(&flow.ack());
/// raw.send(&flow.rst());
/// iface.poll(smoltcp_time(world.now()), &mut device, &mut sockets);
/// assert_eq!(sockets.get_mut::<tcp::Socket>(handle).state(), tcp::State::Closed);
/// assert_eq!(sockets.get_mut::<tcp::Socket>(handle).send_queue(), 0);
/// ```
#[derive(Debug, Clone)]
pub struct RawPeer {
    world: World,
}

impl RawPeer {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }

    /// The world of this end.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Sends any segment, with right checksums.
    ///
    /// # Panics
    ///
    /// If the segment's addresses are of different families, or the wire towards us is
    /// full because our end receives nothing.
    #[track_caller]
    pub fn send(&self, segment: &Segment) {
        self.send_frame(segment.to_frame(self.world.config().medium));
    }

    /// Sends a frame unchanged.
    ///
    /// # Panics
    ///
    /// If the wire towards us is full because our end receives nothing.
    #[track_caller]
    pub fn send_frame(&self, frame: Vec<u8>) {
        assert!(
            self.world.may_send(Direction::ToUs),
            "the wire is full: our end receives nothing; {:?}",
            self.world
        );
        self.world.transmit(Direction::ToUs, frame);
        self.world.arrive();
    }

    /// Sends our end an ICMP error: `segment`, one of its own, cannot be
    /// delivered. `code` is that of "destination unreachable" in ICMP, or
    /// ICMPv6 for an IPv6 segment. Code 1 for IPv4 is "host unreachable";
    /// 3 is "port unreachable"; for IPv6 these are 3 and 4.
    ///
    /// # Panics
    ///
    /// As [`RawPeer::send`].
    #[track_caller]
    pub fn send_unreachable(&self, segment: &Segment, code: u8) {
        let medium = self.world.config().medium;
        self.send_frame(icmp::unreachable(medium, segment, code, None));
    }

    /// The next segment our end has sent. If none has arrived, lets time pass
    /// until those in flight have.
    ///
    /// # Panics
    ///
    /// If our end has sent none.
    #[track_caller]
    #[must_use]
    pub fn recv(&self) -> Segment {
        match self.try_recv() {
            Some(segment) => segment,
            None => panic!(
                "expected a segment at {:?}, but our end sent none; {} other frames wait",
                self.world.now(),
                self.world.with_raw(|core| core.others.len()),
            ),
        }
    }

    /// Like [`RawPeer::recv`], but returns `None` if there is no segment.
    #[must_use]
    pub fn try_recv(&self) -> Option<Segment> {
        self.let_arrive();
        self.world.with_raw(|core| core.segments.pop_front())
    }

    /// Asserts that our end has sent no segment that was not received here. Lets time
    /// pass until frames in flight have arrived.
    ///
    /// # Panics
    ///
    /// If it has.
    #[track_caller]
    pub fn recv_nothing(&self) {
        if let Some(segment) = self.try_recv() {
            panic!("expected silence, but our end sent {segment}");
        }
    }

    /// Asserts that our end sends no segment while `time` passes. Our end is
    /// not polled meanwhile, unless `pump` does it, which is called at the
    /// start and then once every millisecond.
    ///
    /// # Panics
    ///
    /// If it does.
    #[track_caller]
    pub fn recv_nothing_for(&self, time: Duration, mut pump: impl FnMut()) {
        let end = self.world.now() + time;
        loop {
            pump();
            self.recv_nothing();
            if self.world.now() >= end {
                return;
            }
            let next = self.world.now() + Duration::from_millis(1);
            self.world.run_until(next.min(end));
        }
    }

    /// Removes and returns every frame of ours that is neither a segment nor a neighbour
    /// request that was answered.
    #[must_use]
    pub fn other_frames(&self) -> Vec<Vec<u8>> {
        self.let_arrive();
        self.world.with_raw(|core| core.others.drain(..).collect())
    }

    /// Switches the answers to ARP and neighbour discovery on or off. They are on at first.
    pub fn answer_neighbours(&self, answer: bool) {
        self.world.with_raw(|core| core.answers_neighbours = answer);
    }

    /// Calls `responder` for each segment of ours as it arrives, which also works during
    /// a blocking call of ours. The segments can still be received afterwards; beyond
    /// 4096 the oldest are dropped.
    ///
    /// ```
    /// # use lastbyte_sim::loopback::{Flags, Segment, World, WorldConfig};
    /// let world = World::new(WorldConfig::instant());
    /// // Refuses everything.
    /// world.raw().respond(|raw, segment| {
    ///     let ack = segment.seq.wrapping_add(segment.seq_len());
    ///     let (from, to) = (segment.dst_port, segment.src_port);
    ///     raw.send(&Segment::new(from, to, Flags::RST | Flags::ACK, 0, ack));
    /// });
    /// ```
    pub fn respond(&self, responder: impl FnMut(&Self, &Segment) + 'static) {
        self.world
            .with_raw(|core| core.responder = Some(Box::new(responder)));
    }

    /// Processes what has arrived from us.
    pub(super) fn take_in(&self) {
        let medium = self.world.config().medium;
        while let Some(frame) = self.world.take_frame(Direction::ToPeer) {
            let answers = self.world.with_raw(|core| core.answers_neighbours);
            let segment = Segment::parse(&frame, medium, self.world.now());
            if self.world.config().checksums && segment.is_some() && !is_intact(&frame, medium) {
                // As any TCP would.
                self.world.recycle(frame);
            } else if let Some(segment) = segment {
                self.hear(segment);
                self.world.recycle(frame);
            } else if let Some(answer) = neighbour::answer(&frame, medium)
                && answers
            {
                if self.world.may_send(Direction::ToUs) {
                    self.world.transmit(Direction::ToUs, answer);
                }
                self.world.recycle(frame);
            } else {
                self.world
                    .with_raw(|core| push_bounded(&mut core.others, frame));
            }
        }
    }

    fn hear(&self, segment: Segment) {
        // The responder is taken out, so that it may send and receive.
        let responder = self.world.with_raw(|core| {
            push_bounded(&mut core.segments, segment.clone());
            core.responder.take()
        });
        if let Some(mut responder) = responder {
            responder(self, &segment);
            self.world.with_raw(|core| {
                core.responder.get_or_insert(responder);
            });
        }
    }

    /// If nothing has arrived, lets time pass until what our end has sent arrives.
    fn let_arrive(&self) {
        self.world.settle();
        let waits = self.world.with_raw(|core| core.segments.is_empty());
        if waits && let Some(due) = self.world.last_due(Direction::ToPeer) {
            self.world.run_until(due);
        }
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == KEPT {
        queue.pop_front();
    }
    queue.push_back(item);
}
