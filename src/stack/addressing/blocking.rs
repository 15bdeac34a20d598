//! The calls of a [`Stack`] about addresses and names, some of which wait for a result.

use super::AddressError;
#[cfg(feature = "address-conflicts")]
use super::claims::Conflict;
#[cfg(feature = "dhcpv4")]
use super::lease::{Lease, LeaseChange, LeaseError};
#[cfg(feature = "dns")]
use super::lookup::{Lookup, ResolveError};
use crate::Clock;
use crate::stack::driver::Stack;
use core::time::Duration;
#[cfg(any(feature = "dhcpv4", feature = "dns"))]
use smoltcp::iface::SocketHandle;
use smoltcp::phy::Device;
#[cfg(feature = "dns")]
use smoltcp::socket::dns::DnsQuery;
#[cfg(any(feature = "address-conflicts", feature = "dns"))]
use smoltcp::wire::IpAddress;
#[cfg(feature = "address-conflicts")]
use smoltcp::wire::IpCidr;
#[cfg(feature = "slaac")]
use smoltcp::wire::{Ipv6Address, Ipv6Cidr};

/// DHCP.
#[cfg(feature = "dhcpv4")]
impl<D: Device, C: Clock, const N: usize> Stack<'_, D, C, N> {
    /// Begins to obtain an address by DHCP, without waiting. It takes one place in the storage
    /// for sockets. From now on every poll, and every call that blocks, carries out what the
    /// server says: see [`Tracker::use_dhcp`](crate::stack::Tracker::use_dhcp). Returns the
    /// handle of smoltcp's socket, for options such as a host name.
    ///
    /// ```no_run
    /// # use lastbyte::stack::{smoltcp::phy::Device, Stack};
    /// # use lastbyte::Clock;
    /// # use core::time::Duration;
    /// fn set_up<D: Device, C: Clock>(
    ///     stack: &mut Stack<'_, D, C, 1>,
    /// ) -> Result<(), Box<dyn core::error::Error>> {
    ///     stack.start_dhcp()?;
    ///     let lease = stack.wait_lease(Duration::from_secs(30))?;
    ///     println!("we are {}", lease.address());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AddressError::NoSocket`], [`AddressError::NotEthernet`].
    pub fn start_dhcp(&mut self) -> Result<SocketHandle, AddressError> {
        let (tracker, mut net) = self.parts();
        tracker.add_dhcp(&mut net)
    }

    /// Waits until there is a lease. Every connection is served meanwhile.
    ///
    /// # Errors
    ///
    /// [`LeaseError::NoLease`] if there is none within the time; servers go on being asked.
    pub fn wait_lease(&mut self, timeout: Duration) -> Result<Lease, LeaseError> {
        let until = self.clock_mut().now() + timeout;
        loop {
            let (tracker, net) = self.parts();
            let lease = tracker.lease();
            if lease != Err(LeaseError::NoLease) || net.now >= until {
                return lease.cloned();
            }
            self.wait(until);
        }
    }

    /// The lease that there is, as of the last poll.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn lease(&self) -> Result<&Lease, LeaseError> {
        self.tracker().lease()
    }

    /// What has become of the lease since this was last called, if it changed.
    pub fn poll_lease(&mut self) -> Option<LeaseChange> {
        self.parts().0.poll_lease()
    }
}

/// DNS.
#[cfg(feature = "dns")]
impl<'a, D: Device, C: Clock, const N: usize> Stack<'a, D, C, N> {
    /// Makes names resolvable by these DNS servers, four at most; if none are given, by those
    /// of the lease and of routers. It takes one place in the storage for sockets, and as many
    /// names are resolved at a time as there are places in `queries`: a blocking program needs
    /// one. Called again, it replaces the servers.
    ///
    /// # Errors
    ///
    /// [`AddressError::NoSocket`].
    pub fn start_dns(
        &mut self,
        queries: &'a mut [Option<DnsQuery>],
        servers: &[IpAddress],
    ) -> Result<SocketHandle, AddressError> {
        let (tracker, net) = self.parts();
        tracker.add_dns(net.sockets, queries, servers)
    }

    /// Resolves a name into an address, and waits for it. An address that is written as one is
    /// its own result. IPv4 is asked for first, IPv6 if there is no such address, each if we
    /// have an address of that version. Every connection is served meanwhile.
    ///
    /// One server is asked for 3 s at a time, if there are several, and each in turn until
    /// one answers. The answer of any of them that there is no such name is the result.
    ///
    /// ```no_run
    /// # use lastbyte::stack::{smoltcp::phy::Device, ResolveError, Stack};
    /// # use lastbyte::{Clock, Options};
    /// # use core::time::Duration;
    /// fn call<D: Device, C: Clock>(
    ///     stack: &mut Stack<'_, D, C, 1>,
    /// ) -> Result<(), Box<dyn core::error::Error>> {
    ///     let broker = stack.resolve("broker.example", Duration::from_secs(10))?;
    ///     let _id = stack.connect((broker, 1883), Options::default())?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ResolveError`]; [`NoAnswer`](ResolveError::NoAnswer) after the time at the latest. The
    /// query is cancelled then.
    pub fn resolve(&mut self, name: &str, timeout: Duration) -> Result<IpAddress, ResolveError> {
        let (tracker, net) = self.parts();
        let mut lookup = tracker.begin_lookup(&net, name, timeout)?;
        loop {
            let (tracker, mut net) = self.parts();
            if let Some(result) = tracker.poll_lookup(&mut net, &mut lookup) {
                return result;
            }
            self.wait(lookup.poll_at());
        }
    }

    /// Begins to resolve a name, without waiting: see
    /// [`Tracker::begin_lookup`](crate::stack::Tracker::begin_lookup).
    ///
    /// # Errors
    ///
    /// [`ResolveError`]: this is not a name, or there is no server to query.
    pub fn begin_lookup<'n>(
        &mut self,
        name: &'n str,
        timeout: Duration,
    ) -> Result<Lookup<'n>, ResolveError> {
        let (tracker, net) = self.parts();
        tracker.begin_lookup(&net, name, timeout)
    }

    /// Goes on with a lookup, without waiting: whether there is a result, as of the last poll.
    pub fn poll_lookup(
        &mut self,
        lookup: &mut Lookup<'_>,
    ) -> Option<Result<IpAddress, ResolveError>> {
        let (tracker, mut net) = self.parts();
        tracker.poll_lookup(&mut net, lookup)
    }

    /// Gives up a lookup: its query is cancelled, and its place is free.
    pub fn end_lookup(&mut self, lookup: Lookup<'_>) {
        let (tracker, net) = self.parts();
        tracker.end_lookup(net.sockets, lookup);
    }
}

/// Addresses that are probed.
#[cfg(feature = "address-conflicts")]
impl<D: Device, C: Clock, const N: usize> Stack<'_, D, C, N> {
    /// Adds an address of ours, after checking that no other machine on the link has it: see
    /// [`Tracker::claim_address`](crate::stack::Tracker::claim_address). It does not wait: an
    /// address of IPv4 can be used at once, one of IPv6 after
    /// [`wait_address`](Self::wait_address).
    ///
    /// # Errors
    ///
    /// [`AddressError::NotUsable`], [`AddressError::NoRoom`].
    pub fn claim_address(&mut self, cidr: IpCidr) -> Result<(), AddressError> {
        let (tracker, mut net) = self.parts();
        tracker.claim_address(&mut net, cidr)
    }

    /// Waits until an address that was claimed can be used.
    ///
    /// # Errors
    ///
    /// [`AddressError::Duplicate`] if another machine has it; [`AddressError::TimedOut`]
    /// after the time, if probes cannot leave.
    pub fn wait_address(
        &mut self,
        address: IpAddress,
        timeout: Duration,
    ) -> Result<(), AddressError> {
        let until = self.clock_mut().now() + timeout;
        loop {
            let (tracker, net) = self.parts();
            if tracker.has_address(&net, address) {
                return Ok(());
            }
            let conflict = tracker.conflict();
            if let Some(conflict) = conflict.filter(|it| it.address == address) {
                return Err(AddressError::Duplicate(conflict));
            }
            if net.now >= until {
                return Err(AddressError::TimedOut);
            }
            self.wait(until);
        }
    }

    /// The newest conflict about an address of ours, until that address is claimed again.
    pub const fn conflict(&self) -> Option<Conflict> {
        self.tracker().conflict()
    }
}

/// Stateless address autoconfiguration.
#[cfg(feature = "slaac")]
impl<D: Device, C: Clock, const N: usize> Stack<'_, D, C, N> {
    /// Begins to follow the routers of the link, without waiting: see
    /// [`Tracker::start_slaac`](crate::stack::Tracker::start_slaac).
    ///
    /// # Errors
    ///
    /// [`AddressError::NotEthernet`], [`AddressError::NoRoom`].
    pub fn start_slaac(&mut self) -> Result<(), AddressError> {
        let (tracker, mut net) = self.parts();
        tracker.start_slaac(&mut net)
    }

    /// Waits until there is an address with a prefix of a router.
    ///
    /// # Errors
    ///
    /// [`AddressError::NoRouter`] if no router has advertised a prefix within the time, or the
    /// address of it is not known to be free yet.
    pub fn wait_slaac(&mut self, timeout: Duration) -> Result<Ipv6Cidr, AddressError> {
        let until = self.clock_mut().now() + timeout;
        loop {
            let (tracker, net) = self.parts();
            if let Some(cidr) = tracker.prefix_address(&net) {
                return Ok(cidr);
            }
            if net.now >= until {
                return Err(AddressError::NoRouter);
            }
            self.wait(until);
        }
    }

    /// The default router of IPv6 that was found, while it is one.
    pub const fn router(&self) -> Option<Ipv6Address> {
        self.tracker().router()
    }
}
