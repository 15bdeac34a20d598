//! The header in front of frames, without a kernel.

use super::*;
use lastbyte_sim::loopback::{Flags, OUR_V4, OUR_V6, PEER_V4, PEER_V6, Segment};
use smoltcp::wire::{Ipv4Packet, TcpPacket};

const NO_WORD: [u8; HEADER_LEN] = [0; HEADER_LEN];
/// The offset of TCP after Ethernet and IPv4, in the byte order of this machine.
const V4_AT: u16 = 34;

fn segment(len: usize) -> Segment {
    let payload: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
    Segment::new(5000, 50_000, Flags::ACK, 1, 2).with_payload(payload)
}

fn v4() -> Vec<u8> {
    segment(100).to_frame(Medium::Ethernet)
}

fn v6() -> Vec<u8> {
    let mut segment = segment(100);
    (segment.src, segment.dst) = (PEER_V6.into(), OUR_V6.into());
    segment.to_frame(Medium::Ethernet)
}

fn needs_checksum(at: u16) -> [u8; HEADER_LEN] {
    let mut header = NO_WORD;
    header[0] = F_NEEDS_CSUM;
    header[6..8].copy_from_slice(&at.to_ne_bytes());
    header[8..10].copy_from_slice(&16_u16.to_ne_bytes());
    header
}

fn is_sound(header: [u8; HEADER_LEN], frame: &[u8]) -> bool {
    Arrival::read(&header).is_some_and(|arrival| arrival.is_sound(frame))
}

#[test]
fn a_checksum_that_the_kernel_has_not_verified_is_verified() {
    for frame in [v4(), v6()] {
        assert!(is_sound(NO_WORD, &frame));
        // After the Ethernet header, whose addresses no checksum covers. The version
        // decides where a checksum is.
        for at in 15..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x10;
            let taken = is_sound(NO_WORD, &damaged)
                && matches!(look(Medium::Ethernet, &damaged), Content::Transport(_));
            // Traffic class, flow label and hop limit of IPv6.
            let is_unsummed = frame[12] == 0x86 && matches!(at, 15..=17 | 21);
            assert_eq!(taken, is_unsummed, "octet {at}");
        }
    }
}

#[test]
fn a_checksum_that_the_kernel_has_verified_is_not_verified_again() {
    let mut frame = v4();
    frame[60] ^= 1;
    let mut valid = NO_WORD;
    valid[0] = F_DATA_VALID;
    assert!(!is_sound(NO_WORD, &frame));
    assert!(is_sound(valid, &frame));
    assert!(is_sound(needs_checksum(V4_AT), &frame));
    // The kernel has verified something else in the frame.
    assert!(!is_sound(needs_checksum(V4_AT + 8), &frame));
}

#[test]
fn the_kernel_does_not_verify_an_ip_header() {
    let mut frame = v4();
    frame[22] ^= 1;
    assert!(!is_sound(needs_checksum(V4_AT), &frame));
}

#[test]
fn fragments_and_frames_that_were_not_requested_are_dropped() {
    let mut piece = v4();
    let mut ip = Ipv4Packet::new_unchecked(&mut piece[14..]);
    ip.set_more_frags(true);
    ip.fill_checksum();
    assert!(!is_sound(NO_WORD, &piece));

    for (kind, is_known) in [
        (GSO_NONE, true),
        (GSO_TCPV4, true),
        (GSO_TCPV6 | GSO_ECN, true),
        (3, false),
        (5, false),
    ] {
        let mut header = needs_checksum(V4_AT);
        header[1] = kind;
        assert_eq!(is_sound(header, &v4()), is_known, "{kind}");
    }
}

#[test]
fn other_frames_pass_and_a_truncated_header_is_none() {
    let mut arp = v4();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert!(is_sound(NO_WORD, &arp));
    assert!(is_sound(NO_WORD, &[]));
    assert_eq!(Arrival::read(&NO_WORD[1..]), None);
}

#[test]
fn a_frame_to_segment_has_the_parameters_in_its_header() {
    let mut frame = segment(4000).to_frame(Medium::Ethernet);
    let mut header = [0xff; HEADER_LEN];
    prepare(&mut header, &mut frame, NonZeroU16::new(1460));
    let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    assert_eq!((header[0], header[1]), (F_NEEDS_CSUM, GSO_TCPV4));
    assert_eq!([2, 4, 6, 8].map(number), [54, 1460, V4_AT, 16]);

    // The sum of the pseudo header, so that the sum over the segment, put in
    // its place, is the checksum.
    let octets = &frame[34..];
    let of_rest = smoltcp::wire::checksum::data(octets);
    let mut completed = octets.to_vec();
    TcpPacket::new_unchecked(&mut completed[..]).set_checksum(!of_rest);
    let tcp = TcpPacket::new_unchecked(&completed[..]);
    assert!(tcp.verify_checksum(&PEER_V4.into(), &OUR_V4.into()));
}

#[test]
fn a_short_frame_only_gets_a_checksum_and_what_is_not_tcp_is_not_changed() {
    let mut frame = v6();
    let mut header = [0xff; HEADER_LEN];
    prepare(&mut header, &mut frame, None);
    let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    assert_eq!((header[0], header[1]), (F_NEEDS_CSUM, GSO_NONE));
    assert_eq!([4, 6, 8].map(number), [0, 54, 16]);

    let mut arp = v4();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let before = arp.clone();
    let mut header = [0xff; HEADER_LEN];
    prepare(&mut header, &mut arp, None);
    assert_eq!((header, arp), (NO_WORD, before));

    // Without offload there is no header, and nothing to do.
    let mut frame = v4();
    prepare(&mut [], &mut frame, None);
    assert_eq!(frame, v4());
}

/// smoltcp only omits checksums that are announced as offloaded, and fills the frames to
/// segment with full segments.
#[test]
fn announced_lengths_fit_an_ip_packet() {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    for mtu in [68, 576, 1500, 9000, 65_535] {
        capabilities.max_transmission_unit = mtu + ETHERNET_HEADER_LEN;
        Offload::Segmentation.announce(&mut capabilities);
        let largest = capabilities.segmentation.tcpv4.unwrap().get();
        assert!(largest <= ETHERNET_HEADER_LEN + MAX_IP_LEN, "{mtu}");
        assert!(largest >= mtu + ETHERNET_HEADER_LEN, "{mtu}");
        assert_eq!((largest - 54) % (mtu - 40), 0, "{mtu}");
    }
    assert!(!capabilities.checksum.tcp.tx() && !capabilities.checksum.tcp.rx());
    assert!(capabilities.checksum.ipv4.tx() && capabilities.checksum.udp.tx());
}
