//! The operations, and the questions after each.

use super::conn::{Conn, octet};
use super::frame::{astray, build};
use super::input::{
    AckOf, Call, Control, Event, Head, Number, OPERATIONS, Opening, Operation, SegmentOf, SeqOf,
    Which,
};
use super::seen::is_built_for;
use super::tap::Tap;
use super::track::{Track, Tracks};
use arbitrary::{Arbitrary, Unstructured};
use core::time::Duration;
use embedded_io::Write;
use lastbyte::core::Nagle;
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::{Config, ConnectionId, SlotBuffers, Stack};
use lastbyte::{OnPeerFin, OnReceive, Options, WriteError};
use lastbyte_sim::loopback::{
    Flags, LoopClock, OUR_ADDRESSES, OUR_V4, OUR_V6, Offload, PEER_V4, PEER_V6, RawPeer, Segment,
    World, WorldConfig, our_hardware_address,
};
use smoltcp::phy::Medium;
use smoltcp::wire::{IpAddress, IpCidr, IpEndpoint};
use std::cell::RefCell;
use std::rc::Rc;

/// Where our end connects to, and where it listens; the number of the
/// connection is added to the latter two.
const PEER_PORT: u16 = 80;
const LISTEN_AT: u16 = 5000;
const CALLER: u16 = 7000;

/// How many connections there are.
const N: usize = Which::COUNT;

/// The longest payload: more than the largest buffer.
const LONGEST: u16 = 2500;

/// How often the stack may be due at once without anything to do.
const BUSY_POLLS: usize = 64;

/// With this in the environment, each operation is printed, and each frame.
const TRACE: &str = "FUZZ_TRACE";

/// Carries out what `input` says.
///
/// # Panics
///
/// If the stack breaks a promise.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(head) = Head::arbitrary(&mut input) else {
        return;
    };
    let medium = if head.ethernet {
        Medium::Ethernet
    } else {
        Medium::Ip
    };
    let world = make_world(&head, medium);
    let is_traced = std::env::var_os(TRACE).is_some();
    if is_traced {
        println!("{head:?}");
        world.observe(|_, frame| println!("    {:?} {}", frame.direction, frame.summary()));
    }
    let (tx, rx) = (head.tx.octets(), head.rx.octets());
    let tracks = Rc::new(RefCell::new(Tracks::new(medium, rx)));
    let mut memory = [(); N].map(|()| (vec![0; tx], vec![0; rx]));
    let buffers = memory.each_mut().map(|(tx, rx)| SlotBuffers { tx, rx });
    let mut storage = [SocketStorage::EMPTY; N];
    let stack = Stack::new(
        Tap::new(&world, &tracks),
        world.clock(),
        Config::new(our_hardware_address(medium), 7),
        buffers,
        &mut storage,
    );
    if medium == Medium::Ip && !cfg!(feature = "medium-ip") {
        assert!(stack.is_err(), "our end was not built for this medium");
        return;
    }
    let mut harness = Harness {
        raw: world.raw(),
        world,
        tracks,
        stack: stack.expect("a good configuration"),
        conns: [const { None }; N],
        openings: [head.first; N],
        waiting: Vec::new(),
    };
    harness.set_addresses(&OUR_ADDRESSES);
    harness.open(0, head.first);
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut input) else {
            break;
        };
        if is_traced {
            println!("{:?} {operation:?}", harness.world.now());
        }
        harness.perform(operation);
        harness.check();
    }
    harness.stack.run_for(Duration::from_secs(1));
    harness.check();
}

fn make_world(head: &Head, medium: Medium) -> World {
    let bit = |number: u8| head.offload >> number & 1 == 1;
    let config = match medium {
        Medium::Ethernet => WorldConfig::instant(),
        Medium::Ip => WorldConfig::ip(),
    };
    World::new(WorldConfig {
        latency: Duration::ZERO,
        offload: Offload {
            ipv4_tx: bit(0),
            ipv4_rx: bit(1),
            tcp_tx: bit(2),
            tcp_rx: bit(3),
        },
        ..config
    })
}

struct Harness<'a> {
    world: World,
    raw: RawPeer,
    tracks: Rc<RefCell<Tracks>>,
    stack: Stack<'a, Tap, LoopClock, N>,
    conns: [Option<Conn>; N],
    /// How each was opened last.
    openings: [Opening; N],
    /// What has arrived while the device stands still.
    waiting: Vec<Vec<u8>>,
}

fn options(opening: Opening) -> Options {
    let mut builder = Options::builder();
    if opening.half_close {
        builder = builder.on_peer_fin(OnPeerFin::HalfClose);
    }
    if opening.keep {
        builder = builder.on_receive(OnReceive::Keep);
    }
    if opening.keep_alive {
        builder = builder.keep_alive(Duration::from_secs(5));
    }
    if opening.nagle_off {
        builder = builder.nagle(Nagle::Off);
    }
    if opening.short_limits {
        builder = builder
            .connect_timeout(Duration::from_secs(5))
            .user_timeout(Duration::from_secs(10))
            .call_timeout(Duration::from_millis(500))
            .finish_timeout(Duration::from_secs(4));
    }
    builder.build().expect("sound options")
}

fn flags(control: Control) -> Flags {
    const ALL: [Flags; 6] = [
        Flags::FIN,
        Flags::SYN,
        Flags::RST,
        Flags::PSH,
        Flags::ACK,
        Flags::URG,
    ];
    match control {
        Control::Ack => Flags::ACK,
        Control::Data => Flags::PSH | Flags::ACK,
        Control::FinAck => Flags::FIN | Flags::ACK,
        Control::Rst => Flags::RST,
        Control::RstAck => Flags::RST | Flags::ACK,
        Control::Syn => Flags::SYN,
        Control::SynAck => Flags::SYN | Flags::ACK,
        Control::Bits(bits) => (0..)
            .zip(ALL)
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .fold(Flags::NONE, |flags, (_, flag)| flags | flag),
    }
}

impl Harness<'_> {
    fn set_addresses(&mut self, addresses: &[IpCidr]) {
        self.stack.interface_mut().update_ip_addrs(|list| {
            list.clear();
            list.extend(addresses.iter().copied());
        });
    }

    fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Segment {
                which,
                poll,
                segment,
            } => {
                self.send(which.number(), segment);
                if poll {
                    self.stack.poll();
                }
            }
            Operation::Call { which, call } => self.call(which.number(), &call),
            Operation::AckAll { which, window } => {
                self.send(which.number(), plain(Control::Ack, window));
                self.stack.poll();
            }
            Operation::Icmp {
                which,
                code,
                seq,
                len,
            } => {
                self.send_icmp(which.number(), code, seq, len);
                self.stack.poll();
            }
            Operation::Event(event) => self.happen(&event),
            Operation::Reopen { which, opening } => self.open(which.number(), opening),
            Operation::Astray {
                which,
                astray: what,
                ipv6,
                poll,
            } => {
                let port = LISTEN_AT + which.number() as u16;
                let medium = self.world.config().medium;
                self.send_frame(astray(medium, what, ipv6, port));
                if poll {
                    self.stack.poll();
                }
            }
            Operation::Raw { bytes, poll } => {
                self.send_frame(bytes);
                if poll {
                    self.stack.poll();
                }
            }
        }
    }

    fn happen(&mut self, event: &Event) {
        let time = |secs: u8, millis: u8| {
            Duration::from_secs(secs.into()) + Duration::from_millis(millis.into())
        };
        match *event {
            Event::Run(secs, millis) => self.stack.run_for(time(secs, millis)),
            Event::Sleep(secs, millis) => self.world.run_for(time(secs, millis)),
            Event::AddressesGone => {
                self.set_addresses(&[]);
                self.tracks.borrow_mut().blur_all();
                for conn in self.conns.iter_mut().flatten() {
                    conn.deeds.has_lost_address = true;
                }
            }
            Event::AddressesBack => self.set_addresses(&OUR_ADDRESSES),
            Event::Stuck(is_stuck) => {
                self.world.set_stuck(is_stuck);
                self.waiting.clear();
            }
            Event::Link(up) => self.stack.set_link(up),
            Event::Neighbours(answer) => self.raw.answer_neighbours(answer),
            Event::Poll => {
                let is_due = |stack: &mut Stack<'_, Tap, LoopClock, N>, now| {
                    stack.poll().is_some_and(|at| at <= now)
                };
                let now = self.world.now();
                let is_busy = (0..BUSY_POLLS).all(|_| is_due(&mut self.stack, now));
                assert!(
                    !is_busy || self.world.is_full(),
                    "due without end: {:?}",
                    self.stack
                );
            }
        }
    }

    // ---- the peer ----

    /// Both ends of a connection: what the stack says, else what a caller
    /// would use.
    fn ends(&self, which: usize) -> (IpEndpoint, IpEndpoint) {
        let conn = self.conns[which].as_ref();
        let known = conn.and_then(|conn| self.stack.endpoints(conn.id).ok().flatten());
        known.unwrap_or_else(|| {
            let (ours, theirs): (IpAddress, IpAddress) = match self.openings[which].ipv6 {
                false => (OUR_V4.into(), PEER_V4.into()),
                true => (OUR_V6.into(), PEER_V6.into()),
            };
            let number = which as u16;
            (
                IpEndpoint::new(ours, LISTEN_AT + number),
                IpEndpoint::new(theirs, CALLER + number),
            )
        })
    }

    fn send(&mut self, which: usize, what: SegmentOf) {
        let ends @ (ours, theirs) = self.ends(which);
        let isn = self.openings[which].isn.from(1000);
        let mut tracks = self.tracks.borrow_mut();
        let track = tracks.get(ends);
        let (rcv_nxt, edge) = match &track {
            Some(track) if track.is_synchronised() => {
                (track.rcv_hi, track.window_edge.unwrap_or(track.rcv_hi))
            }
            _ => (isn, isn),
        };
        let (snd_nxt, una) = track.map_or((0, 0), |track| (track.snd_nxt, track.may_una));
        drop(tracks);
        let seq = match what.seq {
            SeqOf::RcvNxt(number) => number.from(rcv_nxt),
            SeqOf::WindowEdge(number) => number.from(edge),
        };
        let ack = match what.ack {
            AckOf::SndNxt(number) => number.from(snd_nxt),
            AckOf::SndUna(number) => number.from(una),
        };
        let segment = Segment {
            src: theirs.addr,
            dst: ours.addr,
            ..Segment::new(theirs.port, ours.port, flags(what.control), seq, ack)
                .with_window(what.window)
                .with_payload(text(seq, flags(what.control), what.len % LONGEST))
        };
        let medium = self.world.config().medium;
        for frame in build(medium, &segment, what.mangle) {
            self.send_frame(frame);
        }
    }

    /// A frame comes to the device, which gives it out, or keeps it for now.
    fn send_frame(&mut self, frame: Vec<u8>) {
        if self.world.is_full() {
            self.waiting.push(frame.clone());
        }
        self.raw.send_frame(frame);
    }

    fn send_icmp(&mut self, which: usize, code: u8, seq: AckOf, len: u8) {
        let ends @ (ours, theirs) = self.ends(which);
        let mut tracks = self.tracks.borrow_mut();
        let Some(track) = tracks.get(ends) else {
            return;
        };
        let seq = match seq {
            AckOf::SndNxt(number) => number.from(track.snd_nxt.wrapping_sub(1)),
            AckOf::SndUna(number) => number.from(track.may_una),
        };
        let code = code % 8;
        let is_hard = match ours.addr {
            IpAddress::Ipv4(_) => matches!(code, 2..=4),
            IpAddress::Ipv6(_) => matches!(code, 1 | 4..=6),
        };
        if is_hard && track.has_sent(seq) {
            track.may_unreachable = true;
        }
        drop(tracks);
        let quoted =
            Segment {
                src: ours.addr,
                dst: theirs.addr,
                ..Segment::new(ours.port, theirs.port, Flags::ACK, seq, 0)
                    .with_payload(vec![0; usize::from(len)])
            };
        self.raw.send_unreachable(&quoted, code);
    }

    // ---- our end ----

    fn open(&mut self, which: usize, opening: Opening) {
        // What follows is about another connection, if between the same ends.
        let ends = self.ends(which);
        if let Some(conn) = self.conns[which].take() {
            let _ = self.stack.release(conn.id);
        }
        self.tracks.borrow_mut().forget(ends);
        let options = options(opening);
        let opened = if opening.listen {
            self.stack.listen(LISTEN_AT + which as u16, options).ok()
        } else {
            let (peer, may_open) = target(&opening);
            let opened = self.stack.connect((peer, PEER_PORT), options).ok();
            assert!(
                may_open || opened.is_none(),
                "it connects to {peer}, which is no host we can reach"
            );
            opened
        };
        self.openings[which] = opening;
        let Some(id) = opened else { return };
        self.conns[which] = Some(Conn::new(id, options, self.world.now()));
        self.check();
        if !opening.handshake {
            return;
        }
        for _ in 0..3 {
            self.stack.poll();
        }
        let steps = match opening.listen {
            true => [Control::Syn, Control::Ack],
            false => [Control::SynAck, Control::Ack],
        };
        for control in steps {
            self.send(which, plain(control, opening.window));
            self.stack.poll();
            self.check();
        }
    }

    fn call(&mut self, which: usize, call: &Call) {
        let Some(conn) = self.conns[which].as_mut() else {
            return;
        };
        let id = conn.id;
        let now = self.world.now();
        match call {
            Call::BeginFinish | Call::Finish => {
                conn.deeds.finish_at.get_or_insert(now);
            }
            Call::Abort | Call::Release => {
                conn.deeds.has_aborted = true;
            }
            _ => {}
        }
        if let Ok(outcome) = self.carry_out(id, call) {
            self.judge(which, outcome);
        }
    }

    /// `Err` if the connection is unknown by now.
    fn carry_out(
        &mut self,
        id: ConnectionId,
        call: &Call,
    ) -> Result<Outcome, lastbyte::stack::UnknownConnection> {
        let bytes = |len: u16| vec![0xa5; usize::from(len % LONGEST)];
        Ok(match *call {
            Call::TryWrite(len) => {
                let written = self.stack.writer(id)?.try_write(&bytes(len));
                Outcome::Wrote(usize::from(len % LONGEST), written)
            }
            Call::Write(len) => {
                let written = self.stack.writer(id)?.write(&bytes(len));
                Outcome::Wrote(usize::from(len % LONGEST), written)
            }
            Call::WriteWith(len) => {
                let written = self
                    .stack
                    .writer(id)?
                    .write_with(|free| free.len().min(usize::from(len)));
                Outcome::Wrote(usize::from(len), written)
            }
            Call::Read(len) => {
                let mut into = vec![0; usize::from(len)];
                let result = self.stack.reader(id)?.try_read(&mut into);
                Outcome::HasRead(result, into)
            }
            Call::Flush => Outcome::Flushed(self.stack.writer(id)?.flush()),
            Call::BeginFinish => {
                self.stack.writer(id)?.begin_finish();
                Outcome::Nothing
            }
            Call::Finish => Outcome::Finished(self.stack.writer(id)?.finish()),
            Call::Abort => {
                let _ = self.stack.writer(id)?.abort();
                Outcome::Nothing
            }
            Call::Release => {
                self.stack.release(id)?;
                Outcome::Nothing
            }
            Call::Report => {
                let _ = self.stack.poll_advice(id)?;
                let _ = self.stack.writer(id)?.progress()?;
                Outcome::Nothing
            }
        })
    }

    fn judge(&mut self, which: usize, outcome: Outcome) {
        let ends = self.ends(which);
        let mut tracks = self.tracks.borrow_mut();
        let foreseen = match self.world.is_full() {
            true => tracks.foresee(ends, &self.waiting),
            false => None,
        };
        let track = tracks.get(ends).map(|track| &*track);
        let Some(conn) = self.conns[which].as_mut() else {
            return;
        };
        let Ok(report) = self.stack.report(conn.id) else {
            return;
        };
        match outcome {
            Outcome::Wrote(len, result) => {
                let result = match result {
                    Err(WriteError::WouldBlock { .. }) => Ok(0),
                    known => known,
                };
                conn.wrote(len, result, &report, track, foreseen.as_ref());
            }
            Outcome::Flushed(result) => conn.flushed(result, &report),
            Outcome::HasRead(result, bytes) => conn.has_read(result, &bytes, &report, track),
            Outcome::Finished(Ok(finished)) => {
                assert_eq!(finished.ledger.pending(), 0, "finished? {conn:?}");
            }
            Outcome::Finished(Err(error)) => conn.refused(error, &report),
            Outcome::Nothing => {}
        }
    }

    fn check(&mut self) {
        let now = self.world.now();
        for which in 0..N {
            let ends = self.ends(which);
            let mut tracks = self.tracks.borrow_mut();
            let track: Option<&Track> = tracks.get(ends).map(|track| &*track);
            let Some(conn) = self.conns[which].as_mut() else {
                continue;
            };
            // Released, and its slot taken by the other one.
            let (Ok(report), Ok(state)) = (self.stack.report(conn.id), self.stack.state(conn.id))
            else {
                assert!(conn.deeds.has_aborted || conn.deeds.finish_at.is_some());
                continue;
            };
            conn.check(&report, state, track, now);
        }
    }
}

/// The octets of the peer's stream in a segment at this number.
fn text(seq: u32, flags: Flags, len: u16) -> Vec<u8> {
    let seq = seq.wrapping_add(u32::from(flags.contains(Flags::SYN)));
    let numbers = 0..u32::from(len);
    numbers
        .map(|number| octet(seq.wrapping_add(number)))
        .collect()
}

enum Outcome {
    Wrote(usize, Result<usize, WriteError>),
    HasRead(Result<Option<usize>, lastbyte::ReadError>, Vec<u8>),
    Flushed(Result<(), WriteError>),
    Finished(Result<lastbyte::Report, WriteError>),
    Nothing,
}

/// Where to connect to, and whether that may begin.
fn target(opening: &Opening) -> (IpAddress, bool) {
    use smoltcp::wire::{Ipv4Address, Ipv6Address};
    let mapped = |v4: Ipv4Address| v4.to_ipv6_mapped().into();
    let odd = match (opening.target % 32, opening.ipv6) {
        (1, false) => OUR_V4.into(),
        (1, true) => OUR_V6.into(),
        (2, false) => Ipv4Address::new(10, 77, 0, 255).into(),
        (2 | 3, true) => mapped(PEER_V4),
        (3, false) => Ipv4Address::BROADCAST.into(),
        (4, false) => Ipv4Address::new(127, 0, 0, 1).into(),
        (4, true) => Ipv6Address::LOCALHOST.into(),
        (5, false) => Ipv4Address::new(224, 0, 0, 1).into(),
        (5, true) => Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
        (6, false) => Ipv4Address::UNSPECIFIED.into(),
        (6, true) => Ipv6Address::UNSPECIFIED.into(),
        (_, false) => return (PEER_V4.into(), is_built_for(PEER_V4.into())),
        (_, true) => return (PEER_V6.into(), is_built_for(PEER_V6.into())),
    };
    (odd, false)
}

/// A segment at the present numbers.
fn plain(control: Control, window: u16) -> SegmentOf {
    SegmentOf {
        control,
        seq: SeqOf::RcvNxt(Number::Exact),
        ack: AckOf::SndNxt(Number::Exact),
        window,
        len: 0,
        mangle: None,
    }
}
