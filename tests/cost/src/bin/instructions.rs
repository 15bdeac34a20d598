//! Counts instructions on an emulated Cortex-M3 that executes one in a
//! nanosecond.
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
use cost::{Mac, OUR_ADDRESS, OUR_MAC, PEER_ADDRESS, SEQ};
use lastbyte::stack::{Config, ConnectionId, Net, Step, Tracker, smoltcp};
use lastbyte::{Instant, Options, State};
use smoltcp::iface::{Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet, SocketStorage};
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

/// Counts instructions while something runs.
struct Counter {
    timer: SYST,
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
        Self { timer, ticks: 0 }
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
fn guarded(counter: &mut Counter) -> u64 {
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

/// One frame of ours, the next in order, and what the peer answers.
fn exchange(device: &mut impl Device) -> bool {
    let at = smoltcp_at(10);
    if let Some(room) = device.transmit(at) {
        // The frame of last time is still there.
        room.consume(14 + 40 + WRITE, |frame| {
            let Some((_, rest)) = frame.split_at_mut_checked(SEQ) else {
                return;
            };
            if let Some(seq) = rest.first_chunk_mut::<4>() {
                *seq = u32::from_be_bytes(*seq)
                    .wrapping_add(WRITE as u32)
                    .to_be_bytes();
            }
        });
    }
    false
}

fn collect(device: &mut impl Device) -> bool {
    match device.receive(smoltcp_at(10)) {
        Some((frame, _)) => {
            frame.consume(|frame| {
                black_box(frame.len());
            });
            true
        }
        None => false,
    }
}

/// The same frames without a stack, through the guard or past it.
#[inline(never)]
fn frames(counter: &mut Counter, through: bool) -> (u64, u64) {
    let mut memory = Memory::new();
    let mut storage = [SocketStorage::EMPTY];
    let mut owner = Owner::new(&mut memory, &mut storage);
    let id = owner.open();
    let bytes = black_box([0x5a; WRITE]);
    let (tracker, mut net) = owner.parts(10);
    assert!(tracker.try_write(&mut net, id, &bytes) == Ok(WRITE));
    let mut total = 0;
    let mut received = 0;
    for _ in 0..WRITES {
        let Owner {
            mac,
            tracker,
            sockets,
            ..
        } = &mut owner;
        counter.count(|| match through {
            true => exchange(&mut tracker.watch(mac)),
            false => exchange(mac),
        });
        total += counter.take();
        tracker.after_step(Step::Egress, sockets, at(10));
        for _ in 0..2 {
        let came = counter.count(|| match through {
            true => collect(&mut tracker.watch(mac)),
            false => collect(mac),
        });
        tracker.after_step(Step::Ingress, sockets, at(10));
        if !came {
            break;
        }
        }
        received += counter.take();
    }
    (total, received)
}

#[entry]
fn main() -> ! {
    let Some(peripherals) = Peripherals::take() else {
        panic!("no peripherals");
    };
    let mut counter = Counter::new(peripherals.SYST);
    let bare = bare(&mut counter);
    let guarded = guarded(&mut counter);
    let through = frames(&mut counter, true);
    let past = frames(&mut counter, false);
    if let Ok(mut out) = hio::hstdout() {
        let bytes = WRITES * WRITE as u32;
        let _ = writeln!(
            out,
            "bytes {bytes} bare {bare} guarded {guarded} through {through:?} past {past:?}"
        );
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if let Ok(mut out) = hio::hstdout() {
        let _ = writeln!(out, "{info}");
    }
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
