//! The configuration of a stack, and the errors of making one.

use super::device::link_of;
use super::secret::Secret;
use core::fmt;
use core::ops::RangeInclusive;
use smoltcp::phy::{DeviceCapabilities, Medium};
use smoltcp::wire::HardwareAddress;

/// The smallest packet that every IPv4 network carries (RFC 791, 3.2), and the smallest
/// with room for data after the headers.
const SMALLEST_MTU: usize = 68;

/// The largest value of the length field of IP (RFC 791, 3.1).
const LARGEST_MTU: usize = 65_535;

/// The addresses, the seed and the ranges that a [`Stack`](super::Stack) is made from.
///
/// The seed is a required argument: 64 random bits, drawn at each boot, or the result of
/// [`boot_seed`](super::boot_seed) from a secret of the device and a count of its boots.
/// It is the key of local ports and of initial sequence numbers. An attacker who guesses
/// it (a constant, a counter alone, the time) can compute them, and inject segments into
/// connections without seeing any segment. Do not log it; the `Debug` output of a
/// configuration does not show it.
///
/// ```
/// use lastbyte::stack::Config;
/// use lastbyte::stack::smoltcp::wire::EthernetAddress;
///
/// # fn random() -> u64 { 0x9f4c_6b21_d7e0_835a }
/// let mac = EthernetAddress([0x02, 0, 0, 0, 0, 1]);
/// let config = Config::new(mac.into(), random()).local_ports(50_000..=59_999);
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Config {
    pub(super) hardware_addr: HardwareAddress,
    pub(super) secret: Secret,
    pub(super) local_ports: RangeInclusive<u16>,
    pub(super) receive_queue: u16,
}

impl Config {
    /// A configuration with the dynamic ports (49152-65535, RFC 6335) for
    /// outgoing connections.
    #[must_use]
    pub const fn new(hardware_addr: HardwareAddress, seed: u64) -> Self {
        Self {
            hardware_addr,
            secret: Secret::new(seed),
            local_ports: 49_152..=65_535,
            receive_queue: 256,
        }
    }

    /// Sets the range of local ports for outgoing connections.
    #[must_use]
    pub const fn local_ports(mut self, range: RangeInclusive<u16>) -> Self {
        self.local_ports = range;
        self
    }

    /// Sets how many received frames the device holds at most; the default is 256. Count
    /// everything between the wire and the program: the descriptor ring, the memory of a
    /// chip on SPI, the channel of a driver, the kernel's queue of a TAP device.
    ///
    /// A write first processes up to this many frames. So it has processed every frame that
    /// had arrived when it began, a FIN included, before it accepts bytes, however fast
    /// more frames arrive. If the number is too small, a write may accept bytes while a FIN
    /// waits at the end of a full queue. A poll processes at most this many frames before
    /// it sends, so if the number is too large a flood delays sending.
    ///
    /// ```
    /// use lastbyte::stack::Config;
    ///
    /// # let (mac, seed) = (lastbyte::stack::smoltcp::wire::EthernetAddress([2, 0, 0, 0, 0, 1]), 1);
    /// // A W5500 has 16 KiB, for frames of at least 60 octets with a header of 2.
    /// let config = Config::new(mac.into(), seed).receive_queue(16_384 / 62);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub const fn receive_queue(mut self, frames: u16) -> Self {
        self.receive_queue = frames;
        self
    }

    /// The seed for the interface of a [`Tracker`](super::Tracker), which the application
    /// makes itself: set [`random_seed`](smoltcp::iface::Config::random_seed) to it.
    /// Peers that connect to us see numbers of smoltcp's from which this seed can be
    /// computed. The seed of the configuration cannot be computed from them.
    ///
    /// ```
    /// use lastbyte::stack::{Config, smoltcp};
    ///
    /// # let (mac, seed) = (smoltcp::wire::EthernetAddress([2, 0, 0, 0, 0, 1]), 1);
    /// let config = Config::new(mac.into(), seed);
    /// let mut of_interface = smoltcp::iface::Config::new(mac.into());
    /// of_interface.random_seed = config.interface_seed();
    /// ```
    #[must_use]
    pub fn interface_seed(&self) -> u64 {
        self.secret.interface_seed()
    }

    /// Checks everything that would make smoltcp panic, at once or at the first segment.
    pub(super) fn check(&self, device: &DeviceCapabilities) -> Result<(), ConfigError> {
        // smoltcp's own `is_unicast` panics if the address belongs to a medium that is
        // not compiled in.
        let (fits, is_unicast) = match self.hardware_addr {
            #[cfg(feature = "medium-ethernet")]
            HardwareAddress::Ethernet(address) => {
                (device.medium == Medium::Ethernet, address.is_unicast())
            }
            #[cfg(feature = "medium-ip")]
            HardwareAddress::Ip => (device.medium == Medium::Ip, true),
            #[allow(unreachable_patterns, reason = "other crates may enable more media")]
            _ => (false, false),
        };
        let Some(link) = link_of(device).filter(|_| fits) else {
            return Err(ConfigError::HardwareAddressMismatch);
        };
        if !is_unicast {
            return Err(ConfigError::HardwareAddressNotUnicast);
        }
        let mtu = link.mtu;
        if mtu < SMALLEST_MTU {
            return Err(ConfigError::MtuTooSmall { mtu });
        }
        if mtu > LARGEST_MTU {
            return Err(ConfigError::MtuTooLarge { mtu });
        }
        if self.local_ports.is_empty() || *self.local_ports.start() == 0 {
            return Err(ConfigError::NoLocalPorts);
        }
        if self.receive_queue == 0 {
            return Err(ConfigError::NoReceiveQueue);
        }
        Ok(())
    }
}

/// Why a stack cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// The device carries IP packets of at most this many octets. The minimum is 68 (RFC
    /// 791, 3.2).
    MtuTooSmall {
        /// The device's limit.
        mtu: usize,
    },
    /// The device carries IP packets of this many octets. The length field of IP holds at
    /// most 65,535 (RFC 791, 3.1).
    MtuTooLarge {
        /// The device's limit.
        mtu: usize,
    },
    /// The hardware address is of another kind than the device's.
    HardwareAddressMismatch,
    /// The hardware address is a group address.
    HardwareAddressNotUnicast,
    /// The range of local ports is empty or holds port 0.
    NoLocalPorts,
    /// The receive queue is configured to hold no frame, so that none would ever be processed.
    NoReceiveQueue,
    /// The transmit or receive buffer of this connection is empty.
    EmptyBuffer {
        /// The number of the connection, from 0.
        slot: usize,
    },
    /// A buffer of this connection exceeds 1 GiB, the largest window of TCP (RFC 7323,
    /// 2.3).
    BufferTooLarge {
        /// The number of the connection, from 0.
        slot: usize,
    },
    /// This connection has the same socket as an earlier one.
    SharedSocket {
        /// The number of the connection, from 0.
        slot: usize,
    },
    /// There is storage for fewer sockets than connections.
    TooFewSockets {
        /// How many sockets fit.
        storage: usize,
        /// How many are needed: one for each connection.
        needed: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MtuTooSmall { mtu } => write!(
                f,
                "the device's IP MTU of {mtu} is below the {SMALLEST_MTU} octets that IPv4 requires"
            ),
            Self::MtuTooLarge { mtu } => write!(
                f,
                "the device's IP MTU of {mtu} exceeds IP's maximum of {LARGEST_MTU} octets"
            ),
            Self::SharedSocket { slot } => write!(
                f,
                "connection {slot} has the socket of another connection; add one for each"
            ),
            Self::HardwareAddressMismatch => {
                f.write_str("the hardware address does not fit the device's medium")
            }
            Self::HardwareAddressNotUnicast => f.write_str("the hardware address is not unicast"),
            Self::NoLocalPorts => f.write_str("the range of local ports is empty or holds port 0"),
            Self::NoReceiveQueue => {
                f.write_str("the device's queue holds no frame; give it at least one")
            }
            Self::EmptyBuffer { slot } => {
                write!(
                    f,
                    "a buffer of connection {slot} is empty; give it at least one octet"
                )
            }
            Self::BufferTooLarge { slot } => {
                write!(f, "a buffer of connection {slot} exceeds 1 GiB")
            }
            Self::TooFewSockets { storage, needed } => write!(
                f,
                "{needed} connections need as many sockets, but the storage holds only {storage}"
            ),
        }
    }
}

impl core::error::Error for ConfigError {}

/// The buffers of one connection.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SlotBuffers<'a> {
    /// Holds accepted bytes that are not acknowledged yet. Its size bounds what is in
    /// flight, and so the throughput: size / round-trip time.
    pub tx: &'a mut [u8],
    /// Holds received bytes that are not read or discarded yet.
    pub rx: &'a mut [u8],
}

impl SlotBuffers<'_> {
    pub(super) const fn check(&self, slot: usize) -> Result<(), ConfigError> {
        if self.tx.is_empty() || self.rx.is_empty() {
            return Err(ConfigError::EmptyBuffer { slot });
        }
        if self.rx.len() > 1 << 30 || self.tx.len() > 1 << 30 {
            return Err(ConfigError::BufferTooLarge { slot });
        }
        Ok(())
    }
}

/// Memory for `N` connections with `TX` and `RX` octets of buffer each, fixed
/// at compile time.
///
/// ```
/// use lastbyte::stack::Buffers;
///
/// let mut buffers = Buffers::<2, 2048, 512>::new();
/// let [first, second] = buffers.split();
/// assert_eq!((first.tx.len(), second.rx.len()), (2048, 512));
/// ```
///
/// Sizes of zero do not compile:
///
/// ```compile_fail
/// let buffers = lastbyte::stack::Buffers::<0, 2048, 512>::new();
/// ```
///
/// ```compile_fail
/// let buffers = lastbyte::stack::Buffers::<1, 0, 512>::new();
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Buffers<const N: usize, const TX: usize, const RX: usize> {
    tx: [[u8; TX]; N],
    rx: [[u8; RX]; N],
}

impl<const N: usize, const TX: usize, const RX: usize> Buffers<N, TX, RX> {
    /// Makes zeroed buffers. `const`, so that they can be in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(N > 0, "a stack needs at least one connection");
            assert!(TX > 0, "a transmit buffer needs at least one octet");
            assert!(RX > 0, "a receive buffer needs at least one octet");
        }
        Self {
            tx: [[0; TX]; N],
            rx: [[0; RX]; N],
        }
    }

    /// Lends the buffers, connection by connection.
    pub fn split(&mut self) -> [SlotBuffers<'_>; N] {
        let mut tx = self.tx.iter_mut();
        let mut rx = self.rx.iter_mut();
        core::array::from_fn(|_| SlotBuffers {
            tx: tx.next().map_or(&mut [], |tx| &mut tx[..]),
            rx: rx.next().map_or(&mut [], |rx| &mut rx[..]),
        })
    }
}

impl<const N: usize, const TX: usize, const RX: usize> Default for Buffers<N, TX, RX> {
    fn default() -> Self {
        Self::new()
    }
}
