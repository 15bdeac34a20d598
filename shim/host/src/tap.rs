//! A Linux TAP device as a smoltcp [`Device`].
//!
//! A TAP is an Ethernet cable with the host's kernel at one end and a file
//! descriptor at the other. The device reads and writes one frame per system
//! call into two buffers it owns: nothing is allocated per frame, and nothing
//! ever blocks for longer than a millisecond.
//!
//! If the kernel permits it, a frame is up to 64 KiB long and without checksums
//! ([`Offload`]): the kernel does segmentation and checksums, if the frame ever reaches a
//! wire. The device verifies the checksum of a received frame that the kernel has not
//! verified, so that a damaged frame does not reach the stack.
//!
//! A fault on a TAP in use has one of two outcomes. A frame that could not be passed on
//! is dropped and counted, as on any cable, and TCP retransmits it. If the interface was
//! removed, the error is kept for [`Tap::take_error`], and from then on the device is
//! silent.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant as HostInstant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

mod error;
mod leftover;
mod offload;
mod port;
pub use error::TapError;
pub use leftover::{Leftover, repair_all};
use offload::Arrival;
pub use offload::Offload;
use port::Port;

/// The smallest MTU that every IPv4 link must carry (RFC 791, 3.2).
pub const MIN_MTU: usize = 68;

/// The device file of the kernel's TUN/TAP driver.
const TUN_PATH: &str = "/dev/net/tun";

/// The length of the Ethernet header, which the MTU does not include.
const ETHERNET_HEADER_LEN: usize = 14;

/// Room after the largest frame, to distinguish a longer frame from one that just fits:
/// the driver silently truncates a frame to the buffer.
const OVERSIZE_MARK_LEN: usize = 1;

/// The number of unusable frames that one `receive` skips before it returns.
const MAX_SKIPPED: usize = 64;

/// An open TAP device.
///
/// The kernel's side of the cable is configured with `ip` (or by
/// [`Namespace`](crate::namespace::Namespace)); the stack gives this side its hardware
/// and IP addresses. The two sides must differ.
pub struct Tap {
    port: Port,
    rx: Vec<u8>,
    tx: Vec<u8>,
    max_frame: usize,
    had_leftover: bool,
}

impl Tap {
    /// Attaches to the existing TAP interface `name`, and makes no lasting change to it.
    /// As much as possible is offloaded to the kernel: see [`offload`](Self::offload).
    /// Offload that a killed program left switched on is off after this.
    ///
    /// It needs no privileges if the interface was created for this user (`ip tuntap add
    /// ... user $USER`).
    ///
    /// # Errors
    ///
    /// [`TapError`] contains what is missing and how to get it. An interface that does
    /// not exist is never created.
    pub fn open(name: &str) -> Result<Self, TapError> {
        Self::open_with(name, Offload::Segmentation)
    }

    /// Like [`open`](Self::open), with at most this much offloaded to the kernel.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with(name: &str, most: Offload) -> Result<Self, TapError> {
        check_name(name)?;
        check_driver()?;
        let index = if_nametoindex(name).map_err(|_| TapError::NoSuchInterface {
            name: name.to_owned(),
        })?;
        let had_leftover = leftover::has_offload(name).unwrap_or(false);
        let mut tap = Self::build(|| builder(name), name, most)?;
        tap.had_leftover = had_leftover;
        // Attaching creates an interface that does not exist. If it was removed in
        // between, this one is new; dropping `tap` removes it again.
        if if_nametoindex(name) != Ok(index) {
            return Err(TapError::NoSuchInterface {
                name: name.to_owned(),
            });
        }
        Ok(tap)
    }

    /// Creates the TAP interface `name`, which lives as long as the value.
    ///
    /// `mtu` is in bytes and without the Ethernet header. The interface is
    /// down and has no address. Needs `CAP_NET_ADMIN` over the network
    /// namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`TapError::Busy`] if an interface of this name exists; else as for
    /// [`Tap::open`].
    pub fn create(name: &str, mtu: u16) -> Result<Self, TapError> {
        Self::create_with(name, mtu, Offload::Segmentation)
    }

    /// Like [`create`](Self::create), with at most this much offloaded to the kernel.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create).
    pub fn create_with(name: &str, mtu: u16, most: Offload) -> Result<Self, TapError> {
        check_name(name)?;
        check_driver()?;
        if if_nametoindex(name).is_ok() {
            return Err(TapError::Busy {
                name: name.to_owned(),
            });
        }
        if usize::from(mtu) < MIN_MTU {
            return Err(TapError::MtuTooSmall {
                name: name.to_owned(),
                mtu: mtu.into(),
            });
        }
        Self::build(|| builder(name).mtu(mtu), name, most)
    }

    fn build(
        builder: impl Fn() -> DeviceBuilder,
        name: &str,
        most: Offload,
    ) -> Result<Self, TapError> {
        if most > Offload::None {
            match attach_with(builder(), name, most) {
                Ok(device) => return Self::from_device(device, name, most),
                // The interface is refused with and without offload.
                Err(error @ (TapError::NotOwner { .. } | TapError::Busy { .. })) => {
                    return Err(error);
                }
                Err(error) => log::debug!("{name} without offload: {error}"),
            }
        }
        // This also switches off what another program may have left switched on.
        Self::from_device(attach(builder(), name)?, name, Offload::None)
    }

    fn from_device(device: SyncDevice, name: &str, offload: Offload) -> Result<Self, TapError> {
        // First of all, so that any later error undoes the offload.
        let port = Port::new(device, offload);
        let failed = |doing| {
            move |source| TapError::Io {
                doing,
                name: name.to_owned(),
                source,
            }
        };
        let mtu = port.device().mtu();
        let mtu = usize::from(mtu.map_err(failed("reading the MTU of"))?);
        if mtu < MIN_MTU {
            return Err(TapError::MtuTooSmall {
                name: name.to_owned(),
                mtu,
            });
        }
        port.device()
            .set_nonblocking(true)
            .map_err(failed("making non-blocking"))?;
        let max_frame = mtu + ETHERNET_HEADER_LEN;
        let longest = offload.longest_frame(max_frame);
        Ok(Self {
            port,
            rx: vec![0; offload.header_len() + longest + OVERSIZE_MARK_LEN],
            tx: vec![0; offload.header_len() + longest],
            max_frame,
            had_leftover: false,
        })
    }

    /// Whether a killed program had left offload switched on, which this attachment has
    /// repaired.
    #[must_use]
    pub const fn had_leftover(&self) -> bool {
        self.had_leftover
    }

    /// How much is offloaded to the kernel.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.port.offload()
    }

    /// The interface's index in its network namespace.
    ///
    /// # Errors
    ///
    /// The interface was removed.
    pub fn index(&self) -> io::Result<u32> {
        self.port.device().if_index()
    }

    /// The hardware address of the *kernel's* side of the cable.
    ///
    /// # Errors
    ///
    /// The interface was removed.
    pub fn kernel_hardware_addr(&self) -> io::Result<[u8; 6]> {
        self.port.device().mac_address()
    }

    /// Whether the kernel's side is up and has a carrier.
    ///
    /// This takes a few system calls: call it for a status line or once per second, not
    /// per frame.
    #[must_use]
    pub fn is_link_up(&self) -> bool {
        self.port.device().is_running().unwrap_or(false)
    }

    /// Waits until [`is_link_up`](Self::is_link_up), for `limit` at the most.
    ///
    /// After the attachment the kernel takes a moment to detect the carrier, and drops
    /// what is sent before. Returns whether the link is up.
    #[must_use]
    pub fn wait_carrier(&self, limit: Duration) -> bool {
        let start = HostInstant::now();
        loop {
            if self.is_link_up() {
                // The kernel reports it shortly before it is ready to send, but while it
                // holds a lock that the second query waits for.
                return self.is_link_up();
            }
            if start.elapsed() >= limit {
                return false;
            }
            thread::sleep(Duration::from_millis(2).min(limit));
        }
    }

    /// Brings the kernel's side up or down. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    ///
    /// The error of the kernel.
    pub fn set_up(&self, up: bool) -> io::Result<()> {
        self.port.device().enabled(up)
    }

    /// The number of sent or received frames that were dropped: the link was down, the
    /// queue was full, the frame was longer than the MTU, the device has found its
    /// checksum wrong, or [`set_dropping`](Self::set_dropping) was on.
    #[must_use]
    pub fn frames_dropped(&self) -> u64 {
        self.port.frames_dropped()
    }

    /// Cuts the cable in both directions, without notice to either end: every frame is
    /// dropped until this is set back to `false`.
    pub fn set_dropping(&mut self, dropping: bool) {
        self.port.set_dropping(dropping);
    }

    /// Why the device has failed permanently (the interface was removed), once.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.port.take_error()
    }
}

fn check_name(name: &str) -> Result<(), TapError> {
    let is_name_byte = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b'%';
    // The kernel allows more (`dev_valid_name`), but `%` is a pattern for the TUN driver,
    // and the rest cannot be typed.
    if (1..=15).contains(&name.len()) && name.bytes().all(is_name_byte) {
        Ok(())
    } else {
        Err(TapError::BadName {
            name: name.to_owned(),
        })
    }
}

/// Whether the TUN/TAP driver exists and this user may open it.
///
/// # Errors
///
/// [`TapError::NoTunDevice`], [`TapError::TunDenied`] or [`TapError::Io`].
pub fn check_driver() -> Result<(), TapError> {
    match OpenOptions::new().read(true).write(true).open(TUN_PATH) {
        Ok(_) => Ok(()),
        Err(error) => Err(match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => TapError::NoTunDevice,
            Errno::EACCES => TapError::TunDenied,
            // The control group denies it: the permissions of the file do not matter.
            Errno::EPERM => TapError::TunForbidden,
            _ => TapError::Io {
                doing: "opening",
                name: TUN_PATH.to_owned(),
                source: error,
            },
        }),
    }
}

/// Plain Ethernet frames; the interface stays up or down as it is.
fn builder(name: &str) -> DeviceBuilder {
    DeviceBuilder::new()
        .name(name)
        .layer(Layer::L2)
        .inherit_enable_state()
}

/// Attaches, with a header in front of each frame, and requests `offload`.
fn attach_with(
    builder: DeviceBuilder,
    name: &str,
    offload: Offload,
) -> Result<SyncDevice, TapError> {
    let device = attach(builder.offload(true), name)?;
    offload::enable(&device, offload).map_err(|source| TapError::Io {
        doing: "requesting offload of",
        name: name.to_owned(),
        source,
    })?;
    Ok(device)
}

fn attach(builder: DeviceBuilder, name: &str) -> Result<SyncDevice, TapError> {
    builder.build_sync().map_err(|source| {
        let name = name.to_owned();
        match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
            Errno::EPERM | Errno::EACCES => TapError::NotOwner { name },
            Errno::EBUSY => TapError::Busy { name },
            Errno::EINVAL => TapError::NotATap { name },
            _ => TapError::Io {
                doing: "attaching to",
                name,
                source,
            },
        }
    })
}

/// The most that can be offloaded to the kernel's driver; `None` if the driver cannot be
/// queried.
#[must_use]
pub fn offered_by_driver() -> Option<Offload> {
    let driver = OpenOptions::new().read(true).write(true).open(TUN_PATH);
    let driver = driver.ok()?;
    Some(if offload::is_known_to(&driver) {
        Offload::Segmentation
    } else {
        Offload::None
    })
}

impl Device for Tap {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.max_frame;
        self.offload().announce(&mut capabilities);
        capabilities
    }

    fn receive(&mut self, _timestamp: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let header_len = self.offload().header_len();
        for _ in 0..MAX_SKIPPED {
            let len = self.port.read(&mut self.rx)?;
            let (header, frame) = self.rx.get(..len)?.split_at_checked(header_len)?;
            let mut meta = PacketMeta::default();
            let mut is_usable = !self.port.is_dropping();
            let mut longest = self.max_frame;
            if let Some(arrival) = Arrival::read(header) {
                meta.segmentation_offload_size = arrival.segment_len;
                is_usable &= arrival.is_sound(frame);
                if arrival.segment_len.is_some() {
                    longest = self.offload().longest_frame(longest);
                }
            }
            if !is_usable || frame.len() > longest {
                self.port.drop_frame();
                continue;
            }
            let rx = RxToken {
                frame: self.rx.get(header_len..len)?,
                meta,
            };
            return Some((rx, TxToken::new(&mut self.port, &mut self.tx)));
        }
        None
    }

    fn transmit(&mut self, _timestamp: Instant) -> Option<TxToken<'_>> {
        self.port
            .has_room()
            .then_some(TxToken::new(&mut self.port, &mut self.tx))
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.device().as_fd()
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap")
            .field("max_frame", &self.max_frame)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A received frame. If it stands for several segments, its metadata contain the length
/// that the segments would have on a wire.
#[derive(Debug)]
pub struct RxToken<'a> {
    frame: &'a [u8],
    meta: PacketMeta,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }

    fn meta(&self) -> PacketMeta {
        self.meta
    }
}

/// Permission to send one frame.
pub struct TxToken<'a> {
    port: &'a mut Port,
    buffer: &'a mut Vec<u8>,
    meta: PacketMeta,
}

impl<'a> TxToken<'a> {
    fn new(port: &'a mut Port, buffer: &'a mut Vec<u8>) -> Self {
        Self {
            port,
            buffer,
            meta: PacketMeta::default(),
        }
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let header_len = self.port.offload().header_len();
        // A stack keeps to the lengths that the device announced, so this buffer never
        // grows. If it did, the kernel would accept or reject the frame.
        if self.buffer.len() < header_len + len {
            self.buffer.resize(header_len + len, 0);
        }
        let (all, _) = self.buffer.split_at_mut(header_len + len);
        let (header, frame) = all.split_at_mut(header_len);
        let result = f(frame);
        offload::prepare(header, frame, self.meta.segmentation_offload_size);
        self.port.write(all);
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

impl std::fmt::Debug for TxToken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxToken").finish_non_exhaustive()
    }
}
