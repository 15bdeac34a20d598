//! The operations, and the questions after each.

use super::conn::Conn;
use super::frame::build;
use super::input::{
    AckOf, Call, Control, Event, Head, Number, OPERATIONS, Opening, Operation, SegmentOf, SeqOf,
};
use super::tap::Tap;
use super::track::{Track, Tracks};
use arbitrary::{Arbitrary, Unstructured};
use core::time::Duration;
use embedded_io::Write;
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::{Config, ConnectionId, SlotBuffers, Stack};
use lastbyte::{Nagle, OnPeerFin, OnReceive, Options};
use lastbyte_shim::loopback::{
    Flags, LoopClock, OUR_ADDRESSES, OUR_V4, OUR_V6, PEER_V4, PEER_V6, RawPeer, Segment, World,
    WorldConfig, our_hardware_address,
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

/// The longest payload: more than the largest buffer.
const LONGEST: u16 = 2500;

/// How often the stack may ask to be polled at once without anything to do.
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
    let world = World::new(match medium {
        Medium::Ethernet => WorldConfig::instant(),
        Medium::Ip => WorldConfig {
            latency: Duration::ZERO,
            ..WorldConfig::ip()
        },
    });
    let is_traced = std::env::var_os(TRACE).is_some();
    if is_traced {
        println!("{head:?}");
        world.observe(|_, frame| println!("    {:?} {}", frame.direction, frame.summary()));
    }
    let (tx, rx) = (head.tx.octets(), head.rx.octets());
    let tracks = Rc::new(RefCell::new(Tracks::new(medium, rx)));
    let mut memory = [(); 2].map(|()| (vec![0; tx], vec![0; rx]));
    let buffers = memory.each_mut().map(|(tx, rx)| SlotBuffers { tx, rx });
    let mut storage = [SocketStorage::EMPTY; 2];
    let stack = Stack::new(
        Tap::new(&world, &tracks),
        world.clock(),
        Config::new(our_hardware_address(medium), 7),
        buffers,
        &mut storage,
    );
    let mut harness = Harness {
        raw: world.raw(),
        world,
        tracks,
        stack: stack.expect("a good configuration"),
        conns: [None, None],
        openings: [head.first; 2],
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

struct Harness<'a> {
    world: World,
    raw: RawPeer,
    tracks: Rc<RefCell<Tracks>>,
    stack: Stack<'a, Tap, LoopClock, 2>,
    conns: [Option<Conn>; 2],
    /// How each was opened last.
    openings: [Opening; 2],
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
            .connect_limit(Duration::from_secs(5))
            .silence_limit(Duration::from_secs(10))
            .call_limit(Duration::from_millis(500))
            .finish_limit(Duration::from_secs(4));
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
                second,
                poll,
                segment,
            } => {
                self.send(usize::from(second), segment);
                if poll {
                    self.stack.poll();
                }
            }
            Operation::Call { second, call } => self.call(usize::from(second), &call),
            Operation::AckAll { second, window } => {
                self.send(usize::from(second), plain(Control::Ack, window));
                self.stack.poll();
            }
            Operation::Icmp {
                second,
                code,
                seq,
                len,
            } => {
                self.send_icmp(usize::from(second), code, seq, len);
                self.stack.poll();
            }
            Operation::Event(event) => self.happen(&event),
            Operation::Reopen { second, opening } => self.open(usize::from(second), opening),
            Operation::Raw { bytes, poll } => {
                self.raw.send_frame(bytes);
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
            Event::Link(up) => self.stack.set_link(up),
            Event::Neighbours(answer) => self.raw.answer_neighbours(answer),
            Event::Poll => {
                let is_due = |stack: &mut Stack<'_, Tap, LoopClock, 2>, now| {
                    stack.poll().is_some_and(|at| at <= now)
                };
                let now = self.world.now();
                let is_busy = (0..BUSY_POLLS).all(|_| is_due(&mut self.stack, now));
                assert!(!is_busy, "due for ever: {:?}", self.stack);
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
                .with_payload(vec![0x5a; usize::from(what.len % LONGEST)])
        };
        let medium = self.world.config().medium;
        self.raw.send_frame(build(medium, &segment, what.mangle));
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
            IpAddress::Ipv6(_) => matches!(code, 1 | 4),
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
            let peer: IpAddress = match opening.ipv6 {
                false => PEER_V4.into(),
                true => PEER_V6.into(),
            };
            self.stack.connect((peer, PEER_PORT), options).ok()
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
                Outcome::HasRead(self.stack.reader(id)?.try_read(&mut into))
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
        let track = tracks.get(ends).map(|track| &*track);
        let Some(conn) = self.conns[which].as_mut() else {
            return;
        };
        let Ok(report) = self.stack.report(conn.id) else {
            return;
        };
        match outcome {
            Outcome::Wrote(len, result) => conn.wrote(len, result, &report, track),
            Outcome::Flushed(result) => conn.flushed(result, &report),
            Outcome::HasRead(result) => conn.has_read(result, &report),
            Outcome::Finished(Ok(finished)) => {
                assert_eq!(finished.ledger.pending(), 0, "finished? {conn:?}");
            }
            Outcome::Finished(Err(error)) => conn.refused(error, &report),
            Outcome::Nothing => {}
        }
    }

    fn check(&mut self) {
        let now = self.world.now();
        for which in 0..2 {
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

enum Outcome {
    Wrote(usize, Result<usize, lastbyte::WriteError>),
    HasRead(Result<Option<usize>, lastbyte::ReadError>),
    Flushed(Result<(), lastbyte::WriteError>),
    Finished(Result<lastbyte::Report, lastbyte::WriteError>),
    Nothing,
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
