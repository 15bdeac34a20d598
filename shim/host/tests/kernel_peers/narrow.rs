//! A router after which the path only carries packets of 1,280 octets. `row_NN` is the
//! number in the conformance table.
//!
//! ```text
//!   lastbyte  <--->  the kernel as router  <- 1,280 - 1,500 ->  the peer, in a network
//!   10.77.0.2        10.77.0.1   10.78.0.1                      of its own: 10.78.0.2
//!   fd77::2          fd77::1       fd78::1                      fd78::2
//! ```
//!
//! It needs `nft`, `ip`, `unshare` and `nsenter`.

use crate::Case;
use crate::firewall::load_rules;
use crate::fixture::{Lab, PORT, TapStack, content, lab_over, quick, sha256};
use crate::peer::Peer;
use embedded_io::Write as _;
use lastbyte::core::OptionsBuilder;
use lastbyte::{Advice, Cause};
use lastbyte_host::namespace::{KERNEL_V4, KERNEL_V6};
use lastbyte_host::tap::Offload;
use smoltcp::wire::{IpAddress, IpEndpoint, Ipv4Address, Ipv6Address};
use std::fs;
use std::process::Command;
use std::time::Duration;

pub const CASES: &[Case] = &[
    ("row_63_path_mtu_v4", row_63_path_mtu_v4),
    ("row_63_path_mtu_v6", row_63_path_mtu_v6),
    ("row_63_packet_too_big", row_63_packet_too_big),
];

const PEER_V4: Ipv4Address = Ipv4Address::new(10, 78, 0, 2);
const PEER_V6: Ipv6Address = Ipv6Address::new(0xfd78, 0, 0, 0, 0, 0, 0, 2);

/// What is missing on this machine for these tests besides `nft`; `None` if they can run.
pub fn missing() -> Option<String> {
    [("ip", "-V"), ("unshare", "-V"), ("nsenter", "-V")]
        .into_iter()
        .find_map(|(program, version)| {
            let ran = Command::new(program).arg(version).output();
            ran.err().map(|error| format!("{program}: {error}"))
        })
}

#[track_caller]
fn run(words: &str) {
    let mut words = words.split_whitespace();
    let program = words.next().expect("a program");
    let status = Command::new(program).args(words).status();
    assert!(status.is_ok_and(|status| status.success()), "{program}");
}

/// Starts a peer beyond the router, which sends its ICMP errors or not.
#[track_caller]
fn via_router(lab: &mut Lab<'_, '_>, is_v6: bool, has_icmp: bool) -> Peer {
    let mut peer = Peer::apart(is_v6, "print('up'); c, _ = s.accept(); drain(); report()");
    assert_eq!(peer.line(), "up");
    let pid = peer.child.id();
    run(&format!(
        "ip link add near type veth peer name far netns {pid}"
    ));
    run("ip link set near up mtu 1280");
    run("ip addr add 10.78.0.1/24 dev near");
    run("ip addr add fd78::1/64 dev near nodad");
    for order in [
        "link set far up mtu 1500",
        "addr add 10.78.0.2/24 dev far",
        "addr add fd78::2/64 dev far nodad",
        "route add default via 10.78.0.1",
        "route add default via fd78::1",
    ] {
        run(&format!("nsenter --net=/proc/{pid}/ns/net ip {order}"));
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a namespace of our own");
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("a namespace of our own");
    let silence = match has_icmp {
        true => "",
        false => "icmp type destination-unreachable drop; icmpv6 type packet-too-big drop",
    };
    load_rules("", silence);
    add_routes(lab.stack);
    peer
}

fn add_routes(stack: &mut TapStack<'_>) {
    let routes = stack.interface_mut().routes_mut();
    routes.add_default_ipv4_route(KERNEL_V4).expect("room");
    routes.add_default_ipv6_route(KERNEL_V6).expect("room");
}

/// Sends `len` octets over the narrow path, and checks both ends and the wire. Returns
/// the longest segment.
#[track_caller]
fn deliver(lab: &mut Lab<'_, '_>, mut peer: Peer, to: IpAddress, options: OptionsBuilder) -> usize {
    let data = content(3_000_000);
    let options = options.build().expect("good options");
    let server = IpEndpoint::new(to, PORT);
    let id = lab.stack.connect(server, options).expect("a free slot");
    let mut writer = lab.stack.writer(id).expect("ours");
    writer.write_all(&data).expect("a peer that reads");
    let report = writer.finish().expect("a peer that reads");
    assert_eq!(report.cause, Some(Cause::Finished));
    let received = peer.received();
    assert_eq!(received.bytes, data.len() as u64);
    assert_eq!(received.sha256, sha256(&data));
    assert_eq!(lab.check(id).ledger.acknowledged(), received.bytes);
    let seen = lab.seen_since(&mut 0);
    let lengths = seen.iter().map(|seen| seen.segment.payload.len());
    lengths.max().expect("segments")
}

/// The router fragments, whatever is offloaded to the kernel, and whether its errors
/// arrive or not.
fn row_63_path_mtu_v4() {
    for offload in [Offload::None, Offload::Checksum, Offload::Segmentation] {
        for has_icmp in [false, true] {
            lab_over(
                offload,
                |_| (),
                |lab| {
                    let peer = via_router(lab, false, has_icmp);
                    let longest = deliver(lab, peer, PEER_V4.into(), quick());
                    assert!(longest > 1_240, "{longest}: the path was wide enough");
                },
            );
        }
    }
    // Nothing may be fragmented here.
    lab_over(
        Offload::None,
        |_| (),
        |lab| {
            let peer = via_router(lab, false, false);
            let longest = deliver(lab, peer, PEER_V4.into(), quick().max_segment(1_240));
            assert_eq!(longest, 1_240);
        },
    );
}

/// No packet is fragmented: segments are small from the start.
fn row_63_path_mtu_v6() {
    for has_icmp in [false, true] {
        for options in [quick(), quick().max_segment(1_000)] {
            lab_over(
                Offload::Segmentation,
                |_| (),
                |lab| {
                    let peer = via_router(lab, true, has_icmp);
                    let longest = deliver(lab, peer, PEER_V6.into(), options);
                    assert!([1_220, 1_000].contains(&longest), "{longest}");
                },
            );
        }
    }
}

/// With segments that are too large nothing arrives, and the report shows why.
fn row_63_packet_too_big() {
    lab_over(
        Offload::Segmentation,
        |_| (),
        |lab| {
            let _peer = via_router(lab, true, true);
            let options = quick().max_segment(1_440).build().expect("good options");
            let server = IpEndpoint::new(PEER_V6.into(), PORT);
            let id = lab.stack.connect(server, options).expect("a free slot");
            lab.stack.wait_open(id).expect("the peer accepts");
            let mut writer = lab.stack.writer(id).expect("ours");
            writer.write_all(&content(30_000)).expect("there is room");
            lab.stack.run_for(Duration::from_millis(300));
            assert_eq!(lab.stack.poll_advice(id), Ok(Some(Advice::NarrowPath)));
            let report = lab.wait_end(id);
            assert_eq!(report.cause, Some(Cause::Vanished));
            assert_eq!(report.path_mtu, Some(1_280));
            assert!(report.ledger.undelivered() > 20_000, "{report:?}");
            lab.check(id);
        },
    );
}
