//! The cost of the guard alone: the frames of a transfer in writes of 1460 octets go
//! through it and past it, without a stack that reads them.
//!
//! Prints the octets of the writes, and the instructions for the frames through
//! the guard and past it.
#![no_std]
#![no_main]

use budgets::board::{self, Counter, Stack as CallStack};
use budgets::client::{Aligned, PORT, RX, TX};
use budgets::mac::{Frames, HEADERS, Mac, OUR_ADDRESS, OUR_MAC, PEER_ADDRESS, SEQ, u32_at};
use core::hint::black_box;
use lastbyte::stack::{Config, Net, Step, Tracker, smoltcp};
use lastbyte::{Instant, Options, State};
use smoltcp::iface::{Interface, PollIngressSingleResult, SocketSet, SocketStorage};
use smoltcp::phy::{Device, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::IpCidr;
use static_cell::ConstStaticCell;

budgets::program!(run);

const WRITE: usize = 1460;
const WRITES: u32 = 512;

static FRAMES: ConstStaticCell<Frames> = ConstStaticCell::new(Frames::new());
static BUFFERS: ConstStaticCell<Aligned<([u8; TX], [u8; RX])>> =
    ConstStaticCell::new(Aligned(([0; TX], [0; RX])));
static STORAGE: ConstStaticCell<[SocketStorage<'static>; 1]> =
    ConstStaticCell::new([SocketStorage::EMPTY]);

fn at(millis: u32) -> Instant {
    Instant::from_millis(u64::from(millis))
}

fn smoltcp_at(millis: u32) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_millis(millis)
}

/// A tracker with an open connection, and the parts of its application.
struct Owner {
    mac: Mac,
    sockets: SocketSet<'static>,
    tracker: Tracker<1>,
}

impl Owner {
    /// Opens a connection and sends the first segment.
    fn open() -> Option<Self> {
        let mut mac = Mac::new(FRAMES.take());
        let config = smoltcp::iface::Config::new(OUR_MAC.into());
        let mut interface = Interface::new(config, &mut mac, smoltcp_at(0));
        interface.update_ip_addrs(|all| {
            all.push(IpCidr::new(OUR_ADDRESS.into(), 24)).unwrap_or(());
        });
        let (tx, rx) = &mut BUFFERS.take().0;
        let rx = tcp::SocketBuffer::new(&mut rx[..]);
        let socket = tcp::Socket::new(rx, tcp::SocketBuffer::new(&mut tx[..]));
        let mut sockets = SocketSet::new(&mut STORAGE.take()[..]);
        let handle = sockets.add(socket);
        let mut tracker = Tracker::new(&Config::new(OUR_MAC.into(), 1), &mac, [handle]).ok()?;
        let mut net = Net {
            interface: &mut interface,
            sockets: &mut sockets,
            device: &mut mac,
            now: at(0),
        };
        let remote = (PEER_ADDRESS, PORT).into();
        let id = tracker.connect(&mut net, remote, Options::default()).ok()?;
        for now in 0..10 {
            net.now = at(now);
            tracker.poll(&mut net);
        }
        let bytes = black_box([0x5a; WRITE]);
        let is_open = tracker.state(id) == Ok(State::Open);
        let accepted = tracker.try_write(&mut net, id, &bytes);
        (is_open && accepted == Ok(WRITE)).then_some(Self {
            mac,
            sockets,
            tracker,
        })
    }
}

/// Sends one segment of ours, the next in order.
fn send(device: &mut impl Device) {
    let Some(room) = device.transmit(smoltcp_at(10)) else {
        board::fail();
    };
    // The buffer still holds the previous segment.
    room.consume(HEADERS + WRITE, |frame| {
        let seq = u32_at(frame, SEQ).wrapping_add(WRITE as u32);
        frame[SEQ..SEQ + 4].copy_from_slice(&seq.to_be_bytes());
    });
}

/// Receives the peer's answer.
fn receive(device: &mut impl Device) -> PollIngressSingleResult {
    let Some((frame, _)) = device.receive(smoltcp_at(10)) else {
        return PollIngressSingleResult::None;
    };
    frame.consume(|frame| {
        black_box(frame.len());
    });
    PollIngressSingleResult::PacketProcessed
}

/// The path of the frames.
#[derive(Clone, Copy)]
enum Way {
    ThroughGuard,
    PastGuard,
}

/// The instructions for the frames of all writes.
#[inline(never)]
fn frames(counter: &mut Counter, owner: &mut Owner, way: Way) -> u32 {
    let Owner {
        mac,
        sockets,
        tracker,
    } = owner;
    let mut instructions = 0;
    for _ in 0..WRITES {
        let ((), taken) = counter.count(|| match way {
            Way::ThroughGuard => send(&mut tracker.watch(mac)),
            Way::PastGuard => send(mac),
        });
        instructions += taken;
        // The facts of the guard are collected as in a poll; that is not counted.
        tracker.after_step(Step::Egress, sockets, at(10));
        let mut answer = PollIngressSingleResult::PacketProcessed;
        while answer != PollIngressSingleResult::None {
            let taken;
            (answer, taken) = counter.count(|| match way {
                Way::ThroughGuard => receive(&mut tracker.watch(mac)),
                Way::PastGuard => receive(mac),
            });
            instructions += taken;
            tracker.after_step(Step::Ingress, sockets, at(10));
        }
    }
    instructions
}

fn run(_: &CallStack) -> ! {
    let mut counter = Counter::new();
    let Some(mut owner) = Owner::open() else {
        board::fail();
    };
    let through = frames(&mut counter, &mut owner, Way::ThroughGuard);
    let past = frames(&mut counter, &mut owner, Way::PastGuard);
    board::print(&[WRITES * WRITE as u32, through, past]);
    board::exit()
}
