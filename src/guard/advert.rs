//! What a router advertises: RFC 4861, 4.2 and 6.1.2, and the options of RFC 8106.

use super::wire::ndp::{options, read_ndp};
use super::wire::neighbour::{
    ALL_ROUTERS, Frame, NdpMessage, ROUTER_SOLICITATION, link_group, ndp,
};

/// The type of a Router Advertisement.
const ROUTER_ADVERTISEMENT: u8 = 134;
// Types of its options.
const PREFIX: u8 = 3;
const SERVERS: u8 = 25;

/// How many prefixes of one message are read, and how many DNS servers.
pub(crate) const PREFIXES: usize = 2;
pub(crate) const DNS_SERVERS: usize = 2;

/// A prefix for addresses of ours (RFC 4861, 4.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The first half of the addresses.
    pub(crate) octets: [u8; 8],
    /// Whether the other addresses with this prefix are on our link.
    pub(crate) is_on_link: bool,
    /// How long an address is valid, and how long one is to be used for new connections, in
    /// seconds; all ones has no end.
    pub(crate) valid_s: u32,
    pub(crate) preferred_s: u32,
}

/// What a router says of itself and of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advertisement {
    /// Its link-local address.
    pub(crate) router: [u8; 16],
    /// How long it is a default router, in seconds; 0 if it is none.
    pub(crate) lifetime_s: u16,
    pub(crate) prefixes: [Option<Prefix>; PREFIXES],
    pub(crate) servers: [Option<[u8; 16]>; DNS_SERVERS],
    /// How long the servers may be used, in seconds; 0 if they may not.
    pub(crate) servers_s: u32,
}

/// Reads a Router Advertisement. One that is not from a link-local address, or has a malformed
/// option, is none (RFC 4861, 6.1.2).
pub(crate) fn read(frame: &[u8]) -> Option<Advertisement> {
    let packet = read_ndp(frame)?;
    let [0xfe, 0x80..=0xbf, ..] = packet.source else {
        return None;
    };
    if packet.kind != ROUTER_ADVERTISEMENT {
        return None;
    }
    let ([_, _, lifetime @ .., _, _, _, _, _, _, _, _], rest) =
        packet.body.split_first_chunk::<12>()?;
    let mut advertisement = Advertisement {
        router: packet.source,
        lifetime_s: u16::from_be_bytes(*lifetime),
        prefixes: [None; PREFIXES],
        servers: [None; DNS_SERVERS],
        servers_s: 0,
    };
    for (kind, option) in options(rest)? {
        match kind {
            PREFIX => put(&mut advertisement.prefixes, read_prefix(option)),
            SERVERS => read_servers(&mut advertisement, option),
            _ => {}
        }
    }
    Some(advertisement)
}

/// Puts something into the first free place, if there is one.
fn put<T>(places: &mut [Option<T>], item: Option<T>) {
    if let Some(place) = places.iter_mut().find(|place| place.is_none()) {
        *place = item;
    }
}

/// A prefix that a host may make addresses with (RFC 4862, 5.5.3: a to d). Its length and that
/// of an interface identifier (RFC 4291, 2.5.1) make an address.
fn read_prefix(option: &[u8]) -> Option<Prefix> {
    let head = option.first_chunk::<32>()?;
    let ([_, 4, 64, flags, times @ .., _, _, _, _], prefix) = head.split_first_chunk::<16>()?
    else {
        return None;
    };
    let [valid, preferred] = *times.as_chunks::<4>().0.first_chunk::<2>()?;
    let [valid_s, preferred_s] = [valid, preferred].map(u32::from_be_bytes);
    let octets = *prefix.first_chunk::<8>()?;
    let is_usable = flags & 0x40 != 0
        && preferred_s <= valid_s
        // A link-local prefix, groups, and no prefix at all.
        && !matches!(octets, [0xfe, 0x80..=0xbf, ..] | [0xff, ..] | [0, 0, 0, 0, 0, 0, 0, 0]);
    is_usable.then_some(Prefix {
        octets,
        is_on_link: flags & 0x80 != 0,
        valid_s,
        preferred_s,
    })
}

/// RFC 8106, 5.1.
fn read_servers(advertisement: &mut Advertisement, option: &[u8]) {
    let Some((&[_, _, _, _, a, b, c, d], addresses)) = option.split_first_chunk::<8>() else {
        return;
    };
    advertisement.servers_s = u32::from_be_bytes([a, b, c, d]);
    for address in addresses.as_chunks::<16>().0 {
        if !matches!(address, [0xff, ..]) {
            put(&mut advertisement.servers, Some(*address));
        }
    }
}

/// Requests an advertisement from the routers of the link (RFC 4861, 4.1), from our link-local address.
pub(crate) fn solicitation(mac: [u8; 6], source: [u8; 16]) -> Frame {
    let message = NdpMessage {
        kind: ROUTER_SOLICITATION,
        flags: 0,
        target: None,
        link: Some((1, mac)),
    };
    ndp(link_group(ALL_ROUTERS), mac, source, ALL_ROUTERS, message)
}
