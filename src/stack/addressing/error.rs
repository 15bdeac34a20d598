//! Why an address cannot be had, or a service not be started.

#[cfg(feature = "address-conflicts")]
use super::claims::Conflict;
use core::fmt;
use embedded_io::ErrorKind;

/// Why an address cannot be had, or why DHCP, DNS or the search for routers cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AddressError {
    /// The address is a group, a broadcast address or unspecified, or of an IP version that
    /// lastbyte was built without.
    NotUsable,
    /// smoltcp's list of addresses is full: build with a larger
    /// `SMOLTCP_IFACE_MAX_ADDR_COUNT`.
    NoRoom,
    /// There is no storage left for the socket: give the stack one place more.
    NoSocket,
    /// The handle is not that of such a socket.
    WrongSocket,
    /// This needs a device of Ethernet.
    NotEthernet,
    /// Another machine on the link has the address.
    #[cfg(feature = "address-conflicts")]
    Duplicate(Conflict),
    /// Whether anybody has the address was not found out in time: the link is down or busy.
    #[cfg(feature = "address-conflicts")]
    TimedOut,
    /// No router has advertised a prefix in time.
    #[cfg(feature = "slaac")]
    NoRouter,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUsable => "the address cannot be that of one host of ours",
            Self::NoRoom => "smoltcp's list of addresses is full",
            Self::NoSocket => "there is no storage left for the socket",
            Self::WrongSocket => "the handle is not that of such a socket",
            Self::NotEthernet => "this needs a device of Ethernet",
            #[cfg(feature = "address-conflicts")]
            Self::Duplicate(conflict) => return conflict.fmt(f),
            #[cfg(feature = "address-conflicts")]
            Self::TimedOut => "whether anybody has the address was not found out in time",
            #[cfg(feature = "slaac")]
            Self::NoRouter => "no router has advertised a prefix in time",
        })
    }
}

impl core::error::Error for AddressError {}

impl embedded_io::Error for AddressError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotUsable | Self::WrongSocket => ErrorKind::InvalidInput,
            Self::NoRoom | Self::NoSocket => ErrorKind::OutOfMemory,
            Self::NotEthernet => ErrorKind::Unsupported,
            #[cfg(feature = "address-conflicts")]
            Self::Duplicate(_) => ErrorKind::AddrInUse,
            #[cfg(feature = "address-conflicts")]
            Self::TimedOut => ErrorKind::TimedOut,
            #[cfg(feature = "slaac")]
            Self::NoRouter => ErrorKind::AddrNotAvailable,
        }
    }
}
