//! The stack over an embassy driver: `embassy-net-tuntap`, which signals its frames by a
//! waker from another thread. Nothing else ends a sleep early.

use crate::Case;
use crate::effort::Effort;
use crate::fixture::{PATIENCE, PORT, content, quick, server, sha256};
use crate::peer::Peer;
use embassy_net_tuntap::TunTapDevice;
use embedded_io::Write as _;
use lastbyte::stack::embassy::EmbassyDevice;
use lastbyte::stack::{ConnectionId, Stack};
use lastbyte::{Cause, Clock, How, Instant, Options, WriteError};
use lastbyte_host::namespace::{KERNEL_V4, Namespace, OUR_V4, PREFIX_V4, TAP_NAME};
use lastbyte_sim::setup::Setup;
use smoltcp::wire::IpCidr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant as HostInstant};

pub const CASES: &[Case] = &[
    (
        "embassy_driver_carries_every_byte",
        embassy_driver_carries_every_byte,
    ),
    (
        "embassy_driver_lets_the_first_write_after_the_fin_be_refused",
        embassy_driver_lets_the_first_write_after_the_fin_be_refused,
    ),
    (
        "embassy_driver_lets_a_reset_be_reported",
        embassy_driver_lets_a_reset_be_reported,
    ),
    (
        "embassy_driver_wakes_a_blocked_write",
        embassy_driver_wakes_a_blocked_write,
    ),
    (
        "embassy_driver_sleeps_while_nothing_happens",
        embassy_driver_sleeps_while_nothing_happens,
    ),
];

struct Unpark {
    is_woken: AtomicBool,
    thread: Thread,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// How many sleeps the driver ended, and how many the timeout.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    woken: u32,
    timed_out: u32,
}

struct ParkingClock {
    epoch: HostInstant,
    unpark: Arc<Unpark>,
    ends: Ends,
}

impl Clock for ParkingClock {
    fn now(&mut self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    fn wait(&mut self, until: Option<Instant>) {
        let until = until.unwrap_or(Instant::NEVER);
        loop {
            if self.unpark.is_woken.swap(false, Ordering::Acquire) {
                self.ends.woken += 1;
                return;
            }
            let left = until.since(self.now());
            if left.is_zero() {
                self.ends.timed_out += 1;
                return;
            }
            thread::park_timeout(left);
        }
    }
}

type TunTapStack<'a> = Stack<'a, EmbassyDevice<TunTapDevice>, ParkingClock, 1>;

/// Runs `test` with a stack over a driver that makes its own TAP, in a namespace
/// of its own.
#[track_caller]
fn lab(tx_buffer: usize, test: impl FnOnce(&Namespace, &mut TunTapStack<'_>) + Send) {
    let done = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let namespace = Namespace::enter_empty().expect("it worked a moment ago");
            let driver = TunTapDevice::new(TAP_NAME).expect("a TAP");
            namespace.adopt(TAP_NAME).expect("the TAP is there");
            let unpark = Arc::new(Unpark {
                is_woken: AtomicBool::new(false),
                thread: thread::current(),
            });
            let waker = Waker::from(Arc::clone(&unpark));
            let device = EmbassyDevice::new(driver, waker).expect("Ethernet is on");
            let clock = ParkingClock {
                epoch: HostInstant::now(),
                unpark,
                ends: Ends::default(),
            };
            let own = IpCidr::new(OUR_V4.into(), PREFIX_V4);
            let mut setup = Setup::new(device.hardware_address(), &[own], Setup::random_seed());
            setup.tx_buffer = tx_buffer;
            setup
                .run(device, clock, |stack| {
                    stack.follow_link(EmbassyDevice::is_link_up);
                    test(&namespace, stack);
                })
                .expect("the setup is sound");
        });
        thread.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[track_caller]
fn connect(
    namespace: &Namespace,
    stack: &mut TunTapStack<'_>,
    peer: &mut Peer,
    options: Options,
) -> ConnectionId {
    let wanted = SocketAddr::new(KERNEL_V4.into(), PORT);
    namespace
        .wait_listening(wanted, Some(&mut peer.child), PATIENCE)
        .expect("the peer listens");
    let id = stack.connect(server(), options).expect("a free slot");
    stack.wait_open(id).expect("the peer accepts");
    id
}

fn embassy_driver_carries_every_byte() {
    lab(8192, |namespace, stack| {
        let mut peer = Peer::serving("drain(); report()");
        let id = connect(namespace, stack, &mut peer, quick().build().unwrap());
        let data = content(2_000_000);
        let mut writer = stack.writer(id).unwrap();
        writer.write_all(&data).unwrap();
        let report = writer.finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        assert!(!report.link_was_down);
        let received = peer.received();
        assert_eq!(received.bytes, 2_000_000);
        assert_eq!(received.sha256, sha256(&data));
        assert_eq!(report.ledger.acknowledged(), received.bytes);
        // If the wakes of the driver were lost, only timers would end the sleeps.
        let ends = stack.clock_mut().ends;
        println!("2 MB through a buffer of 8 KiB: {ends:?}");
        assert!(ends.woken > ends.timed_out, "{ends:?}");
    });
}

fn embassy_driver_lets_the_first_write_after_the_fin_be_refused() {
    lab(65_536, |namespace, stack| {
        let mut peer = Peer::serving("take(5); c.close(); report()");
        let id = connect(namespace, stack, &mut peer, quick().build().unwrap());
        stack.writer(id).unwrap().write_all(b"hello").unwrap();
        assert_eq!(peer.received().bytes, 5);
        // The kernel sent the FIN before the peer reported, and the stack was not polled since.
        let error = stack.writer(id).unwrap().write_all(b"lost?").unwrap_err();
        let ledger = error.ledger();
        let how = How::Fin;
        assert_eq!(error, WriteError::PeerClosed { how, ledger });
        assert_eq!((ledger.accepted(), ledger.acknowledged()), (5, 5));
    });
}

fn embassy_driver_lets_a_reset_be_reported() {
    lab(65_536, |namespace, stack| {
        // To close with unread data sends a RST.
        let mut peer = Peer::serving(
            "while len(c.recv(99, socket.MSG_PEEK)) < 5: pass\ntake(1); c.close(); report()",
        );
        let id = connect(namespace, stack, &mut peer, quick().build().unwrap());
        stack.writer(id).unwrap().write_all(b"hello").unwrap();
        peer.received();
        let error = stack.writer(id).unwrap().write_all(b"lost?").unwrap_err();
        assert_eq!(error.cause(), Some(Cause::PeerReset));
        // What the peer's TCP received is counted, not what its program read.
        assert_eq!(error.ledger().accepted(), 5);
        assert_eq!(error.ledger().acknowledged(), 5);
    });
}

fn embassy_driver_wakes_a_blocked_write() {
    lab(8192, |namespace, stack| {
        let mut peer = Peer::serving("hang()");
        let options = quick().call_timeout(Duration::from_secs(4)).build();
        let id = connect(namespace, stack, &mut peer, options.unwrap());
        let data = content(8_000_000);
        // Fill every buffer first.
        stack.writer(id).unwrap().write_all(&data).unwrap_err();
        let (before, ends_before) = (Effort::now(), stack.clock_mut().ends);
        let error = stack.writer(id).unwrap().write_all(&data).unwrap_err();
        let taken = before.assert_at_rest_since(Duration::from_secs(4));
        let ends = stack.clock_mut().ends;
        assert_eq!(error.cause(), None);
        let woken = ends.woken - ends_before.woken;
        let timed_out = ends.timed_out - ends_before.timed_out;
        println!("blocked for 4 s: {taken}, {woken} woken, {timed_out} timed out");
        // Probes by timers, their answers by the driver: a few of each.
        assert!((1..50).contains(&woken), "{woken} woken");
        assert!((1..50).contains(&timed_out), "{timed_out} timed out");
    });
}

fn embassy_driver_sleeps_while_nothing_happens() {
    lab(8192, |namespace, stack| {
        let mut peer = Peer::serving("drain(); report()");
        let id = connect(namespace, stack, &mut peer, quick().build().unwrap());
        stack.writer(id).unwrap().write_all(b"hello").unwrap();
        stack.writer(id).unwrap().flush().unwrap();
        let (before, ends_before) = (Effort::now(), stack.clock_mut().ends);
        stack.run_for(Duration::from_secs(3));
        let taken = before.assert_at_rest_since(Duration::from_secs(3));
        let ends = stack.clock_mut().ends;
        let sleeps = ends.woken + ends.timed_out - ends_before.woken - ends_before.timed_out;
        println!("idle for 3 s: {taken}");
        // The kernel may request our hardware address, or announce its own.
        assert!(sleeps < 30, "{sleeps} sleeps");
        let writer = stack.writer(id).unwrap();
        writer.finish().unwrap();
        assert_eq!(peer.received().bytes, 5);
    });
}
