//! Addresses and names from the network: `--dhcp`, `--slaac`, `--dns`, and duplicate addresses.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::cases::cases;
use crate::cases::taps::with_tap;
use crate::common::{Done, has_program, lastbyte, peer_at, run, start};

cases![
    without_a_server_there_is_no_lease,
    without_a_router_there_is_no_address,
    a_dns_server_that_does_not_answer_is_bounded,
    a_signal_ends_the_wait_for_a_lease,
    the_address_has_one_source,
];

/// Tests that need dnsmasq.
pub mod with_dnsmasq {
    use super::*;

    cases![
        a_lease_and_a_name_lead_to_the_peer,
        a_name_with_an_address_of_ipv6_leads_to_the_peer,
        a_name_that_does_not_exist_is_unreachable,
        a_router_gives_the_address,
        both_sources_may_be_combined,
    ];
}

/// Tests that need a TAP.
pub mod on_tap {
    use super::*;

    cases![
        the_kernel_does_not_use_our_address_of_ipv6,
        an_address_that_the_kernel_takes_is_lost,
    ];
}

/// What is missing for tests with dnsmasq.
pub fn missing() -> Option<&'static str> {
    (!has_program("dnsmasq")).then_some("there is no dnsmasq")
}

/// dnsmasq in the private network, and then this command. It leases the addresses from
/// 10.77.0.50 on, and advertises `fd77::/64`.
fn served(then: &str) -> String {
    format!(
        "dnsmasq -k --user=root --conf-file=/dev/null --no-resolv --no-hosts --pid-file \
         --bind-interfaces --interface=lastbyte0 --no-ping --leasefile-ro --log-facility=- \
         --dhcp-range=10.77.0.50,10.77.0.60,2m --enable-ra --dhcp-range=fd77::,ra-only,64,10m \
         --local=/test/ --address=/host.test/10.77.0.1 --address=/six.test/fd77::1 & {then}"
    )
}

fn send(peer: &str, args: &[&str]) -> Done {
    let common = ["send", "--json", "--peer", peer];
    run(lastbyte(&[&common, args].concat()))
}

const FILE: &str = "Cargo.toml";

fn a_lease_and_a_name_lead_to_the_peer() {
    let peer = served(&peer_at("10.77.0.1", "all"));
    let report = send(&peer, &["--dhcp", "host.test:5000", FILE]).reports(0, "finished");
    let local = report.value["local"].as_str().expect("an address");
    assert!(local.starts_with("10.77.0.5"), "{report:#?}");
    assert_eq!(report.value["remote"], "10.77.0.1:5000");
}

fn a_name_with_an_address_of_ipv6_leads_to_the_peer() {
    let peer = served(&peer_at("fd77::1", "all"));
    let args = ["--dns", "10.77.0.1", "six.test:5000", FILE];
    let report = send(&peer, &args).reports(0, "finished");
    assert_eq!(report.value["remote"], "[fd77::1]:5000");
}

fn a_name_that_does_not_exist_is_unreachable() {
    let peer = served(&peer_at("10.77.0.1", "all"));
    let done = send(&peer, &["--dhcp", "nowhere.test:5000", FILE]);
    let report = done.reports(6, "unreachable").counts(0, 0);
    report.done.ended_with(6, &["nowhere.test", "no such name"]);
}

fn a_router_gives_the_address() {
    let peer = served(&peer_at("fd77::1", "all"));
    let report = send(&peer, &["--slaac", "[fd77::1]:5000", FILE]).reports(0, "finished");
    let local = report.value["local"].as_str().expect("an address");
    // The second half is the hardware address.
    assert!(local.starts_with("[fd77::ff:fe77:2]"), "{report:#?}");
}

fn both_sources_may_be_combined() {
    let peer = served(&peer_at("fd77::1", "all"));
    let args = ["--dhcp", "--slaac", "six.test:5000", FILE];
    send(&peer, &args).reports(0, "finished");
}

fn without_a_server_there_is_no_lease() {
    let peer = peer_at("10.77.0.1", "all");
    let args = ["--dhcp", "--connect-timeout", "2s", "10.77.0.1:5000", FILE];
    let report = send(&peer, &args).reports(6, "unreachable").counts(0, 0);
    report.done.ended_with(6, &["no lease", "--addr"]);
}

fn without_a_router_there_is_no_address() {
    let peer = peer_at("fd77::1", "all");
    let args = ["--slaac", "--connect-timeout", "3s", "[fd77::1]:5000", FILE];
    let report = send(&peer, &args).reports(6, "unreachable").counts(0, 0);
    report.done.ended_with(6, &["no router", "--addr"]);
}

fn a_dns_server_that_does_not_answer_is_bounded() {
    let peer = peer_at("10.77.0.1", "all");
    // One that has no such service, and one that is not there.
    for server in ["10.77.0.1", "10.77.0.99"] {
        let begun = Instant::now();
        let limit = ["--connect-timeout", "2s"];
        let args = [&["--dns", server, "host.test:5000", FILE], &limit[..]].concat();
        let report = send(&peer, &args).reports(6, "unreachable");
        report
            .done
            .ended_with(6, &["host.test", "no answer", "--dns"]);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

fn a_signal_ends_the_wait_for_a_lease() {
    let peer = peer_at("10.77.0.1", "all");
    let args = [
        "send",
        "--json",
        "--peer",
        &peer,
        "--dhcp",
        "10.77.0.1:5000",
        FILE,
    ];
    let running = start(lastbyte(&args));
    // Once there is a network.
    std::thread::sleep(Duration::from_secs(3));
    running
        .ends_soon_after(Signal::SIGINT)
        .reports(9, "aborted");
}

fn the_address_has_one_source() {
    let tap = |args: &[&str]| {
        let common = ["send", "--tap", "none"];
        run(lastbyte(&[&common, args].concat()))
    };
    tap(&["10.0.0.1:5000"]).ended_with(2, &["--addr", "--dhcp", "--slaac"]);
    let addr = ["--addr", "10.0.0.2/24"];
    for source in ["--dhcp", "--slaac"] {
        let args = [&addr[..], &[source, "10.0.0.1:5000"]].concat();
        tap(&args).ended_with(2, &["--addr", source]);
        let args = [source, "--gateway", "10.0.0.1", "10.0.0.1:5000"];
        tap(&args).ended_with(2, &["--gateway", source]);
    }
    let args = [&addr[..], &["--dns", "fd00::1", "host.test:5000"]].concat();
    tap(&args).ended_with(2, &["--dns fd00::1", "10.0.0.2/24"]);
    tap(&["--dhcp", "[fd00::1]:5000"]).ended_with(2, &["DHCP"]);
}

/// It probes an address before it uses it (RFC 4862), and finds it taken.
fn the_kernel_does_not_use_our_address_of_ipv6() {
    let peer = peer_at("fd00::1", "all");
    with_tap(&format!(
        "ip link set tap0 up
         ip addr add fd00::1/64 dev tap0 nodad
         ({peer}) >&2 & until_it_listens
         $lastbyte heartbeat --json --every 200ms --message x --count 25 --tap tap0 \
            --addr fd00::2/64 [fd00::1]:5000 &
         sleep 2.5
         ip addr add fd00::2/64 dev tap0
         sleep 2
         ip -6 addr show dev tap0 dadfailed >&2
         ip -6 addr show dev tap0 dadfailed | grep -q fd00::2
         wait $!"
    ))
    .reports(0, "finished");
}

/// The kernel does not probe an address of IPv4. We defend ours once, and then it is lost.
fn an_address_that_the_kernel_takes_is_lost() {
    let peer = peer_at("10.0.0.1", "all");
    let speak = "import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('10.0.0.2', 0))
for n in range(60, 70):
    s.sendto(b'x', ('10.0.0.%d' % n, 9))
    time.sleep(0.2)";
    let report = with_tap(&format!(
        "ip link set tap0 up
         ({peer}) >&2 & until_it_listens
         $lastbyte heartbeat --json --every 200ms --message x --count 100 --tap tap0 \
            --addr 10.0.0.2/24 10.0.0.1:5000 & beats=$!
         sleep 2
         ip addr add 10.0.0.2/24 dev tap0
         python3 -c \"{speak}\"
         wait $beats"
    ))
    .reports(8, "address_lost");
    report.done.ended_with(8, &["has our address 10.0.0.2"]);
}
