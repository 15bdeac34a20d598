//! Paths that carry smaller packets than our device: what limits ours, and when.

use crate::common::devices::Checking;
use crate::common::frames::{too_big, with_options};
use crate::common::*;
use embedded_io::Write;
use lastbyte::core::{Action, Icmp};
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::phy::{Checksum, ChecksumCapabilities, Medium};
use lastbyte::stack::smoltcp::wire::{IpAddress, IpEndpoint, Ipv4Address, Ipv4Packet, Ipv6Address};
use lastbyte::{Advice, Options, State};
use lastbyte_sim::loopback::{
    Direction, Flags, Flow, Handshake, OUR_V4, OUR_V6, PEER_V4, PEER_V6, RawPeer, Segment, World,
    WorldConfig,
};
use std::cell::RefCell;
use std::rc::Rc;

/// The port at which our end listens.
const OURS: u16 = 7_000;

/// A host beyond our IPv6 link.
const FAR_V6: Ipv6Address = Ipv6Address::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// On our link, but with another first half than our address.
const HALF_V6: Ipv6Address = Ipv6Address::new(0xfd77, 0, 0, 1, 0, 0, 0, 1);

/// The end that opens the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opener {
    We,
    Peer,
}

fn ours(peer: IpAddress) -> IpAddress {
    match peer {
        IpAddress::Ipv4(_) => OUR_V4.into(),
        IpAddress::Ipv6(_) => OUR_V6.into(),
    }
}

fn router(peer: IpAddress) -> IpAddress {
    match peer {
        IpAddress::Ipv4(_) => Ipv4Address::new(10, 77, 0, 254).into(),
        IpAddress::Ipv6(_) => Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, 254).into(),
    }
}

/// A connection opened by `opener`; the peer's SYN has these options.
struct Case {
    us: Us<1>,
    id: ConnectionId,
    raw: RawPeer,
    flow: Flow,
}

impl Case {
    #[track_caller]
    fn open(
        medium: Medium,
        peer: IpAddress,
        opener: Opener,
        syn_options: &[u8],
        options: Options,
    ) -> Self {
        let world = World::new(WorldConfig {
            medium,
            mtu: match medium {
                Medium::Ethernet => 1_514,
                Medium::Ip => 1_500,
            },
            ..WorldConfig::instant()
        });
        let raw = world.raw();
        let mut us = Us::<1>::sized(&world, 8_192, RX);
        let routes = us.stack.interface_mut().routes_mut();
        routes.add_default_ipv6_route(PEER_V6).expect("room");
        let id = match opener {
            Opener::We => us.stack.connect((peer, PORT), options).expect("a route"),
            Opener::Peer => us.stack.listen(OURS, options).expect("a slot"),
        };
        let (port, ack) = match opener {
            Opener::We => {
                us.stack.run_for(ms(10));
                let syn = raw.recv();
                assert_eq!(syn.flags, Flags::SYN);
                (syn.src_port, Some(syn.seq.wrapping_add(1)))
            }
            Opener::Peer => (OURS, None),
        };
        let mut flow = Flow {
            local: IpEndpoint::new(peer, PORT),
            remote: IpEndpoint::new(ours(peer), port),
            isn: 1_000,
            remote_isn: 0,
            seq: 1_000,
            ack: ack.unwrap_or(0),
            window: u16::MAX,
        };
        let flags = match ack {
            Some(_) => Flags::SYN | Flags::ACK,
            None => Flags::SYN,
        };
        raw.send_frame(with_options(&flow.segment(flags), medium, syn_options));
        us.stack.run_for(ms(20));
        flow.seq += 1;
        let answer = raw.recv();
        if opener == Opener::Peer {
            assert_eq!(answer.flags, Flags::SYN | Flags::ACK);
            flow.ack = answer.seq.wrapping_add(1);
            raw.send(&flow.ack());
            us.stack.poll();
        }
        assert_eq!(us.state(id), State::Open);
        Self { us, id, raw, flow }
    }

    /// Writes this much, and acknowledges each segment. Returns the sizes of all.
    #[track_caller]
    fn sizes(&mut self, len: usize) -> Vec<usize> {
        self.us.write(self.id, len);
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < len {
            let segment = self.raw.recv();
            assert_eq!(segment.seq, self.flow.ack, "{segment}");
            sizes.push(segment.payload.len());
            self.flow.take(segment.seq_len());
            self.raw.send(&self.flow.ack());
            self.us.stack.poll();
        }
        assert_eq!(self.us.ledger(self.id).pending(), 0);
        sizes
    }

    #[track_caller]
    fn largest(&mut self) -> usize {
        self.sizes(6_000).into_iter().max().expect("some")
    }
}

const MSS: [u8; 4] = [2, 4, 0x05, 0xb4];

/// The maximum that the device has room for.
fn room(peer: IpAddress) -> usize {
    match peer {
        IpAddress::Ipv4(_) => 1_460,
        IpAddress::Ipv6(_) => 1_440,
    }
}

/// Every way to open a connection, with the peer's address.
fn each(mut test: impl FnMut(Medium, IpAddress, Opener)) {
    for medium in [Medium::Ethernet, Medium::Ip] {
        for peer in [PEER_V4.into(), PEER_V6.into(), FAR_V6.into()] {
            for opener in [Opener::We, Opener::Peer] {
                test(medium, peer, opener);
            }
        }
    }
}

#[test]
fn no_segment_has_more_octets_than_the_option() {
    for most in [48, 536, 1_220, 1_240, 1_459] {
        let wanted = options(|o| o.max_segment(most));
        each(|medium, peer, opener| {
            let largest = Case::open(medium, peer, opener, &MSS, wanted).largest();
            let most = usize::from(most).min(room(peer));
            assert_eq!(largest, most, "{peer}, {medium:?}, {opener:?}");
        });
    }
}

/// More than the peer accepts is not sent either.
#[test]
fn the_limit_of_the_peer_counts_too() {
    let wanted = options(|o| o.max_segment(1_300));
    each(|medium, peer, opener| {
        let names_100 = [2, 4, 0, 100];
        let largest = Case::open(medium, peer, opener, &names_100, wanted).largest();
        assert_eq!(largest, 100, "{peer}, {medium:?}, {opener:?}");
    });
}

/// RFC 8200, 5: segments to a host beyond our link are no larger than every path carries.
#[test]
fn without_the_option_only_a_far_ipv6_host_gets_less_than_it_accepts() {
    each(|medium, peer, opener| {
        let largest = Case::open(medium, peer, opener, &MSS, Options::default()).largest();
        let expected = match peer == FAR_V6.into() {
            true => 1_220,
            false => room(peer),
        };
        assert_eq!(largest, expected, "{peer}, {medium:?}, {opener:?}");
    });
    let half = HALF_V6.into();
    let mut case = Case::open(Medium::Ip, half, Opener::We, &MSS, Options::default());
    assert_eq!(case.largest(), 1_220);
}

/// RFC 9293, MUST-15.
#[test]
fn a_peer_that_announces_no_size_gets_what_every_host_accepts() {
    for syn_options in [&[][..], &[2, 4, 0, 0], &[0, 2, 4, 5], &[1, 1, 1, 1]] {
        each(|medium, peer, opener| {
            let mut case = Case::open(medium, peer, opener, syn_options, Options::default());
            let expected = match peer {
                IpAddress::Ipv4(_) => 536,
                IpAddress::Ipv6(_) => 1_220,
            };
            assert_eq!(case.largest(), expected, "{syn_options:?}, {peer}");
        });
    }
}

/// RFC 9293, MUST-6: unknown options are skipped.
#[test]
fn the_size_option_is_found_at_any_place() {
    let timestamps = [8, 10, 1, 2, 3, 4, 0, 0, 0, 0];
    let lists: [Vec<u8>; 4] = [
        [&[1, 1, 4, 2][..], &MSS, &[1, 3, 3, 7]].concat(),
        [&[4, 2][..], &timestamps, &[1, 3, 3, 7], &MSS].concat(),
        [&[253, 6, 1, 2, 3, 4, 254, 2][..], &MSS].concat(),
        // The last of two.
        [&[2, 4, 0, 200][..], &MSS, &[0, 2, 4, 0], &[9, 0, 0, 0]].concat(),
    ];
    for list in lists {
        each(|medium, peer, opener| {
            let wanted = options(|o| o.max_segment(1_459));
            let largest = Case::open(medium, peer, opener, &list, wanted).largest();
            assert_eq!(largest, 1_459.min(room(peer)), "{list:?}, {peer}");
        });
    }
}

/// smoltcp drops a SYN with such options, at every retransmission.
#[test]
fn malformed_options_do_not_keep_a_connection_from_opening() {
    let lists: [(&[u8], usize); 9] = [
        // With a wrong length for their kind.
        (&[2, 3, 5, 1, 2, 4, 0, 99], 99),
        (&[2, 2, 2, 4, 0, 99, 1, 1], 99),
        (&[2, 4, 0, 99, 3, 4, 7, 7], 99),
        (&[2, 4, 0, 99, 4, 3, 7, 1], 99),
        (&[5, 3, 9, 1, 2, 4, 0, 99], 99),
        // With an impossible length, or beyond the end of the list.
        (&[2, 4, 0, 99, 9, 0, 1, 1], 99),
        (&[2, 4, 0, 99, 9, 1, 1, 1], 99),
        (&[2, 4, 0, 99, 9, 40, 1, 1], 99),
        (&[2, 4, 0, 99, 1, 1, 1, 2], 99),
    ];
    for (list, size) in lists {
        each(|medium, peer, opener| {
            let largest = Case::open(medium, peer, opener, list, Options::default()).largest();
            assert_eq!(largest, size, "{list:?}, {peer}, {opener:?}");
        });
    }
}

/// The other options of the SYN still count: windows are scaled.
#[test]
fn the_rest_of_the_syn_is_kept() {
    let list = [&MSS[..], &[1, 3, 3, 4]].concat();
    each(|medium, peer, opener| {
        let wanted = options(|o| o.max_segment(1_000));
        let mut case = Case::open(medium, peer, opener, &list, wanted);
        // 1,600 octets.
        case.flow.window = 100;
        case.raw.send(&case.flow.ack());
        case.us.stack.poll();
        case.us.try_write(case.id, 3_000).expect("it is open");
        case.us.stack.run_for(ms(10));
        let sent = std::iter::from_fn(|| case.raw.try_recv()).map(|s| s.payload.len());
        assert_eq!(sent.sum::<usize>(), 1_600, "{peer}, {opener:?}");
    });
}

/// The option applies to a connection, and to all connections that its listener accepts.
#[test]
fn the_option_lasts_as_long_as_the_connection() {
    let peer = PEER_V4.into();
    let limited = options(|o| o.max_segment(700));
    let mut case = Case::open(Medium::Ethernet, peer, Opener::We, &MSS, limited);
    assert_eq!(case.largest(), 700);
    let report = case.us.stack.release(case.id).expect("ours");
    assert_eq!(report.path_mtu, None);
    while case.raw.try_recv().is_some() {}
    case.id = case.us.connect(Options::default());
    let stack = &mut case.us.stack;
    case.flow = case.raw.handshake(Handshake::default(), || {
        stack.poll();
    });
    assert_eq!(case.largest(), 1_460);

    // A caller that closes before it is served, and the next one.
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::sized(&world, 8_192, RX);
    let id = us.stack.listen(OURS, limited).expect("a slot");
    for port in [100, 101] {
        let at = IpEndpoint::new(OUR_V4.into(), OURS);
        let stack = &mut us.stack;
        let flow = raw.call(port, at, Handshake::default(), || {
            stack.poll();
        });
        if port == 100 {
            raw.send(&flow.rst());
            us.stack.poll();
            assert_eq!(us.state(id), State::Listening);
        } else {
            raw.send(&flow.ack());
            us.stack.poll();
            let mut case = Case { us, id, raw, flow };
            assert_eq!(case.largest(), 700);
            return;
        }
    }
}

/// The IPv4 headers of the TCP segments of ours with data, and the lengths of these.
#[derive(Clone, Default)]
struct Headers(Rc<RefCell<Vec<Vec<u8>>>>);

impl Headers {
    fn of(world: &World) -> Self {
        let headers = Self::default();
        let sink = Rc::clone(&headers.0);
        world.observe(move |_, event| {
            if event.direction == Direction::ToPeer && event.segment().is_some() {
                let packet = match event.medium {
                    Medium::Ethernet => &event.frame[14..],
                    Medium::Ip => event.frame,
                };
                sink.borrow_mut().push(packet.to_vec());
            }
        });
        headers
    }
}

/// RFC 791, 3.2: a packet of 68 octets is never fragmented. RFC 6864, 4: one that may be
/// fragmented has its own identification, whether we or the device fill in the checksum.
#[test]
fn routers_may_fragment_long_packets_and_each_has_an_identification() {
    for medium in [Medium::Ethernet, Medium::Ip] {
        for fills in [Checksum::Tx, Checksum::None] {
            let world = World::new(WorldConfig {
                medium,
                checksums: false,
                ..WorldConfig::default()
            });
            world
                .peer()
                .listen(PORT, lastbyte_sim::loopback::Behaviour::sink());
            let mut checksums = ChecksumCapabilities::default();
            checksums.ipv4 = fills;
            checksums.tcp = Checksum::None;
            let device = Checking::new(&world, checksums);
            let headers = Headers::of(&world);
            let mut us = Us::<1, _>::over(device, &world, config(&world), buffers(TX, RX));
            let id = us.open(Options::default());
            for len in [1, 27, 28, 29, 536, 1_460, 3_000, 1_460] {
                us.write(id, len);
                us.writer(id).flush().expect("it is there");
            }
            let mut numbers = Vec::new();
            let mut long = 0;
            for packet in headers.0.take() {
                let ip = Ipv4Packet::new_checked(&packet[..]).expect("a packet");
                if fills.tx() {
                    assert!(ip.verify_checksum(), "{ip}");
                } else {
                    assert_eq!(ip.checksum(), 0, "the device fills it in");
                }
                let is_long = packet.len() > 68;
                long += usize::from(is_long);
                assert_eq!(ip.dont_frag(), !is_long, "{ip}");
                assert!(!ip.more_frags() && ip.frag_offset() == 0);
                if is_long {
                    assert!(!numbers.contains(&ip.ident()), "{numbers:?}, {ip}");
                    numbers.push(ip.ident());
                }
            }
            assert!(long >= 7, "{long}");
        }
    }
}

/// Makes a router with this MTU drop a segment and report it.
struct Complaint {
    case: Case,
    dropped: Segment,
}

impl Complaint {
    #[track_caller]
    fn new(peer: IpAddress, most: u16) -> Self {
        let options = options(|o| o.max_segment(most));
        let mut case = Case::open(Medium::Ethernet, peer, Opener::We, &MSS, options);
        case.us.write(case.id, usize::from(most));
        let dropped = case.raw.recv();
        Self { case, dropped }
    }

    /// The reported MTU, and whether there is advice.
    #[track_caller]
    fn reports(&mut self, mtu: u16) -> (Option<u16>, Option<Advice>) {
        let Case { us, raw, id, .. } = &mut self.case;
        let between = (router(self.dropped.dst), self.dropped.src);
        raw.send_frame(too_big(Medium::Ethernet, between, mtu, &self.dropped));
        us.stack.poll();
        assert_eq!(us.state(*id), State::Open);
        let advice = us.stack.poll_advice(*id).expect("ours");
        (us.report(*id).path_mtu, advice)
    }
}

#[test]
fn the_mtu_of_a_router_is_reported_and_ends_nothing() {
    for peer in [IpAddress::from(PEER_V4), PEER_V6.into()] {
        let narrow = Some(Advice::NarrowPath);
        let mut complaint = Complaint::new(peer, 1_440);
        assert_eq!(complaint.reports(1_400), (Some(1_400), narrow));
        // The same once more, and a wider one: nothing new.
        assert_eq!(complaint.reports(1_400), (Some(1_400), None));
        assert_eq!(complaint.reports(1_450), (Some(1_400), None));
        assert_eq!(complaint.reports(1_300), (Some(1_300), narrow));
        // The segment was not too long for this one.
        let len = 1_440 + 20 + if peer == PEER_V4.into() { 20 } else { 40 };
        let mut complaint = Complaint::new(peer, 1_440);
        assert_eq!(complaint.reports(len).0, None);
        assert_eq!(complaint.reports(len - 1), (Some(len - 1), narrow));
    }
}

/// RFC 1122, 3.3.3; RFC 8201, 4.
#[test]
fn a_reported_mtu_is_never_below_that_of_every_path() {
    for mtu in [0, 1, 68, 296, 576] {
        let mut complaint = Complaint::new(PEER_V4.into(), 1_440);
        assert_eq!(
            complaint.reports(mtu),
            (Some(576), Some(Advice::NarrowPath))
        );
    }
    for mtu in [0, 1, 68, 576, 1_279] {
        let mut complaint = Complaint::new(PEER_V6.into(), 1_440);
        assert_eq!(complaint.reports(mtu), (None, None));
    }
    let mut complaint = Complaint::new(PEER_V6.into(), 1_440);
    assert_eq!(complaint.reports(1_280).0, Some(1_280));
}

/// RFC 5927, 4.1.
#[test]
fn a_report_on_a_segment_that_is_not_in_flight_is_ignored() {
    for peer in [IpAddress::from(PEER_V4), PEER_V6.into()] {
        for off in [u32::MAX, 1_440] {
            let mut complaint = Complaint::new(peer, 1_440);
            complaint.dropped.seq = complaint.dropped.seq.wrapping_add(off);
            assert_eq!(complaint.reports(1_300), (None, None));
        }
        let mut complaint = Complaint::new(peer, 1_440);
        complaint.case.flow.take(1_440);
        let ack = complaint.case.flow.ack();
        complaint.case.raw.send(&ack);
        complaint.case.us.stack.poll();
        assert_eq!(complaint.reports(1_300), (None, None));
    }
}

/// The core alone.
#[test]
fn the_report_has_the_smallest_and_a_new_connection_none() {
    let mut connection = lastbyte::core::Connection::new(0);
    let _ = connection.handle_connect(Options::default(), at_ms(0));
    let _ = connection.handle_established(at_ms(1));
    for (mtu, smallest) in [(1_400, 1_400), (1_300, 1_300), (1_350, 1_300)] {
        let action = connection.handle_icmp(Icmp::PacketTooBig { mtu }, at_ms(2));
        assert_eq!(action, Action::None);
        assert_eq!(connection.report(at_ms(2)).path_mtu, Some(smallest));
    }
    assert_eq!(connection.poll_advice(), Some(Advice::NarrowPath));
    assert_eq!(connection.poll_advice(), None);
    let _ = connection.handle_abort(at_ms(3));
    let _ = connection.handle_icmp(Icmp::PacketTooBig { mtu: 600 }, at_ms(4));
    assert_eq!(
        connection.report(at_ms(4)).path_mtu,
        Some(1_300),
        "after its end"
    );
    let _ = connection.handle_release(at_ms(5));
    let _ = connection.handle_connect(Options::default(), at_ms(6));
    assert_eq!(connection.report(at_ms(6)).path_mtu, None);
}
