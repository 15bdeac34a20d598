//! While our end connects.

use crate::common::frames::with_options;
use crate::common::*;
use crate::script::{ENDED, PEERS, Script};
use lastbyte_sim::loopback::{
    Bare, Behaviour, Direction, Flags, OUR_V4, OUR_V6, PEER_V4, Segment, World, WorldConfig,
};
use smoltcp::iface::{Config, Interface};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp;
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpAddress,
    IpProtocol, Ipv4Packet, Ipv4Repr,
};
use std::cell::Cell;
use std::rc::Rc;

/// A refusal leaves the same as a timeout: `Closed`, no endpoint. RFC 9293, 3.10.7.3,
/// requires "connection reset", and 3.10.8 a timeout. Worked around in
/// `src/stack/slot.rs`, which knows the step and the state before it.
#[test]
fn row_11_refusal_and_timeout_look_alike() {
    for peer in PEERS {
        let mut refused = Script::connecting(peer);
        let rst = refused.flow.segment(Flags::RST | Flags::ACK);
        refused.send(&rst.with_seq(0));
        assert_eq!(refused.shown(), ENDED);
        refused.expect_silence(secs(1_000));

        let mut silent = Script::connecting(peer);
        let timeout = Duration::from_secs(180);
        silent.bare.socket().set_timeout(Some(timeout));
        silent.run(secs(180));
        assert_eq!(silent.shown(), ENDED);
    }
}

/// Without `set_timeout` the SYN is retransmitted without bound. RFC 9293, 3.9.1.1 and
/// MUST-23, require a timeout of at least three minutes. Worked around in
/// `src/core/options.rs` and `src/core/timers.rs`.
#[test]
fn row_23_connecting_has_no_end() {
    for peer in PEERS {
        let mut script = Script::connecting(peer);
        script.run(secs(100_000));
        assert_eq!(script.state(), tcp::State::SynSent);
        let sent = script.sent();
        assert!(sent.len() > 1_000, "{}", sent.len());
        assert!(sent.iter().all(|syn| syn.flags == Flags::SYN));
    }
}

/// Asserts that an ICMP error with this code affects no TCP socket, neither while
/// connecting nor while open.
#[track_caller]
fn assert_unheard(code: u8) {
    for peer in PEERS {
        let mut connecting = Script::connecting(peer);
        let syn = ours(&connecting, connecting.flow.remote_isn, Flags::SYN);
        connecting.raw.send_unreachable(&syn, code);
        connecting.bare.poll();
        assert_eq!(connecting.state(), tcp::State::SynSent);
        connecting.expect_silence(ms(990));
        connecting.run(ms(10));
        assert_eq!(connecting.raw.recv().flags, Flags::SYN);

        let mut open = Script::open(peer);
        open.write(10);
        let data = open.raw.recv();
        open.raw.send_unreachable(&data, code);
        open.bare.poll();
        assert_eq!((open.state(), open.unsent()), (tcp::State::Established, 10));
        open.expect_silence(ms(500));
    }
}

/// A segment as our end would have sent it.
fn ours(script: &Script, seq: u32, flags: Flags) -> Segment {
    Segment {
        src: script.flow.remote.addr,
        dst: script.flow.local.addr,
        src_port: script.flow.remote.port,
        dst_port: script.flow.local.port,
        seq,
        ..script.flow.segment(flags)
    }
}

/// Soft ICMP errors reach no socket. RFC 9293, MUST-54, requires that the application is
/// informed. Worked around in `src/guard/wire/icmp.rs`.
#[test]
fn row_32_soft_icmp_reaches_no_socket() {
    for code in [0, 1, 5] {
        assert_unheard(code);
    }
}

/// Hard ICMP errors reach no socket while connecting. RFC 9293, SHLD-26, requires that
/// they end the attempt. Worked around in `src/guard/wire/icmp.rs`.
#[test]
fn row_33_hard_icmp_reaches_no_socket() {
    for code in [2, 3, 4] {
        assert_unheard(code);
    }
}

/// For a neighbour that does not answer, smoltcp sends a request once a second, and the
/// socket gets no error. RFC 1122, 2.4, requires that the link layer reports it. Worked
/// around by the connect timeout, `src/core/timers.rs`.
#[test]
fn neighbour_that_does_not_answer_causes_no_error() {
    for peer in PEERS {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        raw.answer_neighbours(false);
        let mut bare = Bare::new(&world);
        bare.connect((peer, PORT));
        bare.run_for(secs(1_000) - ms(1));
        assert_eq!(raw.other_frames().len(), 1_000);
        assert_eq!(bare.socket().state(), tcp::State::SynSent);
        raw.recv_nothing();
    }
}

/// After a reboot with the same seed and the same port, a peer that still has
/// the old connection answers the SYN with an ACK of exactly our ISS + 1, which
/// is ignored: neither a RST nor an end. In RFC 9293, 3.5.1, figure 9, a RST clears the
/// old connection. Worked around in `src/stack/isn.rs` and `src/stack/ports.rs`, and with
/// the seed that `src/stack/config.rs` requires.
#[test]
fn reboot_with_the_same_seed_and_port_never_connects() {
    for peer in PEERS {
        let world = World::new(WorldConfig::instant());
        let mut before = Script::connecting_in(&world, peer);
        let answer = before.flow.segment(Flags::SYN | Flags::ACK);
        before.flow.seq = before.flow.seq.wrapping_add(1);
        before.send(&answer);
        before.expect_ack();
        let old = before.flow;
        drop(before);

        let mut after = Script::connecting_in(&world, peer);
        assert_eq!(after.flow.remote, old.remote, "the same port");
        assert_eq!(after.flow.remote_isn, old.remote_isn, "the same ISS");
        after.raw.respond(move |raw, _| raw.send(&old.ack()));
        after.send(&old.ack());
        after.run(secs(10_000));
        assert_eq!(after.state(), tcp::State::SynSent);
        let sent = after.sent();
        assert!(sent.len() > 100, "{}", sent.len());
        assert!(sent.iter().all(|syn| syn.flags == Flags::SYN));

        // At any other number, it sends the RST and connects.
        let mut other = Script::connecting_in(&world, peer);
        let ack = old.ack().with_ack(old.ack.wrapping_add(1));
        other.send(&ack);
        let rst = other.raw.recv();
        assert_eq!((rst.flags, rst.seq), (Flags::RST, ack.ack));
    }
}

/// An ICMP error that quotes eight octets of our segment is not parsed, because the
/// quoted length goes beyond the quotation. RFC 792 quotes only these. Worked around in
/// `src/guard/wire/icmp.rs`, which reads the quotation itself.
#[test]
fn icmp_error_with_a_short_quotation_is_not_parsed() {
    let checksums = ChecksumCapabilities::default();
    let parsed = |quoted: &[u8], len: usize| {
        let header = Ipv4Repr {
            src_addr: OUR_V4,
            dst_addr: PEER_V4,
            next_header: IpProtocol::Tcp,
            payload_len: len,
            hop_limit: 64,
        };
        let repr = Icmpv4Repr::DstUnreachable {
            reason: Icmpv4DstUnreachable::PortUnreachable,
            header,
            data: quoted,
        };
        let mut message = vec![0; repr.buffer_len()];
        repr.emit(
            &mut Icmpv4Packet::new_unchecked(&mut message[..]),
            &checksums,
        );
        let packet = Icmpv4Packet::new_checked(&message[..]).expect("long enough");
        Icmpv4Repr::parse(&packet, &checksums).is_ok()
    };
    assert!(parsed(&[0; 20], 20));
    assert!(!parsed(&[0; 8], 20));
}

/// `HardwareAddress::is_unicast` panics for an IP medium. Worked around in
/// `src/stack/config.rs`.
#[test]
#[should_panic(expected = "internal error: entered unreachable code")]
fn hardware_address_of_an_ip_medium_panics() {
    let _ = HardwareAddress::Ip.is_unicast();
}

/// Consecutive numbers from an interface with this seed: smoltcp's `rand.rs`.
fn drawn(seed: u64) -> impl Iterator<Item = u32> {
    let mut state = seed;
    std::iter::from_fn(move || {
        state = state
            .wrapping_mul(0xbb2e_fcec_3c39_611d)
            .wrapping_add(0x7590_ef39);
        Some((state >> (29 - (state >> 61))) as u32)
    })
}

/// Initial sequence numbers come from a known generator, after one number that an interface
/// draws when it is made, and do not depend on the other end. A few of them reveal all that
/// follow. RFC 9293, MUST-9, and RFC 6528 require a keyed hash of both ends in each. Worked
/// around in `src/stack/isn.rs`; not for listeners.
#[test]
fn row_68_initial_sequence_numbers_are_those_of_a_generator() {
    for peer in PEERS {
        let mut script = Script::connecting(peer);
        // The seed of `Bare`.
        let mut drawn = drawn(42).skip(1);
        assert_eq!(Some(script.flow.remote_isn), drawn.next());
        for _ in 0..3 {
            script.bare.socket().abort();
            script.sent();
            script.bare.connect((peer, PORT));
            let sent = script.sent();
            assert_eq!(Some(sent[0].seq), drawn.next());
        }
    }
}

/// If the source address is given, `connect` uses nothing of the interface except its
/// next number: the workaround in `src/stack/isn.rs` passes another interface.
#[test]
fn connect_uses_only_one_number_of_the_interface() {
    for peer in PEERS {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        let mut bare = Bare::new(&world);
        let source = match peer {
            IpAddress::Ipv4(_) => IpAddress::from(OUR_V4),
            IpAddress::Ipv6(_) => IpAddress::from(OUR_V6),
        };
        let mut config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 9]).into());
        config.random_seed = 1_234;
        let now = smoltcp::time::Instant::ZERO;
        let mut other = Interface::new(config, &mut world.device(), now);
        bare.socket()
            .connect(other.context(), (peer, PORT), (source, 50_000))
            .expect("it needs no address and no route");
        bare.run_for(ms(20));
        let syn = raw.recv();
        assert_eq!((syn.src, syn.src_port), (source, 50_000));
        assert_eq!((syn.dst, syn.dst_port), (peer, PORT));
        assert_eq!(Some(syn.seq), drawn(1_234).nth(1));

        // The interface of the socket has drawn none.
        bare.socket().abort();
        bare.run_for(ms(20));
        while raw.try_recv().is_some() {}
        bare.connect((peer, PORT));
        bare.run_for(ms(20));
        assert_eq!(Some(raw.recv().seq), drawn(42).nth(1));
    }
}

/// One malformed option makes smoltcp drop the whole SYN|ACK, at every retransmission. RFC
/// 9293, MUST-7, requires that a TCP handles an illegal option length. Worked around in
/// `src/guard/wire/segment.rs`, which makes new options.
#[test]
fn a_malformed_option_prevents_connecting() {
    for peer in PEERS {
        let mut script = Script::connecting(peer);
        let answer = script.flow.segment(Flags::SYN | Flags::ACK);
        let medium = script.raw.world().config().medium;
        for _ in 0..3 {
            script
                .raw
                .send_frame(with_options(&answer, medium, &[2, 3, 5, 1]));
            script.bare.poll();
            assert_eq!(script.state(), tcp::State::SynSent);
        }
        let frame = with_options(&answer, medium, &[2, 4, 5, 1]);
        script.raw.send_frame(frame);
        script.bare.poll();
        assert_eq!(script.state(), tcp::State::Established);
    }
}

/// No IPv4 packet may be fragmented, and all have the identification 0. By RFC 1191 a
/// host forbids fragments only if it processes the errors that routers then send. Worked
/// around in `src/guard/rewrite.rs`, which relies on these two values.
#[test]
fn row_63_routers_may_not_fragment_its_packets() {
    let world = World::new(WorldConfig::default());
    world.peer().listen(PORT, Behaviour::sink());
    let frames = Rc::new(Cell::new(0));
    let seen = Rc::clone(&frames);
    world.observe(move |_, event| {
        if event.direction == Direction::ToPeer && event.segment().is_some() {
            let ip = Ipv4Packet::new_checked(&event.frame[14..]).expect("a packet");
            assert!(ip.dont_frag(), "{ip}");
            assert_eq!(ip.ident(), 0);
            seen.set(seen.get() + 1);
        }
    });
    let mut bare = Bare::new(&world);
    bare.connect((PEER_V4, PORT));
    bare.run_until_state(tcp::State::Established);
    bare.write(&[7; 4_000]);
    bare.run_for(secs(1));
    assert!(frames.get() > 3, "{}", frames.get());
}
