//! Both ends of a connection, converted between smoltcp's types and the guard's.

use crate::guard::flow::{Addresses, Flow};
use smoltcp::wire::{IpAddress, IpEndpoint};

/// Both ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) local: IpEndpoint,
    pub(super) remote: IpEndpoint,
}

impl Ends {
    /// The flow of the segments that arrive at the local end. `None` if the addresses differ
    /// in their IP version, or lastbyte was built without it.
    pub(super) fn arriving(&self) -> Option<Flow> {
        let ports = [self.remote.port, self.local.port];
        Some(Flow {
            addresses: between(self.remote.addr, self.local.addr)?,
            ports: ports.map(u16::to_be_bytes),
        })
    }
}

/// The addresses of a packet from the first to the second, if both have the same version
/// and lastbyte was built with it.
pub(super) fn between(from: IpAddress, to: IpAddress) -> Option<Addresses> {
    match (from, to) {
        #[cfg(feature = "proto-ipv4")]
        (IpAddress::Ipv4(from), IpAddress::Ipv4(to)) => {
            Some(Addresses::V4([from.octets(), to.octets()]))
        }
        #[cfg(feature = "proto-ipv6")]
        (IpAddress::Ipv6(from), IpAddress::Ipv6(to)) => {
            Some(Addresses::V6([from.octets(), to.octets()]))
        }
        #[allow(unreachable_patterns, reason = "there may be only one version")]
        _ => None,
    }
}

/// Our end of a connection whose segments arrive in this flow.
pub(super) fn local_end(flow: &Flow) -> IpEndpoint {
    IpEndpoint {
        addr: match flow.addresses {
            #[cfg(feature = "proto-ipv4")]
            Addresses::V4([_, to]) => IpAddress::Ipv4(to.into()),
            #[cfg(feature = "proto-ipv6")]
            Addresses::V6([_, to]) => IpAddress::Ipv6(to.into()),
        },
        port: flow.local_port(),
    }
}

/// The peer's end of such a connection.
pub(super) fn remote_end(flow: &Flow) -> IpEndpoint {
    local_end(&flow.reversed())
}
