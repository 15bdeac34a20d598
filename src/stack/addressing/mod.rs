//! Where our addresses come from, and names of other hosts: leases of DHCP, prefixes of routers,
//! duplicate address detection, DNS.
//!
//! What is decided is in files that neither send nor know the interface: [`claims`],
//! [`routers`], [`lease`], [`lookup`]. [`serve`] carries it out in each poll of a
//! [`Tracker`](super::Tracker), [`names`] queries DNS servers, and [`blocking`] has the calls of a
//! [`Stack`](super::Stack) that wait for a result.

#[cfg(feature = "address-conflicts")]
use crate::Instant;

#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
mod blocking;
#[cfg(all(feature = "dhcpv4", feature = "address-conflicts"))]
mod bootp;
#[cfg(feature = "address-conflicts")]
pub(super) mod claims;
#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
mod error;
#[cfg(feature = "dhcpv4")]
pub(super) mod lease;
#[cfg(feature = "dhcpv4")]
mod leases;
#[cfg(feature = "dns")]
pub(super) mod lookup;
#[cfg(feature = "dns")]
mod names;
#[cfg(feature = "slaac")]
pub(super) mod routers;
mod serve;

#[cfg(feature = "address-conflicts")]
pub use claims::Conflict;
#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
pub use error::AddressError;
#[cfg(feature = "dhcpv4")]
pub use lease::{Lease, LeaseChange, LeaseError};
#[cfg(feature = "dns")]
pub use lookup::{Lookup, ResolveError};

#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
/// What is known of our addresses and of where they come from.
#[derive(Debug)]
pub(super) struct Addressing {
    #[cfg(feature = "address-conflicts")]
    claims: claims::Claims,
    #[cfg(feature = "slaac")]
    routers: routers::Routers,
    #[cfg(feature = "dhcpv4")]
    dhcp: Option<lease::Client>,
    #[cfg(feature = "dns")]
    names: Option<lookup::Names>,
    /// When something is due of the two above by itself.
    #[cfg(feature = "address-conflicts")]
    due: Instant,
    /// How many sockets the set has room for.
    #[cfg(any(feature = "dhcpv4", feature = "dns"))]
    pub(super) socket_places: usize,
}

#[cfg(any(feature = "address-conflicts", feature = "dhcpv4", feature = "dns"))]
impl Addressing {
    pub(super) const fn new() -> Self {
        Self {
            #[cfg(feature = "address-conflicts")]
            claims: claims::Claims::new(),
            #[cfg(feature = "slaac")]
            routers: routers::Routers::new(),
            #[cfg(feature = "dhcpv4")]
            dhcp: None,
            #[cfg(feature = "dns")]
            names: None,
            #[cfg(feature = "address-conflicts")]
            due: Instant::NEVER,
            #[cfg(any(feature = "dhcpv4", feature = "dns"))]
            socket_places: 0,
        }
    }
}
