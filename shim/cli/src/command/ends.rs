//! The two ends of a connection: to whom we can connect, and from which address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockaddrStorage;
use smoltcp::wire::{IpCidr, Ipv4Cidr, Ipv6Cidr};

use super::addresses;
use super::args::Network;
use super::exit::Failure;
use super::target::Target;
use lastbyte_host::namespace;
use lastbyte_host::signals::Signals;

/// Where to connect to, as far as it is known before there is a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An address.
    Known(SocketAddr),
    /// A name that a DNS server of the network resolves.
    Named {
        /// The name.
        name: String,
        /// The port.
        port: u16,
    },
}

impl Destination {
    /// What the peer listens on: any address, if it is not known.
    #[must_use]
    pub const fn listener(&self) -> SocketAddr {
        match self {
            Self::Known(remote) => *remote,
            Self::Named { port, .. } => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port),
        }
    }

    /// Whether its address is, or may turn out to be, one of these.
    #[must_use]
    pub fn may_be(&self, is_it: impl Fn(&IpAddr) -> bool) -> bool {
        match self {
            Self::Known(remote) => is_it(&remote.ip()),
            Self::Named { .. } => true,
        }
    }
}

/// Resolves the target before any namespace is entered, where there would be
/// no resolver, and checks that it can be a peer of ours. A name is left to the network's own
/// DNS servers if one was named, or may be by a lease or a router.
///
/// # Errors
///
/// [`Failure`]: what is wrong with it.
pub fn resolve(
    target: &Target,
    network: &Network,
    signals: &mut Signals,
) -> Result<Destination, Failure> {
    let own = network.own();
    if let Some(name) = target.name().filter(|_| own.has_dns()) {
        return Ok(Destination::Named {
            name: name.to_owned(),
            port: target.port(signals)?,
        });
    }
    let (families, link) = match network {
        Network::Tap { name, .. } => (own.to_string(), name.as_str()),
        Network::Private { .. } => ("the private network".to_owned(), namespace::TAP_NAME),
    };
    let remote = target.resolve(signals, &families, |ip| own.has_version(ip.is_ipv6()))?;
    if let Some(address) = target.scoped_addr() {
        let checked = address.check_link(link, if_nametoindex(link).ok());
        checked.map_err(Failure::usage)?;
    }
    let is_private = matches!(network, Network::Private { .. });
    let checked = match addresses::is_link_local(remote.ip()) && is_private {
        true => Err(format!(
            "{} is a link-local address: these need --tap",
            remote.ip()
        )),
        false => addresses::check_other_host(remote.ip(), &own.fixed),
    };
    checked.map_err(|wrong| Failure::usage(format!("{wrong}. {}", whom_to_call(network))))?;
    Ok(Destination::Known(remote))
}

/// Our addresses in the private network.
pub const PRIVATE: [IpCidr; 2] = [
    IpCidr::Ipv4(Ipv4Cidr::new(namespace::OUR_V4, namespace::PREFIX_V4)),
    IpCidr::Ipv6(Ipv6Cidr::new(namespace::OUR_V6, namespace::PREFIX_V6)),
];

/// How a peer on this machine can be reached.
fn whom_to_call(network: &Network) -> String {
    match network {
        Network::Tap { name, .. } => format!(
            "A peer on this machine is reached at the address of {name} (`ip addr show {name}`)"
        ),
        Network::Private { .. } => format!(
            "The peer is reached at {} and {}",
            namespace::KERNEL_V4,
            namespace::KERNEL_V6
        ),
    }
}

/// Checks that no interface of this machine has our address on the link of `tap`: the
/// kernel would answer for it, and receive our segments.
///
/// # Errors
///
/// [`Failure::Usage`], which names the interface.
pub fn check_free(addr: IpCidr, tap: &str) -> Result<(), Failure> {
    // If the list cannot be read, the address is not known to be wrong.
    let Ok(interfaces) = getifaddrs() else {
        return Ok(());
    };
    let ip = IpAddr::from(addr.address());
    let has_it = |address: &SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()));
        v4.or(v6) == Some(ip)
    };
    // The same link-local address on another link is a different address.
    let is_meant = |name: &str| name == tap || !addresses::is_link_local(ip);
    for interface in interfaces.filter(|interface| is_meant(&interface.interface_name)) {
        if interface.address.as_ref().is_some_and(has_it) {
            let example = addresses::beside(addr);
            let example = example.map_or(String::new(), |free| format!(", such as {free}"));
            return Err(Failure::usage(format!(
                "--addr {addr} is the address of {} itself, the kernel's end of the cable. \
                 Ours must be another address of that network{example}",
                interface.interface_name
            )));
        }
    }
    Ok(())
}
