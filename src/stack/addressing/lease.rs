//! What a DHCP server has lent (RFC 2131).

use crate::Instant;
use core::fmt;
use embedded_io::ErrorKind;
use heapless::Vec;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{DHCP_MAX_DNS_SERVER_COUNT, IpAddress, Ipv4Address, Ipv4Cidr};

/// How long the first answer of a server is waited for before it is asked again, and the
/// longest such time: each is twice as long as the one before (RFC 2131, 4.1).
pub(super) const SHORTEST_WAIT_MS: u32 = 4_000;
pub(super) const LONGEST_WAIT_MS: u32 = 64_000;

/// An address that a DHCP server has lent, with what came along.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lease {
    address: Ipv4Cidr,
    router: Option<Ipv4Address>,
    dns_servers: Vec<IpAddress, DHCP_MAX_DNS_SERVER_COUNT>,
    server: Ipv4Address,
}

impl Lease {
    pub(super) fn of(config: &dhcpv4::Config<'_>) -> Self {
        let servers = config.dns_servers.iter();
        Self {
            address: config.address,
            router: config.router,
            dns_servers: servers.map(|server| IpAddress::Ipv4(*server)).collect(),
            server: config.server.identifier,
        }
    }

    /// Our address, and how much of it is that of our network.
    #[must_use]
    pub const fn address(&self) -> Ipv4Cidr {
        self.address
    }

    /// The default router, if the server named one.
    #[must_use]
    pub const fn router(&self) -> Option<Ipv4Address> {
        self.router
    }

    /// The DNS servers that the server named.
    #[must_use]
    pub fn dns_servers(&self) -> &[IpAddress] {
        &self.dns_servers
    }

    /// The identifier of the DHCP server, by which it is named in messages to it.
    #[must_use]
    pub const fn server(&self) -> Ipv4Address {
        self.server
    }
}

/// What has become of the lease. Exhaustive: there is one, or there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LeaseChange {
    /// There is one, or it changed.
    Configured(Lease),
    /// It ended, and connections from its address with it
    /// ([`Cause::AddressLost`](crate::Cause::AddressLost)). Servers are asked for another.
    Lost,
}

/// Why there is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LeaseError {
    /// No DHCP server has lent an address within the time. Servers go on being asked.
    NoLease,
    /// DHCP was not started.
    NotStarted,
    /// smoltcp's list of addresses or of routes is full: build with a larger
    /// `SMOLTCP_IFACE_MAX_ADDR_COUNT` or `SMOLTCP_IFACE_MAX_ROUTE_COUNT`.
    NoRoom,
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLease => "no lease: no DHCP server has lent an address in time",
            Self::NotStarted => "DHCP was not started",
            Self::NoRoom => {
                "the lease does not fit: smoltcp's list of addresses or of routes is full"
            }
        })
    }
}

impl core::error::Error for LeaseError {}

impl embedded_io::Error for LeaseError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoLease => ErrorKind::AddrNotAvailable,
            Self::NotStarted => ErrorKind::InvalidInput,
            Self::NoRoom => ErrorKind::OutOfMemory,
        }
    }
}

/// The DHCP client, and what it has.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) handle: SocketHandle,
    pub(super) lease: Option<Lease>,
    /// Whether the lease changed since that was last reported.
    pub(super) is_news: bool,
    /// Whether the newest lease did not fit.
    pub(super) is_refused: bool,
    /// Since when servers are asked.
    pub(super) since: Instant,
}
