//! The operations, and the checks after each.

use super::conn::Conn;
use super::frame::astray;
use super::input::{Control, Event, Head, OPERATIONS, Opening, Operation, Which};
use super::peer::plain;
use super::seen::is_built_for;
use super::tap::Tap;
use super::track::{Track, Tracks};
use arbitrary::{Arbitrary, Unstructured};
use core::time::Duration;
use lastbyte::core::Nagle;
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::{Config, SlotBuffers, Stack};
use lastbyte::{OnPeerFin, OnReceive, Options};
use lastbyte_sim::loopback::{
    LoopClock, OUR_ADDRESSES, OUR_V4, OUR_V6, Offload, PEER_V4, PEER_V6, RawPeer, World,
    WorldConfig, our_hardware_address,
};
use smoltcp::phy::Medium;
use smoltcp::wire::{IpAddress, IpCidr};
use std::cell::RefCell;
use std::rc::Rc;

/// The port to which our end connects, and those at which it listens; the number of the
/// connection is added to the latter two.
const PEER_PORT: u16 = 80;
pub const LISTEN_AT: u16 = 5000;
pub const CALLER: u16 = 7000;

/// How many connections there are.
const N: usize = Which::COUNT;

/// The longest payload: more than the largest buffer.
pub const LONGEST: u16 = 2500;

/// How often the stack may be due at once without anything to do.
const BUSY_POLLS: usize = 64;

/// If this is set in the environment, each operation and each frame is printed.
const TRACE: &str = "FUZZ_TRACE";

/// Runs the operations of `input`.
///
/// # Panics
///
/// If the stack breaks a guarantee.
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
        capacity: tx,
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

pub struct Harness<'a> {
    pub world: World,
    pub raw: RawPeer,
    pub tracks: Rc<RefCell<Tracks>>,
    pub stack: Stack<'a, Tap, LoopClock, N>,
    pub conns: [Option<Conn>; N],
    /// The size of a transmit buffer.
    capacity: usize,
    /// How each connection was last opened.
    pub openings: [Opening; N],
    /// What has arrived while the device is stalled.
    pub waiting: Vec<Vec<u8>>,
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

    fn open(&mut self, which: usize, opening: Opening) {
        // What follows belongs to another connection, even between the same ends.
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
                "it connects to {peer}, which is not a host that we can reach"
            );
            opened
        };
        self.openings[which] = opening;
        let Some(id) = opened else { return };
        self.conns[which] = Some(Conn::new(id, options, self.capacity, self.world.now()));
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

    pub fn check(&mut self) {
        let now = self.world.now();
        for which in 0..N {
            let ends = self.ends(which);
            let mut tracks = self.tracks.borrow_mut();
            let track: Option<&Track> = tracks.get(ends).map(|track| &*track);
            let Some(conn) = self.conns[which].as_mut() else {
                continue;
            };
            // It was released, and the other one has its slot.
            let (Ok(report), Ok(state)) = (self.stack.report(conn.id), self.stack.state(conn.id))
            else {
                assert!(conn.deeds.has_aborted || conn.deeds.finish_at.is_some());
                continue;
            };
            conn.check(&report, state, track, now);
        }
    }
}

/// The peer to connect to, and whether that may begin.
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
