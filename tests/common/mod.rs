//! A `Stack` in a `World`, and the checks of scripted tests.
#![allow(dead_code, reason = "each file of tests uses a part of it")]

pub mod devices;
pub mod frames;
pub mod hosts;
pub mod lan;

use core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;

use embedded_io::{Error, ErrorKind, Write, WriteReady};
use lastbyte::core::OptionsBuilder;
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte::stack::smoltcp::wire::{IpAddress, IpCidr};
use lastbyte::stack::{Config, ConnectionId, SlotBuffers, Stack, Writer};
use lastbyte::{
    Cause, ClosedBy, How, Instant, Ledger, Options, Report, State, Timeout, WriteError,
};
use lastbyte_sim::loopback::{
    BEGINNING, Behaviour, Direction, Flow, Handshake, LoopClock, LoopDevice, OUR_ADDRESSES,
    PEER_V4, RawPeer, Segment, World, WorldConfig, our_hardware_address,
};

/// The peer's port.
pub const PORT: u16 = 80;

/// Our transmit buffer, by default.
pub const TX: usize = 4096;

/// How many sockets of its own an application has room for.
pub const OWN_SOCKETS: usize = 2;

/// Our receive buffer, by default.
pub const RX: usize = 2048;

pub type OurStack<const N: usize, D = LoopDevice> = Stack<'static, D, LoopClock, N>;
pub type OurWriter<'s, const N: usize, D = LoopDevice> =
    Writer<'s, Stack<'static, D, LoopClock, N>>;

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// This long after the beginning of a world.
pub const fn at_ms(millis: u64) -> Instant {
    Instant::from_micros(BEGINNING.as_micros() + millis * 1_000)
}

/// This long after the beginning of a world.
pub const fn at_secs(seconds: u64) -> Instant {
    at_ms(seconds * 1_000)
}

/// The bytes from number `from` on that every test writes. No two stretches are the same,
/// so that a lost, duplicated or moved byte is detected.
pub fn pattern(from: u64, len: usize) -> Vec<u8> {
    let mix = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (from..).take(len).map(mix).collect()
}

/// Options from the builder.
#[track_caller]
pub fn options(set: impl FnOnce(OptionsBuilder) -> OptionsBuilder) -> Options {
    set(Options::builder()).build().expect("valid options")
}

/// The error for `cause`, written down independently.
pub fn error_of(cause: Cause, ledger: Ledger) -> (WriteError, ErrorKind) {
    let timed_out = |why| WriteError::TimedOut { why, ledger };
    match cause {
        Cause::PeerFinished => (
            WriteError::PeerClosed {
                how: How::Fin,
                ledger,
            },
            ErrorKind::BrokenPipe,
        ),
        Cause::PeerReset => (
            WriteError::PeerClosed {
                how: How::Reset,
                ledger,
            },
            ErrorKind::ConnectionReset,
        ),
        Cause::Refused => (WriteError::Refused { ledger }, ErrorKind::ConnectionRefused),
        Cause::Unreachable => (
            WriteError::Unreachable { ledger },
            ErrorKind::AddrNotAvailable,
        ),
        Cause::ConnectTimeout => (timed_out(Timeout::Connect), ErrorKind::TimedOut),
        Cause::Vanished => (timed_out(Timeout::Vanished), ErrorKind::TimedOut),
        Cause::Unacknowledged => (timed_out(Timeout::Unacknowledged), ErrorKind::TimedOut),
        Cause::FinishTimeout => (timed_out(Timeout::Finish), ErrorKind::TimedOut),
        Cause::AddressLost => (
            WriteError::AddressLost { ledger },
            ErrorKind::AddrNotAvailable,
        ),
        Cause::Finished => (
            WriteError::Closed {
                by: ClosedBy::Finish,
                ledger,
            },
            ErrorKind::NotConnected,
        ),
        Cause::Aborted => (
            WriteError::Closed {
                by: ClosedBy::Abort,
                ledger,
            },
            ErrorKind::ConnectionAborted,
        ),
    }
}

/// Asserts that `error` is the error of `cause`, in every respect.
#[track_caller]
pub fn assert_error(error: WriteError, cause: Cause, accepted: u64, acknowledged: u64) {
    let ledger = error.ledger();
    let (expected, kind) = error_of(cause, ledger);
    assert_eq!(error, expected);
    assert_eq!(error.kind(), kind);
    assert_eq!(error.cause(), Some(cause));
    assert_ledger(ledger, accepted, acknowledged);
}

/// Asserts that the call timed out while the connection lives.
#[track_caller]
pub fn assert_call_timed_out(error: WriteError, why: Timeout) {
    let ledger = error.ledger();
    assert_eq!(error, WriteError::TimedOut { why, ledger });
    assert_eq!((error.kind(), error.cause()), (ErrorKind::TimedOut, None));
}

#[track_caller]
pub fn assert_ledger(ledger: Ledger, accepted: u64, acknowledged: u64) {
    let account = (ledger.accepted(), ledger.acknowledged());
    assert_eq!(account, (accepted, acknowledged), "accepted, acknowledged");
    assert_eq!(ledger.accepted(), ledger.acknowledged() + ledger.pending());
    assert_eq!(ledger.undelivered(), ledger.pending());
}

/// The ways to write.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    TryWrite,
    WriteWith,
    Write,
    WriteAll,
}

/// How many bytes a call without waiting has accepted.
#[track_caller]
pub fn accepted(written: Result<usize, WriteError>) -> usize {
    match written {
        Ok(accepted) => accepted,
        Err(WriteError::WouldBlock { .. }) => 0,
        Err(error) => panic!("refused: {error}"),
    }
}

/// Asserts that nothing was accepted for lack of room.
#[track_caller]
pub fn assert_would_block(written: Result<usize, WriteError>) {
    assert!(
        matches!(written, Err(WriteError::WouldBlock { .. })),
        "{written:?}"
    );
}

impl Way {
    pub const ALL: [Self; 4] = [Self::TryWrite, Self::WriteWith, Self::Write, Self::WriteAll];

    pub fn write<const N: usize, D: Device>(
        self,
        mut writer: OurWriter<'_, N, D>,
        bytes: &[u8],
    ) -> Result<usize, WriteError> {
        match self {
            Self::TryWrite => writer.try_write(bytes),
            Self::WriteWith => writer.write_with(|room| {
                let len = room.len().min(bytes.len());
                room[..len].copy_from_slice(&bytes[..len]);
                len
            }),
            Self::Write => writer.write(bytes),
            Self::WriteAll => writer.write_all(bytes).map(|()| bytes.len()),
        }
    }
}

/// Our end.
pub struct Us<const N: usize, D: Device = LoopDevice> {
    pub world: World,
    pub stack: OurStack<N, D>,
}

/// The default configuration of a test.
pub fn config(world: &World) -> Config {
    Config::new(our_hardware_address(world.config().medium), 42)
}

/// `N` pairs of buffers that live as long as the test.
pub fn buffers<const N: usize>(tx: usize, rx: usize) -> [SlotBuffers<'static>; N] {
    core::array::from_fn(|_| SlotBuffers {
        tx: vec![0; tx].leak(),
        rx: vec![0; rx].leak(),
    })
}

/// Storage for this many sockets that lives as long as the test.
pub fn storage(sockets: usize) -> &'static mut [SocketStorage<'static>] {
    let empty = (0..sockets).map(|_| SocketStorage::EMPTY);
    empty.collect::<Vec<_>>().leak()
}

impl<const N: usize> Us<N> {
    pub fn new(world: &World) -> Self {
        Self::sized(world, TX, RX)
    }

    pub fn sized(world: &World, tx: usize, rx: usize) -> Self {
        Self::configured(world, tx, rx, config(world))
    }

    pub fn configured(world: &World, tx: usize, rx: usize, config: Config) -> Self {
        Self::over(world.device(), world, config, buffers(tx, rx))
    }
}

impl<const N: usize, D: Device> Us<N, D> {
    /// Our end over this device of the world.
    pub fn over(
        device: D,
        world: &World,
        config: Config,
        buffers: [SlotBuffers<'static>; N],
    ) -> Self {
        let stack = Stack::new(
            device,
            world.clock(),
            config,
            buffers,
            storage(N + OWN_SOCKETS),
        );
        let mut us = Self {
            world: world.clone(),
            stack: stack.expect("a good configuration"),
        };
        us.set_addresses(&OUR_ADDRESSES);
        us
    }

    pub fn set_addresses(&mut self, addresses: &[IpCidr]) {
        self.stack.interface_mut().update_ip_addrs(|list| {
            list.clear();
            list.extend(addresses.iter().copied());
        });
    }

    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// Connects to the peer's port, without waiting.
    #[track_caller]
    pub fn connect(&mut self, options: Options) -> ConnectionId {
        let id = self.stack.connect((PEER_V4, PORT), options);
        id.expect("a slot, a port and a route")
    }

    /// Connects to the peer's port and waits until the connection is open.
    #[track_caller]
    pub fn open(&mut self, options: Options) -> ConnectionId {
        self.open_to(PEER_V4, options)
    }

    #[track_caller]
    pub fn open_to(&mut self, to: impl Into<IpAddress>, options: Options) -> ConnectionId {
        let id = self.stack.connect((to.into(), PORT), options);
        let id = id.expect("a slot, a port and a route");
        self.stack.wait_open(id).expect("the peer listens");
        assert_eq!(self.state(id), State::Open);
        id
    }

    #[track_caller]
    pub fn writer(&mut self, id: ConnectionId) -> OurWriter<'_, N, D> {
        self.stack.writer(id).expect("a connection of ours")
    }

    #[track_caller]
    pub fn state(&self, id: ConnectionId) -> State {
        self.stack.state(id).expect("a connection of ours")
    }

    #[track_caller]
    pub fn report(&mut self, id: ConnectionId) -> Report {
        self.stack.report(id).expect("a connection of ours")
    }

    #[track_caller]
    pub fn ledger(&mut self, id: ConnectionId) -> Ledger {
        self.report(id).ledger
    }

    /// Writes the next `len` bytes of the pattern, all of them.
    #[track_caller]
    pub fn write(&mut self, id: ConnectionId, len: usize) {
        let bytes = pattern(self.ledger(id).accepted(), len);
        let written = self.writer(id).write_all(&bytes);
        written.expect("all are accepted");
    }

    /// Writes the next `len` bytes of the pattern, as far as they fit.
    pub fn try_write(&mut self, id: ConnectionId, len: usize) -> Result<usize, WriteError> {
        let bytes = pattern(self.ledger(id).accepted(), len);
        self.writer(id).try_write(&bytes)
    }

    /// Like [`try_write`](Self::try_write), but returns zero if there is no room.
    #[track_caller]
    pub fn accept(&mut self, id: ConnectionId, len: usize) -> usize {
        accepted(self.try_write(id, len))
    }

    /// Fills the transmit buffer, and what the peer receives meanwhile, until nothing is
    /// accepted for a second.
    #[track_caller]
    pub fn fill(&mut self, id: ConnectionId) {
        for _ in 0..1_000 {
            let mut took = false;
            while self.accept(id, 1_000) > 0 {
                took = true;
            }
            if !took {
                return;
            }
            self.stack.run_for(secs(1));
        }
        panic!("the peer receives everything");
    }

    /// Checks the identity of the ledger, compares it with the peer, and compares what
    /// the peer has received with the pattern.
    #[track_caller]
    pub fn check(&mut self, id: ConnectionId) -> Report {
        let report = self.report(id);
        let ledger = report.ledger;
        assert_ledger(ledger, ledger.accepted(), ledger.acknowledged());
        let taken_in = self.world.peer().taken_in(PORT);
        assert!(
            ledger.acknowledged() <= taken_in,
            "{ledger:?}: only {taken_in} received"
        );
        assert!(
            taken_in <= ledger.accepted(),
            "{ledger:?}: even {taken_in} received"
        );
        let received = self.world.peer().received(PORT);
        assert!(
            received == pattern(0, received.len()),
            "other bytes arrived"
        );
        report
    }

    /// Asserts that every kind of write is refused because of `cause`, that the ledger
    /// does not change, that each refusal is counted, and that a write would not wait.
    #[track_caller]
    pub fn assert_refused(
        &mut self,
        id: ConnectionId,
        cause: Cause,
        accepted: u64,
        acknowledged: u64,
    ) {
        let before = self.report(id);
        for way in Way::ALL {
            let now = self.now();
            let refused = way.write(self.writer(id), b"more");
            let error = refused.expect_err("a write was taken");
            assert_error(error, cause, accepted, acknowledged);
            assert_eq!(self.now(), now, "{way:?} waited");
        }
        let called = self.writer(id).write_with(|_| panic!("asked for bytes"));
        assert_error(
            called.expect_err("a write was taken"),
            cause,
            accepted,
            acknowledged,
        );
        assert_eq!(
            self.writer(id).write(b"").map_err(|e| e.cause()),
            Err(Some(cause))
        );
        assert_eq!(self.writer(id).write_ready(), Ok(true));
        let after = self.report(id);
        assert_eq!(after.cause, Some(cause));
        assert_ledger(after.ledger, accepted, acknowledged);
        assert_eq!(after.writes_refused, before.writes_refused + 6);
        assert_eq!(after.writes_accepted, before.writes_accepted);
    }

    /// Removes all our addresses from the interface.
    pub fn lose_addresses(&mut self) {
        self.set_addresses(&[]);
    }
}

/// A world with a sink listening at [`PORT`], and our end connected to it.
#[track_caller]
pub fn connected(behaviour: Behaviour, options: Options) -> (Us<1>, ConnectionId) {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, behaviour);
    let mut us = Us::new(&world);
    let id = us.open(options);
    (us, id)
}

/// Our end connected to a script, over a wire without latency.
#[track_caller]
pub fn scripted(options: Options) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    scripted_with(Handshake::default(), options)
}

#[track_caller]
pub fn scripted_with(
    handshake: Handshake,
    options: Options,
) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    scripted_to(PEER_V4, handshake, options)
}

#[track_caller]
pub fn scripted_to(
    to: impl Into<IpAddress>,
    handshake: Handshake,
    options: Options,
) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::new(&world);
    let id = us.stack.connect((to.into(), PORT), options);
    let id = id.expect("a slot, a port and a route");
    let flow = raw.handshake(handshake, || {
        us.stack.poll();
    });
    assert_eq!(us.state(id), State::Open);
    (us, id, raw, flow)
}

/// Opens the congestion window to `octets`: slow start adds a segment for each that is
/// acknowledged (RFC 5681, 3.1).
#[track_caller]
pub fn widen<D: Device>(
    us: &mut Us<1, D>,
    id: ConnectionId,
    raw: &RawPeer,
    flow: &mut Flow,
    octets: usize,
) {
    let mut widened = 0;
    while widened < octets {
        us.write(id, 1_460);
        let segment = raw.recv();
        flow.take(segment.seq_len());
        raw.send(&flow.ack());
        us.stack.poll();
        widened += segment.payload.len();
    }
    assert_eq!(us.ledger(id).pending(), 0);
}

/// Our end while it is still connecting, after its SYN was received.
#[track_caller]
pub fn connecting() -> (Us<1>, ConnectionId, RawPeer, Segment) {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    us.stack.run_for(ms(10));
    let syn = raw.recv();
    (us, id, raw, syn)
}

/// The segments that our end sends from now on.
#[derive(Clone)]
pub struct Tap {
    segments: Rc<RefCell<Vec<Segment>>>,
}

impl Tap {
    pub fn new(world: &World) -> Self {
        let segments = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&segments);
        world.observe(move |_, event| {
            if event.direction == Direction::ToPeer {
                sink.borrow_mut().extend(event.segment());
            }
        });
        Self { segments }
    }

    pub fn take(&self) -> Vec<Segment> {
        self.segments.take()
    }
}

/// Writes all of `bytes` with `write`, and waits whenever nothing is accepted.
#[track_caller]
pub fn transfer(
    us: &mut Us<1>,
    bytes: &[u8],
    mut write: impl FnMut(&mut Us<1>, &[u8]) -> usize,
) -> usize {
    let mut written = 0;
    let mut waits = 0;
    while written < bytes.len() {
        match write(us, &bytes[written..]) {
            0 => {
                waits += 1;
                assert!(waits < 100_000, "it never ends");
                us.stack.wait(us.now() + secs(1));
            }
            taken => written += taken,
        }
    }
    written
}
