//! From a stack to one that can connect: our addresses, and the address of the peer.
//!
//! Everything here is bounded by the connect timeout, and ends at once by a signal. While it
//! waits, the output of the peer's processes goes on to be shown.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lastbyte::stack::{AddressError, LeaseError, ResolveError};
use lastbyte::{Cause, Instant};
use smoltcp::wire::{IpAddress, IpCidr};

use super::args::Own;
use super::connect::Run;
use super::console;
use super::ends::Destination;
use super::exit::Failure;
use super::over::Begin;
use lastbyte_host::signals::Signals;

/// How often a signal is looked for.
const SLICE: Duration = Duration::from_millis(50);

/// What there is to wait with.
struct Waiting<'w, B> {
    stack: B,
    run: &'w mut Run,
    signals: &'w mut Signals,
    until: Instant,
}

/// Obtains our addresses, and resolves the peer's name if it is one.
///
/// # Errors
///
/// [`Failure::Ended`] with words of its own: there is no lease, no router, no such name, or
/// another machine has our address; [`Failure::Interrupted`].
pub(super) fn bring_up(
    mut stack: impl Begin,
    run: &mut Run,
    signals: &mut Signals,
) -> Result<SocketAddr, Failure> {
    let until = stack.now() + run.options.connect_timeout();
    let own = run.own.clone();
    let destination = run.destination.clone();
    let mut waiting = Waiting {
        stack,
        run,
        signals,
        until,
    };
    waiting.start(&own)?;
    waiting.addresses(&own, &destination)?;
    match destination {
        Destination::Known(remote) => Ok(remote),
        Destination::Named { name, port } => {
            let address = waiting.resolve(&name)?;
            Ok(SocketAddr::new(address, port))
        }
    }
}

/// What the stack has no room or no device for.
fn unfit(what: &str) -> impl Fn(AddressError) -> Failure {
    move |error| match error {
        AddressError::Duplicate(conflict) => Failure::ended(
            Cause::AddressLost,
            format!("{conflict}; choose another address"),
        ),
        error => Failure::other(format!("{what}: {error}")),
    }
}

impl<B: Begin> Waiting<'_, B> {
    fn start(&mut self, own: &Own) -> Result<(), Failure> {
        if own.is_checked {
            for cidr in &own.fixed {
                let claimed = self.stack.claim_address(*cidr);
                claimed.map_err(unfit(&format!("--addr {cidr}")))?;
            }
        }
        if own.dhcp {
            self.stack.start_dhcp().map_err(unfit("--dhcp"))?;
        }
        if own.slaac {
            self.stack.start_slaac().map_err(unfit("--slaac"))?;
        }
        if let Destination::Named { .. } = self.run.destination {
            let servers: Vec<IpAddress> = own.dns.iter().copied().map(Into::into).collect();
            let started = self.stack.start_dns(&servers);
            started.map_err(unfit("--dns"))?;
        }
        Ok(())
    }

    /// Waits for the addresses that a connection to this destination may need.
    fn addresses(&mut self, own: &Own, destination: &Destination) -> Result<(), Failure> {
        if own.is_checked {
            for cidr in &own.fixed {
                self.checked(*cidr)?;
            }
        }
        if own.dhcp && destination.may_be(IpAddr::is_ipv4) {
            self.lease()?;
        }
        if own.slaac && destination.may_be(IpAddr::is_ipv6) {
            let found = self.wait(|stack| stack.has_prefix_address().then_some(()))?;
            found.ok_or_else(|| {
                Failure::ended(
                    Cause::Unreachable,
                    "no router: none has advertised a prefix for our addresses within the \
                     connect timeout. Check that one is on this link, or give --addr",
                )
            })?;
        }
        Ok(())
    }

    /// Waits until it is known that no other machine has this address.
    fn checked(&mut self, cidr: IpCidr) -> Result<(), Failure> {
        let checked = self.wait(|stack| stack.checked(cidr.address()))?;
        checked
            .unwrap_or(Err(AddressError::TimedOut))
            .map_err(unfit(&format!("--addr {cidr}")))
    }

    fn lease(&mut self) -> Result<(), Failure> {
        let lease = self.wait(|stack| match stack.lease() {
            Err(LeaseError::NoLease) => None,
            lease => Some(lease),
        })?;
        match lease {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(Failure::other(format!("--dhcp: {error}"))),
            None => {
                let conflict = self.stack.conflict();
                let conflict = conflict.map_or(String::new(), |it| format!(" ({it})"));
                Err(Failure::ended(
                    Cause::Unreachable,
                    format!(
                        "no lease: no DHCP server has lent an address within the connect \
                         timeout{conflict}. Check that one is on this link, or give --addr"
                    ),
                ))
            }
        }
    }

    fn resolve(&mut self, name: &str) -> Result<IpAddr, Failure> {
        let now = self.stack.now();
        let begun = self.stack.begin_lookup(name, self.until.since(now));
        let mut lookup = begun.map_err(|error| unresolved(name, error))?;
        let found = self.wait(|stack| stack.poll_lookup(&mut lookup));
        let found = match found {
            Ok(found) => found.unwrap_or(Err(ResolveError::NoAnswer)),
            Err(failure) => {
                self.stack.end_lookup(lookup);
                return Err(failure);
            }
        };
        found
            .map(IpAddr::from)
            .map_err(|error| unresolved(name, error))
    }

    /// Serves the stack until `ready` has something; `None` if that takes too long.
    fn wait<T>(
        &mut self,
        mut ready: impl FnMut(&mut B) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        loop {
            self.stack.poll();
            if self.signals.take() {
                return Err(Failure::Interrupted);
            }
            if self.stack.has_device_failed() {
                return Err(Failure::other("the TAP interface went away"));
            }
            if let Some(peer) = &mut self.run.peer {
                peer.show_output(console::line);
            }
            if let Some(ready) = ready(&mut self.stack) {
                return Ok(Some(ready));
            }
            let now = self.stack.now();
            if now >= self.until {
                return Ok(None);
            }
            self.stack.wait(self.until.min(now + SLICE));
        }
    }
}

/// Why a name has no address, and what to do.
fn unresolved(name: &str, error: ResolveError) -> Failure {
    let remedy = match error {
        ResolveError::NoSuchName => "Check the name, or give an IP address",
        ResolveError::NoAnswer | ResolveError::ServerFailed { .. } => {
            "Check that the DNS server can be reached, or give another with --dns"
        }
        ResolveError::NoServer => "Name one with --dns",
        _ => return Failure::usage(format!("{name:?}: {error}")),
    };
    Failure::ended(Cause::Unreachable, format!("{name:?}: {error}. {remedy}"))
}
