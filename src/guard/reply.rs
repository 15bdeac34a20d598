//! Why a name server has no address for a name (RFC 1035, 4.1.1). A stack reports only that
//! it has none.

use super::wire::layout::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, Medium};

const PROTOCOL_UDP: u8 = 17;
const DNS_PORT: [u8; 2] = 53_u16.to_be_bytes();

/// What a name server has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// That of the question: see [`question`].
    pub(crate) question: u32,
    /// The response code: 0 is success, 3 is that there is no such name.
    pub(crate) code: u8,
}

/// A hash (FNV-1a) of a question: a name as labels, and a type. Upper case and lower case are
/// the same (RFC 4343).
pub(crate) fn question<'l>(labels: impl Iterator<Item = &'l [u8]>, kind: [u8; 2]) -> u32 {
    let mut hash = of_name(labels);
    add(&mut hash, &kind);
    hash
}

fn of_name<'l>(labels: impl Iterator<Item = &'l [u8]>) -> u32 {
    let mut hash = 0x811c_9dc5;
    for label in labels {
        add(&mut hash, label);
        // In no name of a host.
        add(&mut hash, b".");
    }
    hash
}

fn add(hash: &mut u32, octets: &[u8]) {
    for octet in octets {
        *hash ^= u32::from(octet.to_ascii_lowercase());
        *hash = hash.wrapping_mul(0x0100_0193);
    }
}

/// Reads the answer of a name server in a frame. The stack decides whether it is one to a
/// question of ours: checksum, numbers and source are not checked here.
pub(crate) fn read(medium: Medium, frame: &[u8]) -> Option<Reply> {
    let packet = frame.get(medium.header_len()..)?;
    let datagram = match packet.first()? >> 4 {
        4 if packet.get(9) == Some(&PROTOCOL_UDP) => {
            let words = usize::from(packet.first()? & 0x0f);
            packet.get(words.saturating_mul(4).max(IPV4_HEADER_LEN)..)?
        }
        6 if packet.get(6) == Some(&PROTOCOL_UDP) => packet.get(IPV6_HEADER_LEN..)?,
        _ => return None,
    };
    let (ports, message) = datagram.split_first_chunk::<8>()?;
    let [from @ .., _, _, _, _, _, _] = *ports;
    let (head, mut rest) = message.split_first_chunk::<12>()?;
    let [_, _, flags, more, 0, 1, ..] = *head else {
        return None;
    };
    if from != DNS_PORT || flags & 0x80 == 0 {
        return None;
    }
    let labels = core::iter::from_fn(|| {
        let (len, after) = rest.split_first()?;
        // A question is the first of its message, so that it refers to no name before it.
        let (label, after) = after.split_at_checked(usize::from(*len & 0x3f))?;
        rest = after;
        Some(label).filter(|label| !label.is_empty())
    });
    let mut question = of_name(labels);
    add(&mut question, rest.first_chunk::<2>()?);
    Some(Reply {
        question,
        code: more & 0x0f,
    })
}
