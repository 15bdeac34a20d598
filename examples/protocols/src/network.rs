//! The device is a TAP, the clock is tokio's, and the executor polls two tasks: the runner of
//! the network, and what uses it.

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lastbyte::Instant;
use lastbyte::asynch::{Alarm, Now, Shared};
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::smoltcp::wire::{EthernetAddress, IpCidr};
use lastbyte::stack::{Buffers, Config};
use lastbyte_host::namespace::OUR_HARDWARE_ADDR;
use lastbyte_host::tap::Tap;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::{AsFd as _, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Connections at once: two that a server serves, one that waits for a caller, and one that
/// has just ended.
pub const CONNECTIONS: usize = 4;

/// The size of each transmit and receive buffer in bytes.
const BUFFER_LEN: usize = 8 * 1024;

/// The network. A program on a board writes the same line, with its own device and clock.
pub type Net<'a> = Shared<'a, Tap, Time, CONNECTIONS>;

/// Time since this was made, by tokio's clock.
#[derive(Debug, Clone, Copy)]
pub struct Time(tokio::time::Instant);

impl Now for Time {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

/// Ends the runner's sleep at a time, or when the TAP has a frame.
struct TapAlarm {
    time: Time,
    tap: AsyncFd<OwnedFd>,
}

impl TapAlarm {
    fn new(tap: &Tap, time: Time) -> std::io::Result<Self> {
        let tap = tap.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is a duplicate that the value owns, and never changes.
        let tap = unsafe { AsyncFd::register_with_interest(tap, Interest::READABLE)? };
        Ok(Self { time, tap })
    }

    async fn wait_frame(&self) {
        if let Ok(mut ready) = self.tap.readable().await {
            // The runner takes what there is; the next frame makes it ready again.
            ready.clear_ready();
        }
    }
}

impl Alarm for TapAlarm {
    async fn wait(&mut self, until: Option<Instant>) {
        let until = until.and_then(|until| self.time.0.checked_add(until.into()));
        let Some(until) = until else {
            return self.wait_frame().await;
        };
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = self.wait_frame() => {}
        }
    }
}

/// Runs `task` on a network over `tap`, with this address, beside the runner of the network.
/// Each of the two is polled only after its own waker was woken.
///
/// # Errors
///
/// No descriptor is left.
///
/// # Panics
///
/// If `task` panics.
pub fn run<T>(
    tap: Tap,
    address: IpCidr,
    task: impl AsyncFnOnce(&Net<'_>) -> T,
) -> std::io::Result<T> {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let time = Time(tokio::time::Instant::now());
        let alarm = TapAlarm::new(&tap, time)?;
        let mut buffers = Box::new(Buffers::<CONNECTIONS, BUFFER_LEN, BUFFER_LEN>::new());
        let mut sockets = [SocketStorage::EMPTY; CONNECTIONS];
        // It must be unpredictable: a board has a random number generator for it.
        let seed = RandomState::new().hash_one(0);
        let config = Config::new(EthernetAddress(OUR_HARDWARE_ADDR).into(), seed);
        let net = Shared::new(tap, time, config, buffers.split(), &mut sockets);
        let net = net.expect("a TAP is an Ethernet device with an MTU that fits");
        net.with_network(|network| {
            network.interface.update_ip_addrs(|own| {
                own.push(address).expect("there is room for one");
            });
        })
        .expect("there is no other user of the network yet");
        Ok(run_both(&net, alarm, task).await)
    })
}

async fn run_both<T>(net: &Net<'_>, alarm: TapAlarm, task: impl AsyncFnOnce(&Net<'_>) -> T) -> T {
    let mut tasks: FuturesUnordered<LocalBoxFuture<'_, T>> = FuturesUnordered::new();
    tasks.push(Box::pin(async { match net.run(alarm).await {} }));
    tasks.push(Box::pin(task(net)));
    let ended = tasks.next().await;
    ended.expect("the runner does not end, so the task has")
}
