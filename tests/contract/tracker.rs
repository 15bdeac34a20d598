//! Connections of an application that owns its poll loop.

use std::cell::Cell;
use std::num::NonZeroU16;
use std::rc::Rc;

use crate::common::*;
use embedded_io::Error;
use lastbyte::stack::smoltcp::iface::{Interface, SocketHandle, SocketSet};
use lastbyte::stack::smoltcp::phy::{
    Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken,
};
use lastbyte::stack::smoltcp::socket::{tcp, udp};
use lastbyte::stack::smoltcp::wire::IpEndpoint;
use lastbyte::stack::{Config, ConnectionId, Net, Tracker, smoltcp};
use lastbyte::{Advice, Cause, Clock, OnReceive, Options, State, WriteError};
use lastbyte_sim::loopback::{
    Behaviour, LoopDevice, OUR_ADDRESSES, OUR_V4, PEER_V4, Presence, World, WorldConfig,
    our_hardware_address, smoltcp_time,
};

/// The way in which the loop polls.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// `Tracker::poll`.
    Whole,
    /// `Tracker::steps`.
    Steps,
}

/// A super-loop that owns the parts.
struct Owner<const N: usize> {
    style: Style,
    world: World,
    interface: Interface,
    sockets: SocketSet<'static>,
    device: LoopDevice,
    tracker: Tracker<N>,
}

impl<const N: usize> Owner<N> {
    fn new(world: &World, style: Style) -> Self {
        let config = config(world);
        let mut device = world.device();
        let mut sockets = SocketSet::new(Vec::new());
        let handles: [SocketHandle; N] = buffers::<N>(TX, RX).map(|buffers| {
            let rx = tcp::SocketBuffer::new(buffers.rx);
            sockets.add(tcp::Socket::new(rx, tcp::SocketBuffer::new(buffers.tx)))
        });
        let tracker = Tracker::new(&config, &device, handles).expect("a good one");
        let hardware = our_hardware_address(world.config().medium);
        let mut own_config = smoltcp::iface::Config::new(hardware);
        own_config.random_seed = config.interface_seed();
        let mut interface = Interface::new(own_config, &mut device, smoltcp_time(world.now()));
        interface.update_ip_addrs(|list| list.extend(OUR_ADDRESSES));
        Self {
            style,
            world: world.clone(),
            interface,
            sockets,
            device,
            tracker,
        }
    }

    fn parts(&mut self) -> (&mut Tracker<N>, Net<'_, 'static, LoopDevice>) {
        let net = Net {
            interface: &mut self.interface,
            sockets: &mut self.sockets,
            device: &mut self.device,
            now: self.world.now(),
        };
        (&mut self.tracker, net)
    }

    fn poll(&mut self) {
        match self.style {
            Style::Whole => {
                let (tracker, mut net) = self.parts();
                tracker.poll(&mut net);
            }
            Style::Steps => self.poll_in_steps(),
        }
    }

    fn poll_in_steps(&mut self) {
        let (tracker, mut net) = self.parts();
        let mut steps = tracker.steps(&mut net);
        for _ in 0..1_000 {
            if !steps.take_in() {
                break;
            }
        }
        for _ in 0..1_000 {
            if !steps.send() {
                break;
            }
        }
    }

    /// The super-loop, for this long.
    fn run_for(&mut self, time: core::time::Duration) {
        let end = self.world.now() + time;
        let mut clock = self.world.clock();
        while self.world.now() < end {
            self.poll();
            let (tracker, mut net) = self.parts();
            let next = tracker.poll_at(&mut net);
            clock.wait(Some(next.min(end)));
        }
        self.poll();
    }

    #[track_caller]
    fn open(&mut self, options: Options) -> ConnectionId {
        let (tracker, mut net) = self.parts();
        let remote = IpEndpoint::new(PEER_V4.into(), PORT);
        let id = tracker.connect(&mut net, remote, options).expect("a slot");
        assert_eq!(tracker.state(id), Ok(State::Connecting));
        self.run_for(ms(100));
        assert_eq!(self.tracker.state(id), Ok(State::Open));
        id
    }

    fn try_write(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<usize, WriteError> {
        let (tracker, mut net) = self.parts();
        tracker.try_write(&mut net, id, bytes)
    }

    #[track_caller]
    fn assert_refused(&mut self, id: ConnectionId, cause: Cause, accepted: u64, acked: u64) {
        for _ in 0..3 {
            let error = self.try_write(id, b"more").expect_err("a write was taken");
            assert_error(error, cause, accepted, acked);
        }
        let (tracker, mut net) = self.parts();
        assert_eq!(tracker.write_ready(&mut net, id), Ok(true));
        let now = net.now;
        assert_eq!(tracker.report(id, now).unwrap().cause, Some(cause));
    }
}

fn sink_world(behaviour: Behaviour) -> World {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, behaviour);
    world
}

const STYLES: [Style; 2] = [Style::Whole, Style::Steps];

#[test]
fn a_transfer_arrives_exactly_and_finishes() {
    for style in STYLES {
        let world = sink_world(Behaviour::sink());
        let mut owner = Owner::<2>::new(&world, style);
        let id = owner.open(Options::default());
        let bytes = pattern(0, 100_000);
        let mut written = 0;
        for _ in 0..10_000 {
            written += accepted(owner.try_write(id, &bytes[written..]));
            if written == bytes.len() {
                break;
            }
            owner.run_for(ms(1));
        }
        assert_eq!(written, bytes.len());
        let (tracker, mut net) = owner.parts();
        tracker.begin_finish(&mut net, id).expect("ours");
        assert_eq!(tracker.finished(id, net.now), Ok(None));
        owner.run_for(secs(1));
        let finished = owner.tracker.finished(id, world.now()).expect("ours");
        let report = finished.expect("it ended").expect("well");
        assert_ledger(report.ledger, 100_000, 100_000);
        assert_eq!(report.cause, Some(Cause::Finished));
        assert!(world.peer().received(PORT) == bytes);
        let (tracker, mut net) = owner.parts();
        assert_eq!(tracker.release(&mut net, id), Ok(report));
        owner.open(Options::default());
    }
}

#[test]
fn every_end_of_an_open_connection_is_reported() {
    type End = fn(&mut Owner<1>, ConnectionId);
    let ends: [(Cause, u64, End); 5] = [
        (Cause::PeerFinished, 100, |owner, _| {
            owner.world.peer().close(PORT);
        }),
        (Cause::PeerReset, 100, |owner, _| {
            owner.world.peer().abort(PORT);
        }),
        (Cause::AddressLost, 100, |owner, _| {
            owner.interface.update_ip_addrs(|own| own.retain(|_| false));
        }),
        (Cause::Aborted, 100, |owner, id| {
            let (tracker, mut net) = owner.parts();
            tracker.abort(&mut net, id).expect("ours");
        }),
        (Cause::Vanished, 110, |owner, id| {
            owner.world.peer().set_presence(Presence::Absent);
            assert_eq!(owner.try_write(id, &pattern(100, 10)), Ok(10));
            owner.run_for(secs(100));
        }),
    ];
    for style in STYLES {
        for (cause, accepted, end) in ends {
            let world = sink_world(Behaviour::sink());
            let mut owner = Owner::<1>::new(&world, style);
            let id = owner.open(Options::default());
            assert_eq!(owner.try_write(id, &pattern(0, 100)), Ok(100));
            owner.run_for(secs(1));
            end(&mut owner, id);
            owner.run_for(secs(1));
            owner.assert_refused(id, cause, accepted, 100);
        }
    }
}

/// Each call of a poll is complete: whichever of them are left out, what happened is detected.
#[test]
fn no_end_is_missed_however_few_steps_a_poll_has() {
    type Poll = fn(&mut Tracker<1>, &mut Net<'_, '_, LoopDevice>);
    let polls: [Poll; 4] = [
        |tracker, net| drop(tracker.steps(net)),
        |tracker, net| while tracker.steps(net).take_in() {},
        |tracker, net| {
            tracker.steps(net).send();
        },
        |tracker, net| {
            let mut steps = tracker.steps(net);
            steps.send();
            while steps.take_in() {}
        },
    ];
    for (number, poll) in polls.into_iter().enumerate() {
        let world = sink_world(Behaviour::sink());
        let mut owner = Owner::<1>::new(&world, Style::Whole);
        let id = owner.open(Options::default());
        assert_eq!(owner.try_write(id, &pattern(0, 100)), Ok(100));
        owner.interface.update_ip_addrs(|own| own.retain(|_| false));
        let (tracker, mut net) = owner.parts();
        poll(tracker, &mut net);
        let lost = State::Closed(Cause::AddressLost);
        assert_eq!(owner.tracker.state(id), Ok(lost), "poll {number}");

        let world = sink_world(Behaviour::sink());
        let mut owner = Owner::<1>::new(&world, Style::Whole);
        let id = owner.open(options(|o| o.user_timeout(secs(3))));
        world.peer().set_presence(Presence::Absent);
        assert_eq!(owner.try_write(id, &pattern(0, 100)), Ok(100));
        world.run_until(world.now() + secs(4));
        let (tracker, mut net) = owner.parts();
        poll(tracker, &mut net);
        // The try comes first, and has two seconds for its answer.
        assert_eq!(owner.tracker.state(id), Ok(State::Open), "poll {number}");
        world.run_until(world.now() + secs(2));
        let (tracker, mut net) = owner.parts();
        poll(tracker, &mut net);
        let vanished = State::Closed(Cause::Vanished);
        assert_eq!(owner.tracker.state(id), Ok(vanished), "poll {number}");
    }
}

#[test]
fn the_first_write_after_a_fin_is_refused_without_a_poll() {
    let world = sink_world(Behaviour::sink());
    let mut owner = Owner::<1>::new(&world, Style::Whole);
    let id = owner.open(Options::default());
    world.peer().close(PORT);
    world.run_for(secs(1));
    assert_eq!(owner.tracker.state(id), Ok(State::Open));
    owner.assert_refused(id, Cause::PeerFinished, 0, 0);
}

#[test]
fn refusal_and_silence_while_connecting_are_different_causes() {
    for style in STYLES {
        for (presence, cause) in [
            (Presence::Present, Cause::Refused),
            (Presence::Deaf, Cause::ConnectTimeout),
            (Presence::Absent, Cause::Unreachable),
        ] {
            let world = World::new(WorldConfig::default());
            world.peer().set_presence(presence);
            let mut owner = Owner::<1>::new(&world, style);
            let (tracker, mut net) = owner.parts();
            let remote = IpEndpoint::new(PEER_V4.into(), PORT);
            let id = tracker
                .connect(&mut net, remote, Options::default())
                .unwrap();
            owner.run_for(secs(30));
            owner.assert_refused(id, cause, 0, 0);
        }
    }
}

#[test]
fn a_listener_accepts_and_a_finish_timeout_ends_it() {
    for style in STYLES {
        let world = World::new(WorldConfig::default());
        let mut owner = Owner::<1>::new(&world, style);
        let (tracker, mut net) = owner.parts();
        let id = tracker
            .listen(&mut net, 7_000.into(), Options::default())
            .unwrap();
        let silent = Behaviour::silent().rx_buffer(10);
        world.peer().connect(PORT, (OUR_V4, 7_000), silent);
        owner.run_for(secs(1));
        assert_eq!(owner.tracker.state(id), Ok(State::Open));
        assert_eq!(owner.try_write(id, &pattern(0, 100)), Ok(100));
        let (tracker, mut net) = owner.parts();
        tracker.begin_finish(&mut net, id).expect("ours");
        owner.run_for(secs(11));
        assert_eq!(owner.tracker.poll_advice(id), Ok(Some(Advice::Stalled)));
        owner.run_for(secs(20));
        owner.assert_refused(id, Cause::FinishTimeout, 100, 10);
    }
}

#[test]
fn received_bytes_are_read_without_blocking() {
    for style in STYLES {
        let world = sink_world(Behaviour::sink().sending(*b"hello").closing_at(at_ms(500)));
        let mut owner = Owner::<1>::new(&world, style);
        let id = owner.open(options(|o| o.on_receive(OnReceive::Keep)));
        owner.run_for(secs(1));
        let mut buffer = [0; 10];
        let read = owner.tracker.try_read(&mut owner.sockets, id, &mut buffer);
        assert_eq!(read, Ok(Some(5)));
        assert_eq!(&buffer[..5], b"hello");
        let read = owner.tracker.try_read(&mut owner.sockets, id, &mut buffer);
        assert_eq!(read, Ok(Some(0)));
    }
}

#[test]
fn an_idle_tracker_needs_no_poll() {
    for style in STYLES {
        let world = sink_world(Behaviour::sink());
        let mut owner = Owner::<1>::new(&world, style);
        let id = owner.open(Options::default());
        assert_eq!(owner.try_write(id, b"some"), Ok(4));
        owner.run_for(secs(200));
        let (tracker, mut net) = owner.parts();
        assert_eq!(tracker.poll_at(&mut net), lastbyte::Instant::NEVER);
    }
}

#[test]
fn unknown_connections_are_unknown() {
    let world = sink_world(Behaviour::sink().backlog(2));
    let mut owner = Owner::<1>::new(&world, Style::Whole);
    let old = owner.open(Options::default());
    let (tracker, mut net) = owner.parts();
    tracker.release(&mut net, old).expect("ours");
    let _new = owner.open(Options::default());
    let error = owner.try_write(old, b"x").expect_err("stale");
    assert!(matches!(error, WriteError::NotOpen { .. }));
    assert_eq!(error.kind(), embedded_io::ErrorKind::NotConnected);
    let (tracker, mut net) = owner.parts();
    assert!(tracker.begin_finish(&mut net, old).is_err());
    assert!(tracker.abort(&mut net, old).is_err());
    assert!(tracker.progress(net.sockets, old).is_err());
    assert!(tracker.finished(old, net.now).is_err());
}

fn udp_socket() -> udp::Socket<'static> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 1_024]);
    udp::Socket::new(buffer(), buffer())
}

#[test]
fn a_socket_of_the_application_works_alongside() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let mut socket = udp_socket();
    socket.bind(9_000).expect("free");
    let handle = us.stack.sockets_mut().add(socket);
    let id = us.connect(Options::default());
    let mut flow = raw.handshake(Default::default(), || {
        us.stack.poll();
    });
    us.write(id, 10);
    let socket = us.stack.sockets_mut().get_mut::<udp::Socket>(handle);
    let to = IpEndpoint::new(PEER_V4.into(), 9_001);
    socket.send_slice(b"datagram", to).expect("room");
    us.stack.poll();
    let frames = raw.other_frames();
    assert_eq!(frames.len(), 1);
    assert!(frames[0].ends_with(b"datagram"));
    assert_eq!(raw.recv().payload, pattern(0, 10));
    // The answer: the same frame, with its addresses swapped.
    let mut answer = frames[0].clone();
    for (ours, theirs, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        for at in 0..len {
            answer.swap(ours + at, theirs + at);
        }
    }
    raw.send_frame(answer);
    flow.take(10);
    raw.send(&flow.ack());
    us.stack.poll();
    let socket = us.stack.sockets_mut().get_mut::<udp::Socket>(handle);
    let (bytes, from) = socket.recv().expect("an answer");
    assert_eq!((bytes, from.endpoint), (&b"datagram"[..], to));
    assert_ledger(us.ledger(id), 10, 10);
}

/// A device with one received frame, which an offload engine has coalesced.
#[derive(Default)]
struct Marked {
    asked: Asked,
}

struct MarkedRx;
struct MarkedTx(Asked);

type Asked = Rc<Cell<Option<NonZeroU16>>>;

const CUT_TO: Option<NonZeroU16> = NonZeroU16::new(1_234);

impl Device for Marked {
    type RxToken<'a> = MarkedRx;
    type TxToken<'a> = MarkedTx;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(MarkedRx, MarkedTx)> {
        Some((MarkedRx, MarkedTx(Rc::clone(&self.asked))))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<MarkedTx> {
        Some(MarkedTx(Rc::clone(&self.asked)))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1_514;
        capabilities.max_burst_size = Some(7);
        capabilities
    }
}

impl RxToken for MarkedRx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&[])
    }

    fn meta(&self) -> PacketMeta {
        let mut meta = PacketMeta::default();
        meta.segmentation_offload_size = CUT_TO;
        meta
    }
}

impl TxToken for MarkedTx {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        f(&mut vec![0; len])
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.0.set(meta.segmentation_offload_size);
    }
}

/// The number does not depend on the interface, and is the same as a stack's with the
/// same seed at the same time.
#[test]
fn a_tracker_has_the_initial_sequence_number_of_a_stack() {
    let number = |connect: &dyn Fn(&World)| {
        let world = World::new(WorldConfig::default());
        let tap = Tap::new(&world);
        connect(&world);
        tap.take().first().expect("a SYN").seq
    };
    let of_stack = number(&|world| {
        let mut us = Us::<1>::new(world);
        us.connect(Options::default());
        us.stack.run_for(ms(10));
    });
    for style in STYLES {
        let of_tracker = number(&|world| {
            let mut owner = Owner::<1>::new(world, style);
            let (tracker, mut net) = owner.parts();
            let remote = IpEndpoint::new(PEER_V4.into(), PORT);
            let id = tracker.connect(&mut net, remote, Options::default());
            id.expect("a slot");
            owner.run_for(ms(10));
        });
        assert_eq!(of_tracker, of_stack);
    }
}

#[test]
fn the_guard_passes_on_the_capabilities_and_metadata_of_a_device() {
    let config = Config::new(our_hardware_address(Medium::Ethernet), 1);
    let mut device = Marked::default();
    let handle = SocketHandle::default();
    let tracker = Tracker::<1>::new(&config, &device, [handle]).expect("a good one");
    let asked = Rc::clone(&device.asked);
    let mut watched = tracker.watch(&mut device);
    assert_eq!(watched.capabilities().max_transmission_unit, 1_514);
    assert_eq!(watched.capabilities().max_burst_size, Some(7));
    let now = smoltcp::time::Instant::ZERO;
    let (rx, mut answer) = watched.receive(now).expect("it always has one");
    assert_eq!(rx.meta().segmentation_offload_size, CUT_TO);
    answer.set_meta(rx.meta());
    assert_eq!(asked.take(), CUT_TO);
    let mut tx = watched.transmit(now).expect("it always has room");
    tx.set_meta(PacketMeta::default());
    assert_eq!(asked.take(), None);
}
