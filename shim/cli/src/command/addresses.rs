//! IP addresses as users write them, and what they can be used for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

/// The link-local network (RFC 4291, 2.5.6).
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

/// An IP address, with its link if that was named (RFC 4007, 11).
///
/// An IPv4 address written as an IPv6 one (`::ffff:10.0.0.1`) is that IPv4 address.
///
/// ```
/// use lastbyte_cli::command::addresses::ScopedAddr;
///
/// assert!("10.0.0.1".parse::<ScopedAddr>().is_ok());
/// assert!("fe80::1%tap0".parse::<ScopedAddr>().is_ok());
/// assert!("fd00::1%tap0".parse::<ScopedAddr>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopedAddr {
    /// The address.
    pub ip: IpAddr,
    /// The interface, by its name or index. Only link-local addresses have one.
    pub zone: Option<String>,
}

impl FromStr for ScopedAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, zone) = match text.split_once('%') {
            None => (text, None),
            Some((address, zone)) => (address, Some(zone)),
        };
        let ip: IpAddr = address
            .parse()
            .map_err(|_| format!("{address:?} is not an IP address"))?;
        match zone {
            Some("") => return Err(format!("the name of the interface is missing after {text}")),
            Some(zone) if !is_link_local(ip) => {
                return Err(format!(
                    "only link-local addresses (fe80::/10) belong to one interface; \
                     write {address} without %{zone}"
                ));
            }
            _ => {}
        }
        Ok(Self {
            ip: ip.to_canonical(),
            zone: zone.map(str::to_owned),
        })
    }
}

impl fmt::Display for ScopedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            None => self.ip.fmt(f),
            Some(zone) => write!(f, "{}%{zone}", self.ip),
        }
    }
}

impl ScopedAddr {
    /// Checks that the link that it names, if any, is the one that is used.
    ///
    /// # Errors
    ///
    /// It is another link: what is wrong.
    pub fn check_link(&self, name: &str, index: Option<u32>) -> Result<(), String> {
        let is_it = |zone: &str| zone == name || (index.is_some() && zone.parse().ok() == index);
        match &self.zone {
            Some(zone) if !is_it(zone) => Err(format!(
                "{self} is on the link of {zone}, and the connection goes over {name}"
            )),
            _ => Ok(()),
        }
    }
}

/// Whether an address is valid on one link only.
#[must_use]
pub const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Checks that `ip` can be the address of one other host, for us with the addresses
/// `own`.
///
/// # Errors
///
/// What the address is.
pub fn check_other_host(ip: IpAddr, own: &[IpCidr]) -> Result<(), String> {
    if own.iter().any(|own| own.address() == ip.into()) {
        return Err(format!("{ip} is our own address; the peer needs another"));
    }
    if ip.is_loopback() {
        return Err(format!(
            "{ip} is the loopback address, at which every machine reaches only itself"
        ));
    }
    if ip.is_unspecified() {
        return Err(format!(
            "{ip} means \"any address\" and is not the address of one host"
        ));
    }
    if ip.is_multicast() {
        return Err(format!("{ip} is the address of a group, not of one host"));
    }
    let IpAddr::V4(v4) = ip else { return Ok(()) };
    if v4.is_broadcast() {
        return Err(format!(
            "{ip} is the broadcast address, not the address of one host"
        ));
    }
    for own in own {
        let IpCidr::Ipv4(own) = own else { continue };
        let is_inside = own.contains_addr(&v4);
        if let (true, Some(what)) = (is_inside, not_a_host(v4, own.prefix_len())) {
            let network = own.network();
            return Err(format!(
                "{ip} is the {what} of {network}, not the address of one host"
            ));
        }
    }
    Ok(())
}

/// What the first and the last address of a network mean. Point-to-point links (RFC 3021)
/// and single hosts have neither.
fn not_a_host(v4: Ipv4Addr, prefix_len: u8) -> Option<&'static str> {
    let host_bits = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
    match v4.to_bits() & host_bits {
        _ if prefix_len >= 31 => None,
        0 => Some("address of the network"),
        host if host == host_bits => Some("broadcast address"),
        _ => None,
    }
}

/// Parses our own address with its prefix: `10.0.0.2/24`, `fd00::2/64`.
///
/// ```
/// use lastbyte_cli::command::addresses::parse_cidr;
///
/// assert!(parse_cidr("10.0.0.2/24").is_ok());
/// assert!(parse_cidr("10.0.0.2").is_err());
/// assert!(parse_cidr("10.0.0.0/24").is_err());
/// ```
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_cidr(text: &str) -> Result<IpCidr, String> {
    let (address, prefix) = text
        .split_once('/')
        .ok_or("the prefix length is missing, as in 10.0.0.2/24")?;
    if let Some((address, zone)) = address.split_once('%') {
        return Err(format!(
            "write {address}/{prefix} without %{zone}: --tap names the link"
        ));
    }
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("{address:?} is not an IP address"))?;
    if address.to_canonical() != address {
        return Err(format!(
            "write the IPv4 address: {}",
            address.to_canonical()
        ));
    }
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix.parse() {
        Ok(prefix @ 1..) if prefix <= longest => prefix,
        _ => return Err(format!("the prefix length is 1 to {longest}")),
    };
    let is_group = match address {
        IpAddr::V4(v4) => not_a_host(v4, prefix).is_some(),
        // All routers of a network have its first address (RFC 4291, 2.6.1).
        IpAddr::V6(v6) => prefix < 127 && v6.to_bits() << prefix == 0,
    };
    if is_group || check_other_host(address, &[]).is_err() {
        return Err("this is not the address of one host; give ours, as in 10.0.0.2/24".to_owned());
    }
    Ok(IpCidr::new(address.into(), prefix))
}

/// Our addresses on a link: the requested one and, for IPv6, a link-local one (RFC 4291,
/// 2.8), to talk to a router or a peer with such an address.
#[must_use]
pub fn with_link_local(own: IpCidr, hardware_addr: EthernetAddress) -> Vec<IpCidr> {
    match own.address() {
        IpAddress::Ipv6(v6) if !v6.is_unicast_link_local() => {
            let link_local = hardware_addr.as_eui_64().map(|id| {
                let bits = LINK_LOCAL.to_bits() | u128::from(u64::from_be_bytes(id));
                IpCidr::new(Ipv6Addr::from_bits(bits).into(), 64)
            });
            [Some(own), link_local].into_iter().flatten().collect()
        }
        _ => vec![own],
    }
}

/// Another address than `taken` in the same network, as an example.
#[must_use]
pub fn beside(taken: IpCidr) -> Option<IpCidr> {
    let prefix = taken.prefix_len();
    let candidates = match IpAddr::from(taken.address()) {
        IpAddr::V4(v4) => [1, u32::MAX]
            .map(|step| v4.to_bits().wrapping_add(step))
            .map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))),
        IpAddr::V6(v6) => [1, u128::MAX]
            .map(|step| v6.to_bits().wrapping_add(step))
            .map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))),
    };
    let is_free = |ip: &IpAddr| {
        taken.contains_addr(&(*ip).into()) && parse_cidr(&format!("{ip}/{prefix}")).is_ok()
    };
    let free = candidates.into_iter().find(is_free)?;
    Some(IpCidr::new(free.into(), prefix))
}
