//! Reads frames with smoltcp's parsers alone, not with those under test.

use lastbyte_sim::loopback::OUR_MAC;
use smoltcp::phy::Medium;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, IpAddress, IpEndpoint, IpProtocol, Ipv4Packet, Ipv6Packet,
    TcpPacket,
};

/// A TCP segment that may count: with right checksums, not fragmented, over an IP version
/// that the crate under test was built for.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub from: IpEndpoint,
    pub to: IpEndpoint,
    pub seq: u32,
    pub ack: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub window: u16,
    /// Octets of payload.
    pub text: u32,
    /// Whether nothing about it is unusual, so that every correct stack accepts it.
    pub plain: bool,
}

impl Seen {
    /// Octets of sequence space.
    pub fn len(&self) -> u32 {
        self.text + u32::from(self.syn) + u32::from(self.fin)
    }

    /// Combinations of bits that nothing sends (RFC 9293, 3.10.7, has no rule
    /// for them).
    pub fn is_nonsense(&self) -> bool {
        u8::from(self.syn) + u8::from(self.fin) + u8::from(self.rst) > 1
    }
}

/// Whether the crate under test was built for this version of IP. What smoltcp was
/// built for does not matter.
pub const fn is_built_for(address: IpAddress) -> bool {
    match address {
        IpAddress::Ipv4(_) => cfg!(feature = "proto-ipv4"),
        IpAddress::Ipv6(_) => cfg!(feature = "proto-ipv6"),
    }
}

/// The segment in a frame, if its checksums are right and it is for our end, or from it.
pub fn see(medium: Medium, frame: &[u8]) -> Option<Seen> {
    if medium == Medium::Ip {
        return see_packet(frame, true);
    }
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let to = ethernet.dst_addr();
    // Ours, or sent by us.
    let is_unicast = to == OUR_MAC || ethernet.src_addr() == OUR_MAC;
    if !is_unicast && !to.is_multicast() && to != EthernetAddress::BROADCAST {
        return None;
    }
    match <[u8; 2]>::try_from(frame.get(12..14)?).ok()? {
        [0x08, 0x00] | [0x86, 0xdd] => see_packet(ethernet.payload(), is_unicast),
        _ => None,
    }
}

fn see_packet(packet: &[u8], plain: bool) -> Option<Seen> {
    match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            if ip.next_header() != IpProtocol::Tcp || !ip.verify_checksum() {
                return None;
            }
            if ip.more_frags() || ip.frag_offset() > 0 {
                // A fragment of TCP does not count.
                return None;
            }
            let plain = plain && ip.header_len() == 20;
            let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
            see_segment(from, to, ip.payload(), plain)
        }
        6 => see_ipv6(packet, plain),
        _ => None,
    }
}

fn see_ipv6(packet: &[u8], plain: bool) -> Option<Seen> {
    let ip = Ipv6Packet::new_checked(packet).ok()?;
    let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
    let mut payload = ip.payload();
    let mut header = ip.next_header();
    let mut plain = plain;
    // With any number of extension headers.
    for _ in 0..8 {
        match header {
            IpProtocol::Tcp => return see_segment(from, to, payload, plain),
            // As above.
            IpProtocol::Ipv6Frag => return None,
            _ => {}
        }
        plain = false;
        let (&next, &len) = (payload.first()?, payload.get(1)?);
        header = next.into();
        payload = payload.get(8 + 8 * usize::from(len)..)?;
    }
    None
}

fn see_segment(from: IpAddress, to: IpAddress, octets: &[u8], plain: bool) -> Option<Seen> {
    let tcp = TcpPacket::new_checked(octets).ok()?;
    if !tcp.verify_checksum(&from, &to) || tcp.src_port() == 0 || tcp.dst_port() == 0 {
        return None;
    }
    Some(Seen {
        from: IpEndpoint::new(from, tcp.src_port()),
        to: IpEndpoint::new(to, tcp.dst_port()),
        seq: tcp.seq_number().0 as u32,
        ack: tcp.ack().then_some(tcp.ack_number().0 as u32),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        window: tcp.window_len(),
        text: tcp.payload().len() as u32,
        // Options are read with smoltcp's own rules; our segments have none of them.
        plain: plain && (tcp.syn() || tcp.header_len() == 20) && !tcp.urg(),
    })
}
