//! Counts the instructions of a transfer, on an emulated Cortex-M3 whose clock
//! goes on by a nanosecond with each (`-icount shift=0`).
//!
//! Prints five numbers: octets sent; the instructions that a bare smoltcp loop
//! and a [`Tracker`] need for them, each with the device and its peer; those of
//! the same frames through the guard with nothing behind it, and past the guard.
#![no_std]
#![no_main]

use core::fmt::Write as _;
use core::hint::black_box;
use core::panic::PanicInfo;
use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hio};
use cost::{HEADERS, Mac, OUR_ADDRESS, OUR_MAC, PEER_ADDRESS, SEQ, u32_at};
use lastbyte::stack::{Config, ConnectionId, Net, Step, Tracker, smoltcp};
use lastbyte::{Instant, Options, State};
use smoltcp::iface::{
    Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet, SocketStorage,
};
use smoltcp::phy::{Device, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::IpCidr;

const WRITE: usize = 1460;
const WRITES: u32 = 720;
const PORT: u16 = 5000;

/// Where the LM3S6965 sets its system clock. With 0 in the divider it ticks
/// every 5 ns.
const RCC: *mut u32 = 0x400f_e060 as *mut u32;
const RCC_DIVIDER: u32 = 0xf << 23;
const INSTRUCTIONS_PER_TICK: u32 = 5;

/// Counts instructions while something runs, fewer than 80 million at a time.
struct Counter {
    ticks: u64,
}

impl Counter {
    fn new(mut timer: SYST) -> Self {
        // SAFETY: the address is that of a register of this board.
        unsafe { RCC.write_volatile(RCC.read_volatile() & !RCC_DIVIDER) };
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(0x00ff_ffff);
        timer.clear_current();
        timer.enable_counter();
        Self { ticks: 0 }
    }

    fn count<R>(&mut self, what: impl FnOnce() -> R) -> R {
        let before = SYST::get_current();
        let result = what();
        // It counts down, and has 24 bits.
        let ticks = before.wrapping_sub(SYST::get_current()) & 0x00ff_ffff;
        self.ticks += u64::from(ticks);
        result
    }

    fn take(&mut self) -> u64 {
        core::mem::take(&mut self.ticks) * u64::from(INSTRUCTIONS_PER_TICK)
    }
}

fn at(millis: u32) -> Instant {
    Instant::from_millis(u64::from(millis))
}

fn smoltcp_at(millis: u32) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_millis(millis)
}

fn interface(mac: &mut Mac) -> Interface {
    let config = smoltcp::iface::Config::new(OUR_MAC.into());
    let mut interface = Interface::new(config, mac, smoltcp_at(0));
    interface.update_ip_addrs(|all| {
        let pushed = all.push(IpCidr::new(OUR_ADDRESS.into(), 24));
        assert!(pushed.is_ok());
    });
    interface
}

/// Twice the segment: two are in flight, and none is cut at the buffer's end.
struct Memory {
    tx: [u8; 2 * WRITE],
    rx: [u8; 512],
}

impl Memory {
    const fn new() -> Self {
        Self {
            tx: [0; 2 * WRITE],
            rx: [0; 512],
        }
    }

    fn socket(&mut self) -> tcp::Socket<'_> {
        let rx = tcp::SocketBuffer::new(&mut self.rx[..]);
        tcp::Socket::new(rx, tcp::SocketBuffer::new(&mut self.tx[..]))
    }
}

/// What a user of smoltcp writes: poll, fill the buffer.
#[inline(never)]
fn bare(counter: &mut Counter) -> u64 {
    let mut mac = Mac::new();
    let mut memory = Memory::new();
    let mut interface = interface(&mut mac);
    let mut storage = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let handle = sockets.add(memory.socket());
    let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
    let remote = (PEER_ADDRESS, PORT);
    let connected = socket.connect(interface.context(), remote, 50_000);
    assert!(connected.is_ok());
    for now in 0..10 {
        interface.poll(smoltcp_at(now), &mut mac, &mut sockets);
    }
    let bytes = black_box([0x5a; WRITE]);
    for write in 0..WRITES {
        let accepted = counter.count(|| {
            let at = smoltcp_at(10 + write);
            while interface.poll_ingress_single(at, &mut mac, &mut sockets)
                != PollIngressSingleResult::None
            {}
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            let accepted = socket.send_slice(&bytes);
            while interface.poll_egress(at, &mut mac, &mut sockets) != PollResult::None {}
            accepted
        });
        assert!(accepted == Ok(WRITE));
    }
    counter.take()
}

/// A tracker, and what belongs to the application that has one.
struct Owner<'a> {
    mac: Mac,
    interface: Interface,
    sockets: SocketSet<'a>,
    tracker: Tracker<1>,
}

impl<'a> Owner<'a> {
    fn new(memory: &'a mut Memory, storage: &'a mut [SocketStorage<'a>]) -> Self {
        let mut mac = Mac::new();
        let interface = interface(&mut mac);
        let mut sockets = SocketSet::new(storage);
        let handle: SocketHandle = sockets.add(memory.socket());
        let config = Config::new(OUR_MAC.into(), 1);
        let Ok(tracker) = Tracker::new(&config, &mac, [handle]) else {
            panic!("no tracker");
        };
        Self {
            mac,
            interface,
            sockets,
            tracker,
        }
    }

    fn parts(&mut self, now: u32) -> (&mut Tracker<1>, Net<'_, 'a, Mac>) {
        let net = Net {
            interface: &mut self.interface,
            sockets: &mut self.sockets,
            device: &mut self.mac,
            now: at(now),
        };
        (&mut self.tracker, net)
    }

    fn open(&mut self) -> ConnectionId {
        let (tracker, mut net) = self.parts(0);
        let remote = (PEER_ADDRESS, PORT).into();
        let Ok(id) = tracker.connect(&mut net, remote, Options::default()) else {
            panic!("no connection");
        };
        for now in 0..10 {
            let (tracker, mut net) = self.parts(now);
            tracker.poll(&mut net);
        }
        assert!(self.tracker.state(id) == Ok(State::Open));
        id
    }
}

/// The writer as it is.
#[inline(never)]
fn lastbyte(counter: &mut Counter) -> u64 {
    let mut memory = Memory::new();
    let mut storage = [SocketStorage::EMPTY];
    let mut owner = Owner::new(&mut memory, &mut storage);
    let id = owner.open();
    let bytes = black_box([0x5a; WRITE]);
    for write in 0..WRITES {
        let (tracker, mut net) = owner.parts(10 + write);
        let accepted = counter.count(|| tracker.try_write(&mut net, id, &bytes));
        assert!(accepted == Ok(WRITE));
    }
    counter.take()
}

/// One segment of ours leaves, the next in order.
fn send(device: &mut impl Device) {
    let Some(room) = device.transmit(smoltcp_at(10)) else {
        panic!("the device is full");
    };
    // The segment of last time is still there.
    room.consume(HEADERS + WRITE, |frame| {
        let seq = u32_at(frame, SEQ).wrapping_add(WRITE as u32);
        frame[SEQ..SEQ + 4].copy_from_slice(&seq.to_be_bytes());
    });
}

/// What the peer answers is received.
fn receive(device: &mut impl Device) -> PollIngressSingleResult {
    let Some((frame, _)) = device.receive(smoltcp_at(10)) else {
        return PollIngressSingleResult::None;
    };
    frame.consume(|frame| {
        black_box(frame.len());
    });
    PollIngressSingleResult::PacketProcessed
}

/// Which way frames take.
#[derive(Clone, Copy)]
enum Way {
    ThroughGuard,
    PastGuard,
}

/// The same frames again, with nothing behind the device that looks at them, so
/// that all the difference between the ways is the guard.
#[inline(never)]
fn frames(counter: &mut Counter, way: Way) -> u64 {
    let mut memory = Memory::new();
    let mut storage = [SocketStorage::EMPTY];
    let mut owner = Owner::new(&mut memory, &mut storage);
    let id = owner.open();
    let bytes = black_box([0x5a; WRITE]);
    let (tracker, mut net) = owner.parts(10);
    assert!(tracker.try_write(&mut net, id, &bytes) == Ok(WRITE));
    let Owner {
        mac,
        tracker,
        sockets,
        ..
    } = &mut owner;
    for _ in 0..WRITES {
        counter.count(|| match way {
            Way::ThroughGuard => send(&mut tracker.watch(mac)),
            Way::PastGuard => send(mac),
        });
        // What the guard noted is collected as in a poll; that does not count.
        tracker.after_step(Step::Egress, sockets, at(10));
        let answer = counter.count(|| match way {
            Way::ThroughGuard => receive(&mut tracker.watch(mac)),
            Way::PastGuard => receive(mac),
        });
        tracker.after_step(Step::Ingress, sockets, at(10));
        if answer == PollIngressSingleResult::None {
            continue;
        }
        counter.count(|| match way {
            Way::ThroughGuard => receive(&mut tracker.watch(mac)),
            Way::PastGuard => receive(mac),
        });
    }
    counter.take()
}

#[entry]
fn main() -> ! {
    let Some(peripherals) = Peripherals::take() else {
        panic!("no peripherals");
    };
    let mut counter = Counter::new(peripherals.SYST);
    let bare = bare(&mut counter);
    let lastbyte = lastbyte(&mut counter);
    let through = frames(&mut counter, Way::ThroughGuard);
    let past = frames(&mut counter, Way::PastGuard);
    let bytes = WRITES * WRITE as u32;
    let Ok(mut out) = hio::hstdout() else {
        panic!("nowhere to write to");
    };
    let figures = writeln!(out, "{bytes} {bare} {lastbyte} {through} {past}");
    assert!(figures.is_ok());
    debug::exit(debug::EXIT_SUCCESS);
    panic!("the emulator goes on");
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if let Ok(mut out) = hio::hstdout() {
        let _ = writeln!(out, "{info}");
    }
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
