//! Hosts beside the peer: those who answer frames that hold no segment. Everything is written
//! down from the RFCs, octet by octet.

use core::time::Duration;

use lastbyte_sim::loopback::{Direction, OUR_MAC, World};

/// The hardware address of a third host.
pub const THIRD_MAC: [u8; 6] = [2, 0x77, 0, 0, 0, 3];

/// How long an answer takes.
const DELAY: Duration = Duration::from_millis(1);

/// Calls `answer` with each frame of ours. What it returns reaches us a millisecond later.
pub fn answering(world: &World, mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + 'static) {
    world.observe(move |world, event| {
        if event.direction == Direction::ToUs {
            return;
        }
        for frame in answer(event.frame) {
            arrive(world, DELAY, frame);
        }
    });
}

/// A frame of a third host reaches us after this time.
pub fn arrive(world: &World, after: Duration, frame: Vec<u8>) {
    world.at(world.now() + after, move |world| {
        world.inject(Direction::ToUs, frame);
    });
}

pub fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// RFC 1071.
pub fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let sum: u32 = bytes
        .chunks(2)
        .map(|two| u32::from(u16::from_be_bytes([two[0], *two.get(1).unwrap_or(&0)])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    (!u16::try_from(folded).unwrap()).to_be_bytes()
}

/// An Ethernet frame.
pub fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

/// A datagram over IPv4 (RFC 768: without a checksum) from a third host.
pub fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 8).unwrap();
    let [high, low] = (len + 20).to_be_bytes();
    let mut ip = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0];
    ip.extend(from.0);
    ip.extend(to.0);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum);
    for field in [from.1, to.1, len, 0] {
        ip.extend(field.to_be_bytes());
    }
    ip.extend(payload);
    ethernet(OUR_MAC.0, THIRD_MAC, 0x0800, &ip)
}

/// An address of IPv4 and a port.
pub type End = ([u8; 4], u16);

/// A datagram of ours over IPv4 to this port: from where, to where, and what.
pub fn datagram(frame: &[u8], port: u16) -> Option<(End, [u8; 4], Vec<u8>)> {
    if word(frame, 12) != 0x0800 || frame[23] != 17 || word(frame, 36) != port {
        return None;
    }
    let address = |at: usize| frame[at..at + 4].try_into().unwrap();
    let end = 14 + usize::from(word(frame, 16));
    Some((
        (address(26), word(frame, 34)),
        address(30),
        frame[42..end].to_vec(),
    ))
}

/// A message of ICMPv6 with a hop limit of 255, in a frame from `from`.
pub fn icmpv6(from: [u8; 6], source: [u8; 16], to: [u8; 16], message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).unwrap();
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let pseudo = [
        &source[..],
        &to,
        &[0, 0],
        &len.to_be_bytes(),
        &[0, 0, 0, 58],
    ]
    .concat();
    let sum = checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([58, 255]);
    packet.extend(source);
    packet.extend(to);
    packet.extend(message);
    let [.., a, b, c, d] = to;
    let group = [0x33, 0x33, a, b, c, d];
    let link = if to[0] == 0xff { group } else { OUR_MAC.0 };
    ethernet(link, from, 0x86dd, &packet)
}

/// A message of ICMPv6 of ours of this type: source, destination, and all of it.
pub fn icmpv6_of(frame: &[u8], kind: u8) -> Option<([u8; 16], [u8; 16], Vec<u8>)> {
    if word(frame, 12) != 0x86dd || frame[20] != 58 || frame[54] != kind {
        return None;
    }
    let source: [u8; 16] = frame[22..38].try_into().unwrap();
    let to: [u8; 16] = frame[38..54].try_into().unwrap();
    let message = frame[54..54 + usize::from(word(frame, 18))].to_vec();
    let len = u16::try_from(message.len()).unwrap().to_be_bytes();
    let pseudo = [&source[..], &to, &[0, 0], &len, &[0, 0, 0, 58]].concat();
    assert_eq!(checksum(&[&pseudo, &message]), [0, 0], "{frame:02x?}");
    assert_eq!(frame[21], 255, "hop limit");
    Some((source, to, message))
}

/// An ARP message for Ethernet and IPv4 from `from` (RFC 826).
pub fn arp(from: [u8; 6], operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    packet.extend(from);
    packet.extend(sender);
    packet.extend([0; 6]);
    packet.extend(target);
    let to = if operation == 1 { [0xff; 6] } else { OUR_MAC.0 };
    ethernet(to, from, 0x0806, &packet)
}

/// An ARP message of ours: operation, sender, target.
pub fn arp_of(frame: &[u8]) -> Option<(u8, [u8; 4], [u8; 4])> {
    let is_arp = word(frame, 12) == 0x0806;
    let address = |at: usize| frame[at..at + 4].try_into().unwrap();
    is_arp.then(|| {
        assert_eq!(frame[14..20], [0, 1, 8, 0, 6, 4], "Ethernet and IPv4");
        assert_eq!(frame[22..28], OUR_MAC.0, "the sender's hardware address");
        (frame[21], address(28), address(38))
    })
}

/// The options of a DHCP message by their codes.
pub type DhcpOptions = Vec<(u8, Vec<u8>)>;

/// A DHCP message of ours: its type, its number, and its options.
pub fn dhcp_of(frame: &[u8]) -> Option<(u8, u32, DhcpOptions)> {
    let (_, _, message) = datagram(frame, 67)?;
    assert_eq!(message[236..240], [0x63, 0x82, 0x53, 0x63]);
    let number = u32::from_be_bytes(message[4..8].try_into().unwrap());
    let mut options = Vec::new();
    let mut rest = &message[240..];
    while let [code, after @ ..] = rest {
        match code {
            255 => break,
            0 => rest = after,
            _ => {
                let (value, after) = after[1..].split_at(after[0].into());
                options.push((*code, value.to_vec()));
                rest = after;
            }
        }
    }
    let kind = options.iter().find(|(code, _)| *code == 53)?.1[0];
    Some((kind, number, options))
}

/// What a DHCP server lends.
#[derive(Debug, Clone)]
pub struct Lending {
    pub address: [u8; 4],
    pub prefix_len: u8,
    pub router: Option<[u8; 4]>,
    pub dns: Vec<[u8; 4]>,
    pub seconds: u32,
}

/// Who the DHCP server is.
pub const DHCP_SERVER: [u8; 4] = [10, 77, 0, 1];

/// The answer of a DHCP server to a message of ours: an offer (2), an acknowledgement (5), or
/// a refusal (6).
pub fn dhcp_reply(kind: u8, number: u32, lent: &Lending) -> Vec<u8> {
    let mut message = vec![2, 1, 6, 0];
    message.extend(number.to_be_bytes());
    message.extend([0; 8]);
    message.extend(lent.address);
    message.extend(DHCP_SERVER);
    message.extend([0; 4]);
    message.extend(OUR_MAC.0);
    message.resize(236, 0);
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind, 54, 4]);
    message.extend(DHCP_SERVER);
    if kind != 6 {
        let mask = u32::MAX << (32 - lent.prefix_len);
        message.extend([1, 4]);
        message.extend(mask.to_be_bytes());
        message.extend([51, 4]);
        message.extend(lent.seconds.to_be_bytes());
        if let Some(router) = lent.router {
            message.extend([3, 4]);
            message.extend(router);
        }
        for (number, dns) in lent.dns.iter().enumerate() {
            if number == 0 {
                message.extend([6, u8::try_from(lent.dns.len() * 4).unwrap()]);
            }
            message.extend(dns);
        }
    }
    message.push(255);
    udp((DHCP_SERVER, 67), ([255; 4], 68), &message)
}

/// The question in a DNS message (RFC 1035, 4.1.2): the name with dots, and the type.
pub fn question_of(message: &[u8]) -> (String, u16) {
    let mut name = Vec::new();
    let mut at = 12;
    while message[at] != 0 {
        let len = usize::from(message[at]);
        name.push(String::from_utf8(message[at + 1..at + 1 + len].to_vec()).unwrap());
        at += len + 1;
    }
    (name.join("."), word(message, at + 1))
}

/// An answer to a DNS message: the response code, and the records as type and data.
pub fn dns_reply(query: &[u8], code: u8, records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = query[..2].to_vec();
    message.extend([0x81, 0x80 | code, 0, 1]);
    message.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    message.extend([0; 4]);
    message.extend(&query[12..]);
    for (kind, data) in records {
        // The name of the question.
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend(*data);
    }
    message
}
