//! Addresses and names of a network that tasks share. Nothing here waits: see the blocking calls
//! of the same names of [`Stack`](crate::stack::Stack). What servers and routers say is carried
//! out whenever a call or the runner polls.

use super::lock::Lock;
use super::shared::Shared;
use super::time::Now;
use crate::stack::smoltcp::phy::Device;
use crate::stack::{AddressError, Error};

#[cfg(feature = "address-conflicts")]
use crate::stack::Conflict;
#[cfg(feature = "dns")]
use crate::stack::smoltcp::socket::dns::DnsQuery;
#[cfg(any(feature = "address-conflicts", feature = "dns"))]
use crate::stack::smoltcp::wire::IpAddress;
#[cfg(feature = "address-conflicts")]
use crate::stack::smoltcp::wire::IpCidr;
#[cfg(feature = "slaac")]
use crate::stack::smoltcp::wire::Ipv6Cidr;
#[cfg(feature = "dhcpv4")]
use crate::stack::{Lease, LeaseError};
#[cfg(feature = "dns")]
use crate::stack::{Lookup, ResolveError};
#[cfg(feature = "dns")]
use core::time::Duration;

/// Addresses that are probed.
#[cfg(feature = "address-conflicts")]
impl<D: Device, C: Now, const N: usize, K: Lock> Shared<'_, D, C, N, K> {
    /// Adds an address of ours, after checking that no other machine on the link has it: see
    /// [`Tracker::claim_address`](crate::stack::Tracker::claim_address).
    ///
    /// # Errors
    ///
    /// [`AddressError::NotUsable`], [`AddressError::NoRoom`]; [`Error::Busy`].
    pub fn claim_address(&self, cidr: IpCidr) -> Result<(), Error> {
        self.at_once(|tracker, net| tracker.claim_address(net, cidr))
    }

    /// Whether this address can be used.
    ///
    /// # Errors
    ///
    /// [`AddressError::Duplicate`] if another machine has it; [`Error::Busy`].
    pub fn has_address(&self, address: IpAddress) -> Result<bool, Error> {
        self.at_once(|tracker, net| {
            let conflict = tracker.conflict().filter(|it| it.address == address);
            match (tracker.has_address(net, address), conflict) {
                (false, Some(conflict)) => Err(AddressError::Duplicate(conflict)),
                (has_address, _) => Ok(has_address),
            }
        })
    }

    /// The newest conflict about an address of ours, until that address is claimed again.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn conflict(&self) -> Result<Option<Conflict>, Error> {
        self.at_once(|tracker, _| Ok::<_, AddressError>(tracker.conflict()))
    }
}

/// DHCP.
#[cfg(feature = "dhcpv4")]
impl<D: Device, C: Now, const N: usize, K: Lock> Shared<'_, D, C, N, K> {
    /// Begins to obtain an address by DHCP. It takes one place in the storage for sockets.
    ///
    /// # Errors
    ///
    /// [`AddressError::NoSocket`], [`AddressError::NotEthernet`]; [`Error::Busy`].
    pub fn start_dhcp(&self) -> Result<(), Error> {
        self.at_once(|tracker, net| tracker.add_dhcp(net).map(|_| ()))
    }

    /// The lease that there is, as of the last poll.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]; [`Error::Busy`].
    pub fn lease(&self) -> Result<Lease, Error> {
        self.at_once(|tracker, _| tracker.lease().cloned().map_err(|error: LeaseError| error))
    }
}

/// DNS.
#[cfg(feature = "dns")]
impl<'a, D: Device, C: Now, const N: usize, K: Lock> Shared<'a, D, C, N, K> {
    /// Makes names resolvable by these DNS servers, four at most; if none are given, by those of
    /// the lease and of routers. It takes one place in the storage for sockets, and as many names
    /// are resolved at a time as there are places in `queries`.
    ///
    /// # Errors
    ///
    /// [`AddressError::NoSocket`]; [`Error::Busy`].
    pub fn start_dns(
        &self,
        queries: &'a mut [Option<DnsQuery>],
        servers: &[IpAddress],
    ) -> Result<(), Error> {
        self.at_once(|tracker, net| tracker.add_dns(net.sockets, queries, servers).map(|_| ()))
    }

    /// Begins to resolve a name: see
    /// [`Tracker::begin_lookup`](crate::stack::Tracker::begin_lookup).
    ///
    /// # Errors
    ///
    /// [`ResolveError`]: this is not a name, or there is no server; [`Error::Busy`].
    pub fn begin_lookup<'n>(&self, name: &'n str, timeout: Duration) -> Result<Lookup<'n>, Error> {
        self.at_once(|tracker, net| tracker.begin_lookup(net, name, timeout))
    }

    /// Goes on with a lookup: `Ok(None)` while there is no result, as of the last poll.
    ///
    /// # Errors
    ///
    /// [`ResolveError`]; [`Error::Busy`].
    pub fn poll_lookup(&self, lookup: &mut Lookup<'_>) -> Result<Option<IpAddress>, Error> {
        self.at_once(|tracker, net| {
            tracker
                .poll_lookup(net, lookup)
                .transpose()
                .map_err(|error: ResolveError| error)
        })
    }

    /// Gives up a lookup: its query is cancelled, and its place is free.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`]; then the query goes on until its timeout.
    pub fn end_lookup(&self, lookup: Lookup<'_>) -> Result<(), Error> {
        self.at_once(|tracker, net| {
            tracker.end_lookup(net.sockets, lookup);
            Ok::<_, ResolveError>(())
        })
    }
}

/// Stateless address autoconfiguration.
#[cfg(feature = "slaac")]
impl<D: Device, C: Now, const N: usize, K: Lock> Shared<'_, D, C, N, K> {
    /// Begins to follow the routers of the link: see
    /// [`Tracker::start_slaac`](crate::stack::Tracker::start_slaac).
    ///
    /// # Errors
    ///
    /// [`AddressError::NotEthernet`], [`AddressError::NoRoom`]; [`Error::Busy`].
    pub fn start_slaac(&self) -> Result<(), Error> {
        self.at_once(|tracker, net| tracker.start_slaac(net))
    }

    /// An address with a prefix of a router, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn prefix_address(&self) -> Result<Option<Ipv6Cidr>, Error> {
        self.at_once(|tracker, net| Ok::<_, AddressError>(tracker.prefix_address(net)))
    }
}
