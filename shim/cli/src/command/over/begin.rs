//! What obtaining addresses and names needs of a network, before there is a session.

use std::time::Duration;

use lastbyte::stack::smoltcp::wire::{IpAddress, IpCidr};
use lastbyte::stack::{AddressError, Conflict, Lease, LeaseError, Lookup, ResolveError};
use lastbyte::{Clock, Error, Instant};

use super::shared::{DeviceAlarm, HostShared, HostTime};
use super::stack::HostStack;

/// A network whose addresses and names are to be obtained.
pub(in crate::command) trait Begin {
    fn now(&mut self) -> Instant;
    fn has_device_failed(&mut self) -> bool;
    /// Serves the network once.
    fn poll(&mut self);
    /// Serves the network until this time, or until it has changed.
    fn wait(&mut self, until: Instant);

    fn claim_address(&mut self, cidr: IpCidr) -> Result<(), AddressError>;
    /// Whether no other machine has this address; `None` while that is not known.
    fn checked(&mut self, address: IpAddress) -> Option<Result<(), AddressError>>;
    fn conflict(&mut self) -> Option<Conflict>;
    fn start_dhcp(&mut self) -> Result<(), AddressError>;
    fn lease(&mut self) -> Result<Lease, LeaseError>;
    fn start_slaac(&mut self) -> Result<(), AddressError>;
    fn has_prefix_address(&mut self) -> bool;
    fn start_dns(&mut self, servers: &[IpAddress]) -> Result<(), AddressError>;
    fn begin_lookup<'n>(
        &mut self,
        name: &'n str,
        timeout: Duration,
    ) -> Result<Lookup<'n>, ResolveError>;
    fn poll_lookup(&mut self, lookup: &mut Lookup<'_>) -> Option<Result<IpAddress, ResolveError>>;
    fn end_lookup(&mut self, lookup: Lookup<'_>);
}

impl Begin for &mut HostStack<'_> {
    fn now(&mut self) -> Instant {
        self.clock_mut().now()
    }

    fn has_device_failed(&mut self) -> bool {
        self.clock_mut().has_device_failed()
    }

    fn poll(&mut self) {
        HostStack::poll(self);
    }

    fn wait(&mut self, until: Instant) {
        HostStack::wait(self, until);
    }

    fn claim_address(&mut self, cidr: IpCidr) -> Result<(), AddressError> {
        HostStack::claim_address(self, cidr)
    }

    fn checked(&mut self, address: IpAddress) -> Option<Result<(), AddressError>> {
        let checked = self.wait_address(address, Duration::ZERO);
        (checked != Err(AddressError::TimedOut)).then_some(checked)
    }

    fn conflict(&mut self) -> Option<Conflict> {
        HostStack::conflict(self)
    }

    fn start_dhcp(&mut self) -> Result<(), AddressError> {
        HostStack::start_dhcp(self).map(|_| ())
    }

    fn lease(&mut self) -> Result<Lease, LeaseError> {
        HostStack::lease(self).cloned()
    }

    fn start_slaac(&mut self) -> Result<(), AddressError> {
        HostStack::start_slaac(self)
    }

    fn has_prefix_address(&mut self) -> bool {
        self.wait_slaac(Duration::ZERO).is_ok()
    }

    fn start_dns(&mut self, servers: &[IpAddress]) -> Result<(), AddressError> {
        // One query, for as long as the process lives.
        HostStack::start_dns(self, vec![None].leak(), servers).map(|_| ())
    }

    fn begin_lookup<'n>(
        &mut self,
        name: &'n str,
        timeout: Duration,
    ) -> Result<Lookup<'n>, ResolveError> {
        HostStack::begin_lookup(self, name, timeout)
    }

    fn poll_lookup(&mut self, lookup: &mut Lookup<'_>) -> Option<Result<IpAddress, ResolveError>> {
        HostStack::poll_lookup(self, lookup)
    }

    fn end_lookup(&mut self, lookup: Lookup<'_>) {
        HostStack::end_lookup(self, lookup);
    }
}

/// The shared network, before the session is its task.
pub(in crate::command) struct BeginShared<'s, 'a>(
    pub(in crate::command) &'s HostShared<'a>,
    pub(in crate::command) &'s HostTime,
);

/// The error of an address call. No closure is lent the network here, so that it is one.
fn of_address(error: Error) -> AddressError {
    match error {
        Error::Address(error) => error,
        _ => AddressError::TimedOut,
    }
}

fn of_resolve(error: Error) -> ResolveError {
    match error {
        Error::Resolve(error) => error,
        _ => ResolveError::NoAnswer,
    }
}

impl Begin for BeginShared<'_, '_> {
    fn now(&mut self) -> Instant {
        self.1.with_clock(Clock::now)
    }

    fn has_device_failed(&mut self) -> bool {
        self.1.with_clock(|clock| clock.has_device_failed())
    }

    fn poll(&mut self) {
        let now = self.now();
        self.wait(now);
    }

    /// The runner serves the network meanwhile.
    fn wait(&mut self, until: Instant) {
        let Self(shared, time) = self;
        let runner = shared.run(DeviceAlarm(time.clone()));
        time.block_on(runner, time.sleep_until(until));
    }

    fn claim_address(&mut self, cidr: IpCidr) -> Result<(), AddressError> {
        self.0.claim_address(cidr).map_err(of_address)
    }

    fn checked(&mut self, address: IpAddress) -> Option<Result<(), AddressError>> {
        match self.0.has_address(address) {
            Ok(has_address) => has_address.then_some(Ok(())),
            Err(error) => Some(Err(of_address(error))),
        }
    }

    fn conflict(&mut self) -> Option<Conflict> {
        self.0.conflict().unwrap_or_default()
    }

    fn start_dhcp(&mut self) -> Result<(), AddressError> {
        self.0.start_dhcp().map_err(of_address)
    }

    fn lease(&mut self) -> Result<Lease, LeaseError> {
        self.0.lease().map_err(|error| match error {
            Error::Lease(error) => error,
            _ => LeaseError::NoLease,
        })
    }

    fn start_slaac(&mut self) -> Result<(), AddressError> {
        self.0.start_slaac().map_err(of_address)
    }

    fn has_prefix_address(&mut self) -> bool {
        matches!(self.0.prefix_address(), Ok(Some(_)))
    }

    fn start_dns(&mut self, servers: &[IpAddress]) -> Result<(), AddressError> {
        let started = self.0.start_dns(vec![None].leak(), servers);
        started.map_err(of_address)
    }

    fn begin_lookup<'n>(
        &mut self,
        name: &'n str,
        timeout: Duration,
    ) -> Result<Lookup<'n>, ResolveError> {
        self.0.begin_lookup(name, timeout).map_err(of_resolve)
    }

    fn poll_lookup(&mut self, lookup: &mut Lookup<'_>) -> Option<Result<IpAddress, ResolveError>> {
        self.0.poll_lookup(lookup).map_err(of_resolve).transpose()
    }

    fn end_lookup(&mut self, lookup: Lookup<'_>) {
        let _ = self.0.end_lookup(lookup);
    }
}
