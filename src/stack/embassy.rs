//! Any embassy driver as the device of a [`Stack`](super::Stack).
//!
//! Most network hardware that embedded Rust can use has a driver for
//! embassy-net: the MACs of STM32, ESP, RP and others, the W5500 and ENC28J60,
//! the CYW43 radio. All of them implement [`Driver`], and [`EmbassyDevice`] turns each
//! into the `smoltcp::phy::Device` that a blocking program needs. No executor runs.
//!
//! The feature is named after the trait's crate and its version, as in heapless
//! (`embedded-io-v0.7`), because a driver for another version does not fit. A later
//! version gets a feature of its own next to this one. The crate is re-exported as
//! [`embassy_net_driver`].
//!
//! # What a board supplies
//!
//! 1. *The driver*, and its runner if it has one.
//! 2. *A waker* and *a clock* that belong together. An embassy driver wakes its
//!    [`Waker`] when it has a frame, room for one, or another link state.
//!    The [`Clock`] must return from [`wait`](Clock::wait) if the waker was woken since
//!    the previous wait, even if that happened before the present one began. Then no
//!    frame waits for a timer.
//!
//! ```
//! use embassy_net_driver_channel as channel;
//! use embedded_io::Write;
//! use lastbyte::stack::embassy::EmbassyDevice;
//! use lastbyte::stack::smoltcp::iface::SocketStorage;
//! use lastbyte::stack::smoltcp::wire::{IpAddress, IpCidr};
//! use lastbyte::stack::{Buffers, Config, Stack};
//! use lastbyte::{Clock, Instant, Options};
//! use std::pin::pin;
//! use std::sync::{Arc, atomic::{AtomicBool, Ordering::Relaxed}};
//! use std::task::{Wake, Waker};
//! use std::thread::{self, Thread};
//!
//! /// Wakes the program: the flag stays set until the clock has read it.
//! struct Wakeup(AtomicBool, Thread);
//!
//! impl Wake for Wakeup {
//!     fn wake(self: Arc<Self>) {
//!         self.0.store(true, Relaxed);
//!         self.1.unpark();
//!     }
//! }
//!
//! struct HostClock(std::time::Instant, Arc<Wakeup>);
//!
//! impl Clock for HostClock {
//!     fn now(&mut self) -> Instant {
//!         Instant::ZERO + self.0.elapsed()
//!     }
//!
//!     fn wait(&mut self, until: Option<Instant>) {
//!         let Self(_, wakeup) = self;
//!         if !wakeup.0.swap(false, Relaxed) {
//!             // Returns at once if `unpark` came before it.
//!             match until {
//!                 Some(until) => thread::park_timeout(until.since(self.now())),
//!                 None => thread::park(),
//!             }
//!         }
//!     }
//! }
//!
//! let wakeup = Arc::new(Wakeup(AtomicBool::new(false), thread::current()));
//! let clock = HostClock(std::time::Instant::now(), Arc::clone(&wakeup));
//!
//! // In place of a chip: a channel whose other end does not answer.
//! let mut state = channel::State::<1514, 4, 4>::new();
//! let mac = channel::driver::HardwareAddress::Ethernet([2, 0, 0, 0, 0, 1]);
//! let (mut chip, driver) = channel::new(&mut state, mac);
//! let runner = pin!(async move {
//!     chip.set_link_state(channel::driver::LinkState::Up);
//!     loop {
//!         let _to_the_wire = chip.tx_buf().await;
//!         chip.tx_done();
//!     }
//! });
//!
//! let device = EmbassyDevice::new(driver, Waker::from(wakeup))?.with_runner(runner);
//! let config = Config::new(device.hardware_address(), 42);
//! let mut buffers = Buffers::<1, 2048, 512>::new();
//! let mut sockets = [SocketStorage::EMPTY; 1];
//! let mut stack = Stack::new(device, clock, config, buffers.split(), &mut sockets)?;
//! stack.follow_link(EmbassyDevice::is_link_up);
//! stack.interface_mut().update_ip_addrs(|own| {
//!     let _ = own.push(IpCidr::new(IpAddress::v4(10, 0, 0, 2), 24));
//! });
//!
//! let limit = std::time::Duration::from_millis(50);
//! let options = Options::builder().connect_timeout(limit).build()?;
//! let id = stack.connect((IpAddress::v4(10, 0, 0, 1), 5000), options)?;
//! let error = stack.writer(id)?.write_all(b"anybody?").unwrap_err();
//! assert_eq!(error.cause(), Some(lastbyte::Cause::Unreachable));
//! assert!(!stack.report(id)?.link_was_down);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Wakers and clocks for firmware
//!
//! A flag works on every machine. The waker sets it; the clock masks interrupts, reads
//! the flag, sleeps (WFI) if it is not set, clears it and unmasks. A pending interrupt
//! ends WFI even if it is masked (on RISC-V: as long as it is enabled in `mie`), so an
//! interrupt between the read and the sleep is not lost.
//!
//! ```
//! use core::sync::atomic::{AtomicBool, Ordering};
//! use core::task::{RawWaker, RawWakerVTable, Waker};
//!
//! static WOKEN: AtomicBool = AtomicBool::new(false);
//!
//! // A `static`, so that all clones of the waker hold the same address:
//! // embassy compares it to find out whether two wakers wake the same task.
//! static VTABLE: RawWakerVTable = RawWakerVTable::new(|_| RAW, |_| set(), |_| set(), |_| ());
//! const RAW: RawWaker = RawWaker::new(core::ptr::null(), &VTABLE);
//!
//! fn set() {
//!     WOKEN.store(true, Ordering::Release);
//! }
//!
//! // SAFETY: the functions in the table use no pointer.
//! let waker = unsafe { Waker::from_raw(RAW) };
//!
//! waker.wake_by_ref();
//! // In the clock: sleep only if this was not set.
//! assert!(WOKEN.swap(false, Ordering::Acquire));
//! assert!(waker.clone().will_wake(&waker));
//! ```
//!
//! [`Waker::noop`] is enough for a driver without a runner on a Cortex-M whose clock
//! sleeps with WFE: the return from an interrupt handler sets the event register
//! (ARMv7-M, B1.5.18), so a WFE that comes too late does not sleep. It is also enough
//! where a tick ends each sleep; a frame then waits for one tick at most.
//!
//! A driver without an interrupt (the ENC28J60's) wakes its waker each time that it is
//! polled. With a flag the program would spin: use [`Waker::noop`] and a tick, whose
//! period is then the polling interval of the chip.
//!
//! # Runners
//!
//! Many drivers have two halves: a channel that implements [`Driver`], and a future, the
//! runner, that moves frames between the channel and the chip (W5500, CYW43, everything
//! made with `embassy-net-driver-channel`). Give the future to
//! [`with_runner`](EmbassyDevice::with_runner). It is polled before the channel is polled
//! for a frame or the link, and after each frame that is put into the channel. So a write
//! sees what has arrived at the chip, and sent frames leave at once. What the runner waits
//! for (a DMA transfer) goes on while the clock sleeps. With a runner, the waker must be a
//! real one: the channel wakes the future as well, not only interrupts.
//!
//! To await something else while the runner runs, such as joining a wireless network, use
//! [`run_until`](EmbassyDevice::run_until).
//!
//! A runner that measures time does so with embassy-time, whose default timers accept
//! only wakers of embassy's executor, and panic otherwise. Enable one of its
//! `generic-queue-*` features.
//!
//! # Link
//!
//! Call [`Stack::follow_link`](super::Stack::follow_link) with
//! [`EmbassyDevice::is_link_up`], once, and reports contain whether the link was down,
//! also during a blocking call. Some drivers detect the link only some time after their
//! start (the W5500's checks each 500 ms). Wait for it before you connect; otherwise the
//! report of the first connection contains that the link was down. With a
//! [`Tracker`](super::Tracker), set the link in each round of your loop:
//! `tracker.set_link(device.is_link_up())`. When it comes up, also call
//! [`forget_neighbours`](super::Tracker::forget_neighbours).

pub use embassy_net_driver;

use crate::core::fmt::log_event;
use crate::{Clock, Instant};
use core::convert::Infallible;
use core::fmt;
use core::future::{Future, Pending};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use embassy_net_driver::{Checksum, Driver, LinkState};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::wire::HardwareAddress;

/// The runner of a driver that has none.
pub type NoRunner = Pending<Infallible>;

/// An embassy driver, and its runner if it has one, as a smoltcp device.
///
/// See the [module](self) for how to use it.
pub struct EmbassyDevice<D, R = NoRunner> {
    driver: D,
    /// `None` once the runner has ended: a future that has ended must not be polled again.
    runner: Option<R>,
    waker: Waker,
    hardware_addr: HardwareAddress,
}

impl<D: Driver> EmbassyDevice<D> {
    /// A device that wakes `waker` when it has a frame, room for one, or another
    /// link state.
    ///
    /// # Errors
    ///
    /// [`MediumError`], if the frames of the driver are of an unsupported kind.
    pub fn new(driver: D, waker: Waker) -> Result<Self, MediumError> {
        let hardware_addr = translate_address(driver.hardware_address())?;
        Ok(Self {
            driver,
            runner: None,
            waker,
            hardware_addr,
        })
    }

    /// Adds the future that has to run in the background for the driver, such as
    /// `pin!(runner.run())`.
    #[must_use]
    pub fn with_runner<R: Future + Unpin>(self, runner: R) -> EmbassyDevice<D, R> {
        EmbassyDevice {
            driver: self.driver,
            runner: Some(runner),
            waker: self.waker,
            hardware_addr: self.hardware_addr,
        }
    }
}

impl<D: Driver, R: Future + Unpin> EmbassyDevice<D, R> {
    /// The hardware address that the driver reports, for
    /// [`Config::new`](super::Config::new). Some drivers know it only after the chip was
    /// started.
    #[must_use]
    pub fn hardware_address(&self) -> HardwareAddress {
        // The kind was supported at the start, and it does not change.
        translate_address(self.driver.hardware_address()).unwrap_or(self.hardware_addr)
    }

    /// Whether the driver has a link. For
    /// [`Stack::follow_link`](super::Stack::follow_link).
    pub fn is_link_up(&mut self) -> bool {
        run(&mut self.runner, &self.waker);
        let mut cx = Context::from_waker(&self.waker);
        match self.driver.link_state(&mut cx) {
            LinkState::Up => true,
            LinkState::Down => false,
        }
    }

    /// Sets the waker, in place of that of [`new`](Self::new): for
    /// [`Shared::wake_by`](crate::asynch::Shared::wake_by).
    #[cfg(feature = "async")]
    pub fn set_waker(&mut self, waker: &Waker) {
        self.waker.clone_from(waker);
    }

    /// The driver.
    pub const fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Runs `task` to its end or until `until`, together with the runner, and sleeps in
    /// between. Returns `None`, and drops the task, if `until` came first.
    ///
    /// For what the control half of a driver has to await before there is a network.
    ///
    /// ```no_run
    /// # use core::{future::Future, pin::pin, task::Waker, time::Duration};
    /// # use lastbyte::stack::embassy::{EmbassyDevice, embassy_net_driver::Driver};
    /// # async fn join(_: &str, _: &str) {}
    /// fn bring_up(
    ///     driver: impl Driver,
    ///     runner: impl Future,
    ///     waker: Waker,
    ///     clock: &mut impl lastbyte::Clock,
    /// ) -> Result<(), Box<dyn core::error::Error>> {
    ///     let runner = pin!(runner);
    ///     let mut device = EmbassyDevice::new(driver, waker)?.with_runner(runner);
    ///     let until = clock.now() + Duration::from_secs(20);
    ///     match device.run_until(clock, until, join("network", "password")) {
    ///         Some(()) => Ok(()),
    ///         None => Err("no such network".into()),
    ///     }
    /// }
    /// ```
    pub fn run_until<F: Future>(
        &mut self,
        clock: &mut impl Clock,
        until: Instant,
        task: F,
    ) -> Option<F::Output> {
        let mut task = pin!(task);
        loop {
            run(&mut self.runner, &self.waker);
            let mut cx = Context::from_waker(&self.waker);
            if let Poll::Ready(output) = task.as_mut().poll(&mut cx) {
                return Some(output);
            }
            // Requests of the task to the runner are begun before the sleep.
            run(&mut self.runner, &self.waker);
            if clock.now() >= until {
                return None;
            }
            clock.wait(Some(until).filter(|&at| at != Instant::NEVER));
        }
    }
}

/// Lets the runner do all that it can do without waiting.
fn run<R: Future + Unpin>(runner: &mut Option<R>, waker: &Waker) {
    let Some(future) = runner else {
        return;
    };
    let mut cx = Context::from_waker(waker);
    if Pin::new(future).poll(&mut cx).is_ready() {
        log_event!(warn, "the driver's runner has ended");
        *runner = None;
    }
}

impl<D: Driver, R: Future + Unpin> Device for EmbassyDevice<D, R> {
    type RxToken<'t>
        = RxToken<D::RxToken<'t>>
    where
        Self: 't;
    type TxToken<'t>
        = TxToken<'t, D::TxToken<'t>, R>
    where
        Self: 't;

    fn receive(
        &mut self,
        _timestamp: smoltcp::time::Instant,
    ) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        run(&mut self.runner, &self.waker);
        let mut cx = Context::from_waker(&self.waker);
        let (rx, tx) = self.driver.receive(&mut cx)?;
        let tx = TxToken {
            inner: tx,
            runner: &mut self.runner,
            waker: &self.waker,
        };
        Some((RxToken { inner: rx }, tx))
    }

    fn transmit(&mut self, _timestamp: smoltcp::time::Instant) -> Option<Self::TxToken<'_>> {
        let mut cx = Context::from_waker(&self.waker);
        Some(TxToken {
            inner: self.driver.transmit(&mut cx)?,
            runner: &mut self.runner,
            waker: &self.waker,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let driver = self.driver.capabilities();
        let medium = match self.hardware_addr {
            #[cfg(feature = "medium-ethernet")]
            HardwareAddress::Ethernet(_) => Medium::Ethernet,
            #[cfg(feature = "medium-ip")]
            HardwareAddress::Ip => Medium::Ip,
            #[allow(unreachable_patterns, reason = "other crates may enable more media")]
            _ => Medium::default(),
        };
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = medium;
        // Both crates count the Ethernet header.
        capabilities.max_transmission_unit = driver.max_transmission_unit;
        capabilities.max_burst_size = driver.max_burst_size;
        capabilities.checksum.ipv4 = translate_checksum(driver.checksum.ipv4);
        capabilities.checksum.udp = translate_checksum(driver.checksum.udp);
        capabilities.checksum.tcp = translate_checksum(driver.checksum.tcp);
        #[cfg(feature = "proto-ipv4")]
        {
            capabilities.checksum.icmpv4 = translate_checksum(driver.checksum.icmpv4);
        }
        #[cfg(feature = "proto-ipv6")]
        {
            capabilities.checksum.icmpv6 = translate_checksum(driver.checksum.icmpv6);
        }
        capabilities
    }
}

impl<D, R> fmt::Debug for EmbassyDevice<D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyDevice")
            .field("hardware_addr", &self.hardware_addr)
            .field("has_runner", &self.runner.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "defmt")]
impl<D, R> defmt::Format for EmbassyDevice<D, R> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "EmbassyDevice({})", self.hardware_addr);
    }
}

/// A received frame.
#[derive(Debug)]
pub struct RxToken<T> {
    inner: T,
}

impl<T: embassy_net_driver::RxToken> phy::RxToken for RxToken<T> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        self.inner.consume(|frame| f(frame))
    }
}

/// Room for a frame to send.
pub struct TxToken<'t, T, R> {
    inner: T,
    runner: &'t mut Option<R>,
    waker: &'t Waker,
}

impl<T: embassy_net_driver::TxToken, R: Future + Unpin> phy::TxToken for TxToken<'_, T, R> {
    fn consume<Q, F: FnOnce(&mut [u8]) -> Q>(self, len: usize, f: F) -> Q {
        let result = self.inner.consume(len, f);
        // The program may be busy elsewhere for a long time before it waits.
        run(self.runner, self.waker);
        result
    }
}

impl<T, R> fmt::Debug for TxToken<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxToken").finish_non_exhaustive()
    }
}

#[cfg(feature = "defmt")]
impl<T> defmt::Format for RxToken<T> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "RxToken");
    }
}

#[cfg(feature = "defmt")]
impl<T, R> defmt::Format for TxToken<'_, T, R> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "TxToken");
    }
}

/// Why a driver cannot be used: the kind of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MediumError {
    /// The driver carries Ethernet frames, and the feature `medium-ethernet` of
    /// this crate is off.
    EthernetIsOff,
    /// The driver carries IP packets, and the feature `medium-ip` of this crate
    /// is off.
    IpIsOff,
    /// The driver carries IEEE 802.15.4 frames, which this crate does not
    /// support.
    Ieee802154,
    /// The driver carries frames of a kind that this crate does not know.
    Unknown,
}

impl fmt::Display for MediumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EthernetIsOff => {
                "the driver carries Ethernet frames: turn on the feature `medium-ethernet`"
            }
            Self::IpIsOff => "the driver carries IP packets: turn on the feature `medium-ip`",
            Self::Ieee802154 => {
                "the driver carries IEEE 802.15.4 frames: use one for Ethernet or IP"
            }
            Self::Unknown => {
                "the driver carries frames of an unknown kind: use one for Ethernet or IP"
            }
        })
    }
}

impl core::error::Error for MediumError {}

fn translate_address(
    address: embassy_net_driver::HardwareAddress,
) -> Result<HardwareAddress, MediumError> {
    match address {
        #[cfg(feature = "medium-ethernet")]
        embassy_net_driver::HardwareAddress::Ethernet(octets) => Ok(HardwareAddress::Ethernet(
            smoltcp::wire::EthernetAddress(octets),
        )),
        #[cfg(not(feature = "medium-ethernet"))]
        embassy_net_driver::HardwareAddress::Ethernet(_) => Err(MediumError::EthernetIsOff),
        #[cfg(feature = "medium-ip")]
        embassy_net_driver::HardwareAddress::Ip => Ok(HardwareAddress::Ip),
        #[cfg(not(feature = "medium-ip"))]
        embassy_net_driver::HardwareAddress::Ip => Err(MediumError::IpIsOff),
        embassy_net_driver::HardwareAddress::Ieee802154(_) => Err(MediumError::Ieee802154),
        _ => Err(MediumError::Unknown),
    }
}

/// The names mean the same in both crates.
const fn translate_checksum(checksum: Checksum) -> phy::Checksum {
    match checksum {
        Checksum::Both => phy::Checksum::Both,
        Checksum::Rx => phy::Checksum::Rx,
        Checksum::Tx => phy::Checksum::Tx,
        Checksum::None => phy::Checksum::None,
    }
}
