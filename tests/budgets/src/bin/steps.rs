//! The smallest firmware with one writer. It is built with the guard and without, to
//! compare the sizes; without the guard it would never detect an end.
#![no_std]
#![no_main]

use budgets::board::{self, Stack as CallStack};
use budgets::mac::{Frames, Mac, OUR_ADDRESS, OUR_MAC, PEER_ADDRESS};
use core::hint::black_box;
use lastbyte::stack::smoltcp;
use lastbyte::stack::{Config, Net, Step, Tracker};
use lastbyte::{Instant, Options};
use smoltcp::iface::{Interface, PollIngressSingleResult, PollResult, SocketSet, SocketStorage};
use smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::IpCidr;
use static_cell::ConstStaticCell;

budgets::program!(run);

static FRAMES: ConstStaticCell<Frames> = ConstStaticCell::new(Frames::new());

/// A token that does not exist.
enum Never {}

impl RxToken for Never {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, _: F) -> R {
        match self {}
    }
}

impl TxToken for Never {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: usize, _: F) -> R {
        match self {}
    }
}

/// The device for the tracker's own calls, which put the guard around it: it carries no
/// frames, so the compiler removes the guard from them. Frames cross the MAC only in the
/// steps below.
struct Nothing(DeviceCapabilities);

impl Device for Nothing {
    type RxToken<'t> = Never;
    type TxToken<'t> = Never;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Never, Never)> {
        None
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Never> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.0.clone()
    }
}

/// The steps of a poll, with the guard or without.
fn poll(
    tracker: &mut Tracker<1>,
    interface: &mut Interface,
    sockets: &mut SocketSet<'_>,
    mac: &mut Mac,
    now: u32,
) {
    let at = smoltcp::time::Instant::from_millis(now);
    let now = Instant::from_millis(u64::from(now));
    interface.poll_maintenance(at);
    loop {
        #[cfg(feature = "guard")]
        let result = interface.poll_ingress_single(at, &mut tracker.watch(mac), sockets);
        #[cfg(not(feature = "guard"))]
        let result = interface.poll_ingress_single(at, mac, sockets);
        if result == PollIngressSingleResult::None {
            break;
        }
        tracker.after_step(Step::Ingress, sockets, now);
    }
    loop {
        #[cfg(feature = "guard")]
        let result = interface.poll_egress(at, &mut tracker.watch(mac), sockets);
        #[cfg(not(feature = "guard"))]
        let result = interface.poll_egress(at, mac, sockets);
        if result == PollResult::None {
            break;
        }
    }
    tracker.after_step(Step::Egress, sockets, now);
}

fn run(_: &CallStack) -> ! {
    let mut mac = Mac::new(FRAMES.take());
    let mut nothing = Nothing(mac.capabilities());
    let config = smoltcp::iface::Config::new(OUR_MAC.into());
    let mut interface = Interface::new(config, &mut mac, smoltcp::time::Instant::ZERO);
    interface.update_ip_addrs(|all| {
        all.push(IpCidr::new(OUR_ADDRESS.into(), 24)).unwrap_or(());
    });
    let (mut rx, mut tx) = ([0; 512], [0; 2048]);
    let socket = tcp::Socket::new(
        tcp::SocketBuffer::new(&mut rx[..]),
        tcp::SocketBuffer::new(&mut tx[..]),
    );
    let mut storage = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let handle = sockets.add(socket);
    let config = Config::new(OUR_MAC.into(), black_box(1));
    let Ok(mut tracker) = Tracker::new(&config, &mac, [handle]) else {
        board::fail();
    };
    // The compiler must not know what the guard has left in it.
    let tracker = black_box(&mut tracker);
    let mut id = None;
    for now in 0..u32::MAX {
        let mut net = Net {
            interface: &mut interface,
            sockets: &mut sockets,
            device: &mut nothing,
            now: Instant::from_millis(u64::from(now)),
        };
        match id {
            None => {
                let remote = (PEER_ADDRESS, 5000).into();
                id = tracker.connect(&mut net, remote, Options::default()).ok();
            }
            Some(open) => {
                black_box(tracker.try_write(&mut net, open, b"beat\n").is_ok());
            }
        }
        poll(tracker, &mut interface, &mut sockets, &mut mac, now);
    }
    board::exit()
}
