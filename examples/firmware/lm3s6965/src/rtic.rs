//! A heartbeat as tasks of RTIC 2, on an LM3S6965, over `lastbyte::asynch`.
//!
//! The board's files are those of the blocking firmware (`main.rs`), without its clock: time is
//! RTIC's monotonic. The tasks run at two priorities, so the network is in a critical section
//! ([`CriticalSection`]).
//!
//! ```text
//! nc -l 5000 &
//! cargo run --release --features rtic --bin heartbeat-rtic
//! ```
#![no_std]
#![no_main]

mod chip;
mod ethernet;
mod fault;
#[expect(
    dead_code,
    reason = "what only the clock of the blocking firmware uses"
)]
mod registers;

use core::cell::RefCell;
use core::future::{Future as _, poll_fn};
use core::pin::pin;
use core::task::{Poll, Waker};
use critical_section::Mutex;
use lastbyte::Instant;
use lastbyte::asynch::{Alarm, CriticalSection, RticTime, Shared};
use rtic_monotonics::systick::prelude::*;

systick_monotonic!(Mono, 1_000);

/// The network, as all tasks name it.
type Net = Shared<'static, ethernet::Ethernet, RticTime<Mono>, 1, CriticalSection>;

defmt::timestamp!("{=u64:ms}", Mono::now().as_ticks());

/// Ends the sleep of the network's runner at a time, or by the interrupt of the MAC.
struct EthernetAlarm;

/// The task that the interrupt wakes.
static RUNNER: Mutex<RefCell<Option<Waker>>> = Mutex::new(RefCell::new(None));

impl Alarm for EthernetAlarm {
    async fn wait(&mut self, until: Option<Instant>) {
        let mut time = RticTime::<Mono>::new();
        let mut time = pin!(time.wait(until));
        poll_fn(|cx| {
            let is_due = critical_section::with(|cs| {
                RUNNER.replace(cs, Some(cx.waker().clone()));
                ethernet::arm_interrupt().is_due()
            });
            if is_due {
                return Poll::Ready(());
            }
            time.as_mut().poll(cx)
        })
        .await;
    }
}

/// What the interrupt of the MAC does.
fn wake_runner() {
    let runner = critical_section::with(|cs| {
        ethernet::disarm_interrupt();
        RUNNER.take(cs)
    });
    if let Some(runner) = runner {
        runner.wake();
    }
}

#[rtic::app(device = lm3s6965, dispatchers = [SSI0, QEI0])]
mod app {
    use super::{EthernetAlarm, Mono, Net, wake_runner};
    use crate::chip;
    use crate::ethernet::{Ethernet, Frames};
    use core::mem::MaybeUninit;
    use core::net::Ipv4Addr;
    use lastbyte::asynch::{RticTime, Shared as Network};
    use lastbyte::stack::smoltcp::iface::SocketStorage;
    use lastbyte::stack::smoltcp::wire::{IpAddress, IpCidr};
    use lastbyte::stack::{Buffers, Config};
    use lastbyte::{Error, Options};
    use rtic_monotonics::systick::prelude::*;

    /// QEMU's network: the host is 10.0.2.2.
    const OURS: IpCidr = IpCidr::new(IpAddress::v4(10, 0, 2, 15), 24);
    const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 2, 2), 5000);
    const TX: usize = 1460;
    const RX: usize = 536;

    #[shared]
    struct Shared {}

    #[local]
    struct Local {}

    #[init(local = [
        buffers: Buffers<1, TX, RX> = Buffers::new(),
        frames: Frames = Frames::new(),
        sockets: [SocketStorage<'static>; 1] = [SocketStorage::EMPTY],
        net: MaybeUninit<Net> = MaybeUninit::uninit(),
    ])]
    fn init(cx: init::Context) -> (Shared, Local) {
        crate::fault::guard_stack();
        chip::start();
        Mono::start(cx.core.SYST, chip::CLOCK_HZ);
        let hardware_addr = chip::hardware_addr();
        let device = Ethernet::start(hardware_addr, cx.local.frames);
        let config = Config::new(hardware_addr.into(), lastbyte_firmware_semihost::seed());
        let buffers = cx.local.buffers.split();
        let net = Network::new(device, RticTime::new(), config, buffers, cx.local.sockets);
        match net {
            Ok(net) => {
                let net: &'static Net = cx.local.net.write(net);
                let spawned = serve::spawn(net).and_then(|()| beat::spawn(net));
                assert!(spawned.is_ok(), "each is spawned once");
            }
            Err(error) => defmt::error!("the network does not fit: {}", error),
        }
        (Shared {}, Local {})
    }

    /// Serves the device and the timers.
    #[task(priority = 1)]
    async fn serve(_: serve::Context, net: &'static Net) {
        net.run(EthernetAlarm).await;
    }

    #[task(binds = ETHERNET, priority = 3)]
    fn ethernet(_: ethernet::Context) {
        wake_runner();
    }

    /// Beats until the peer has closed, and connects again.
    #[task(priority = 2)]
    async fn beat(_: beat::Context, net: &'static Net) {
        let added = net.with_network(|network| {
            network.interface.update_ip_addrs(|own| {
                let _ = own.push(OURS);
            });
        });
        assert!(added.is_ok(), "no other task is lent the network");
        loop {
            if let Err(error) = heartbeat(net).await {
                defmt::warn!("{}", error);
            }
            Mono::delay(5.secs()).await;
        }
    }

    /// The beat is the probe: the first one after the peer has closed is refused.
    async fn heartbeat(net: &'static Net) -> Result<(), Error> {
        let mut connection = net.connect(SERVER, Options::default()).await?;
        loop {
            connection.write_message(b"beat\n").await?;
            defmt::info!("beat");
            Mono::delay(1.secs()).await;
        }
    }
}
