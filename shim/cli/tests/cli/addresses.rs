//! To whom we can connect, and from which address.

use crate::cases::cases;
use crate::cases::taps::with_tap;
use crate::common::{Done, lastbyte, peer_at, run};

cases![
    an_address_that_is_not_another_hosts_is_refused_with_a_hint,
    an_invalid_target_is_reported_with_the_right_form,
    the_name_of_a_service_is_a_port,
    a_gateway_must_be_on_the_link,
    our_address_must_be_the_address_of_a_host,
];

/// Tests that need `--peer`.
pub mod with_peer {
    use super::*;

    cases![
        a_service_is_looked_up_before_the_private_network,
        a_listener_at_a_mapped_address_is_found_at_once,
    ];
}

/// Tests that need a TAP.
pub mod on_tap {
    use super::*;

    cases![
        our_address_must_not_be_that_of_the_tap,
        a_link_local_address_of_another_link_is_free,
        a_link_local_peer_is_reached,
        a_peer_beyond_a_link_local_router_is_reached,
        a_mapped_target_is_an_ipv4_address,
    ];
}

fn on_tap(args: &[&str]) -> Done {
    run(lastbyte(
        &[&["send", "--json", "--tap", "none"], args].concat(),
    ))
}

/// Whether it reached the TAP, which does not exist.
fn is_without_tap(done: &Done) -> bool {
    let stderr = &done.stderr;
    stderr.contains("no interface none") || stderr.contains("/dev/net/tun")
}

fn private(target: &str) -> Done {
    run(lastbyte(&[
        "send",
        "--json",
        "--peer",
        "echo started",
        target,
    ]))
}

/// A usage error is not a run: there is no report, and nothing was started.
#[track_caller]
fn assert_refused(done: Done, words: &[&str]) {
    let done = done.ended_with(2, words);
    assert_eq!(done.stdout, "", "{done:#?}");
    assert!(!done.stderr.contains("started"), "{done:#?}");
}

fn an_address_that_is_not_another_hosts_is_refused_with_a_hint() {
    let v4: [(&str, &str, &str); 11] = [
        (
            "10.0.0.2/24",
            "10.0.0.255:1",
            "broadcast address of 10.0.0.0/24",
        ),
        (
            "10.0.0.2/24",
            "10.0.0.0:1",
            "address of the network of 10.0.0.0/24",
        ),
        (
            "10.1.2.3/22",
            "10.1.3.255:1",
            "broadcast address of 10.1.0.0/22",
        ),
        ("10.0.0.2/24", "255.255.255.255:1", "broadcast"),
        ("10.0.0.2/24", "127.0.0.1:1", "loopback"),
        ("10.0.0.2/24", "127.1.2.3:1", "loopback"),
        ("10.0.0.2/24", "localhost:1", "loopback"),
        ("10.0.0.2/24", "[::ffff:127.0.0.1]:1", "loopback"),
        ("10.0.0.2/24", "0.0.0.0:1", "any address"),
        ("10.0.0.2/24", "224.0.0.1:1", "group"),
        ("10.0.0.2/24", "10.0.0.2:1", "our own address"),
    ];
    for (addr, target, word) in v4 {
        // A gateway leads to other networks, but not to these addresses.
        for gateway in [&[][..], &["--gateway", "10.0.0.9"]] {
            if gateway.is_empty() || addr == "10.0.0.2/24" {
                let args = [&["--addr", addr, target], gateway].concat();
                assert_refused(on_tap(&args), &[word, "ip addr show none"]);
            }
        }
    }
    for (target, word) in [
        ("[::1]:1", "loopback"),
        ("[::]:1", "any address"),
        ("[ff02::1]:1", "group"),
        ("[fd00::2]:1", "our own address"),
    ] {
        let args = ["--addr", "fd00::2/64", "--gateway", "fd00::1", target];
        assert_refused(on_tap(&args), &[word]);
    }
    for (target, word) in [
        ("127.0.0.1:1", "loopback"),
        ("localhost:1", "loopback"),
        ("10.77.0.255:1", "broadcast address of 10.77.0.0/24"),
        ("10.77.0.0:1", "address of the network"),
        ("10.77.0.2:1", "our own address"),
        ("[fd77::2]:1", "our own address"),
        ("[fe80::1]:1", "--tap"),
    ] {
        assert_refused(private(target), &[word, "10.77.0.1 and fd77::1"]);
    }
}

fn an_invalid_target_is_reported_with_the_right_form() {
    for (target, words) in [
        ("tcp://10.0.0.1:5000", ["URL", "write 10.0.0.1:5000"]),
        ("tcp://10.0.0.1:5000/", ["URL", "write 10.0.0.1:5000"]),
        ("tcp://10.0.0.1", ["URL", "write 10.0.0.1:PORT"]),
        ("tcp://[fd00::1]:5000", ["URL", "write [fd00::1]:5000"]),
        (
            "http://example.com/index?x",
            ["URL", "write example.com:http"],
        ),
        ("mqtt://me:pw@broker:1883/t", ["URL", "write broker:1883"]),
        ("tcp://", ["URL", "HOST:PORT"]),
        ("tcp:10.0.0.1:5000", ["HOST:PORT", "neither"]),
        ("fd00::1:5000", ["brackets", "[fd00::1:5000]:5000"]),
        ("fe80::1%tap0:5000", ["brackets", "[fe80::1%tap0]:5000"]),
        ("[fd00::1]", ["no port", "HOST:PORT"]),
        ("[10.0.0.1]:5000", ["only IPv6", "10.0.0.1:5000"]),
        ("[fd00::1%none]:5000", ["link-local", "without %none"]),
        ("[fe80::1%]:5000", ["missing", "fe80::1%"]),
        ("[fe80::1%eth0]:5000", ["link of eth0", "over none"]),
        ("10.0.0.1:", ["no port", "HOST:PORT"]),
        ("10.0.0.1:+80", ["not a port", "1 to 65535"]),
        ("10.0.0.1:5000/path", ["not a port", "1 to 65535"]),
        ("10.0.0.1:1-2", ["not a port", "1 to 65535"]),
        ("10.1:5000", ["not an IPv4 address", "10.1"]),
        ("010.0.0.1:5000", ["not an IPv4 address", "010.0.0.1"]),
        ("0x0a000001:5000", ["not an IPv4 address", "0x0a000001"]),
        ("me@10.0.0.1:5000", ["not the name of a host", "HOST:PORT"]),
        ("my host:5000", ["not the name of a host", "HOST:PORT"]),
        (
            "10.0.0.1%tap0:5000",
            ["not the name of a host", "HOST:PORT"],
        ),
    ] {
        let addr = if target.contains("fe80") {
            "fd00::2/64"
        } else {
            "10.0.0.2/24"
        };
        assert_refused(on_tap(&["--addr", addr, target]), &words);
    }
}

fn the_name_of_a_service_is_a_port() {
    // The service is known, so the error is the missing TAP.
    for target in ["10.0.0.1:http", "10.0.0.1:domain"] {
        let done = on_tap(&["--addr", "10.0.0.2/24", target])
            .reports(1, None::<&str>)
            .done;
        assert!(is_without_tap(&done), "{target}: {done:#?}");
    }
    assert_refused(
        on_tap(&["--addr", "10.0.0.2/24", "localhost:ssh"]),
        &["loopback"],
    );
    for target in [
        "10.0.0.1:no-such-service",
        "localhost:no-such-service",
        "10.0.0.1:tftp",
    ] {
        assert_refused(
            on_tap(&["--addr", "10.0.0.2/24", target]),
            &["unknown service", "Give its number"],
        );
    }
}

fn a_gateway_must_be_on_the_link() {
    for (addr, gateway, word) in [
        (
            "10.0.0.2/24",
            "10.0.1.1",
            "not on the network of --addr 10.0.0.2/24",
        ),
        ("10.0.0.2/24", "10.0.0.2", "our own address"),
        ("10.0.0.2/24", "10.0.0.255", "broadcast"),
        ("10.0.0.2/24", "10.0.0.0", "address of the network"),
        ("10.0.0.2/24", "fe80::1", "not on the network"),
        ("fd00::2/64", "10.0.0.1", "not on the network"),
        ("fd00::2/64", "fd01::1", "not on the network"),
        ("fd00::2/64", "fd00::2", "our own address"),
        ("fd00::2/64", "ff02::2", "not on the network"),
        ("fd00::2/64", "fe80::1%eth0", "over none"),
        ("fd00::2/64", "fd00::1%none", "link-local"),
        ("fd00::2/64", "router", "not an IP address"),
    ] {
        let target = if addr.contains(':') {
            "[2001:db8::1]:1"
        } else {
            "192.0.2.1:1"
        };
        let args = ["--addr", addr, "--gateway", gateway, target];
        assert_refused(on_tap(&args), &["--gateway", word]);
    }
}

fn our_address_must_be_the_address_of_a_host() {
    for (addr, word) in [
        ("10.0.0.2", "prefix length is missing"),
        ("10.0.0.2/0", "1 to 32"),
        ("10.0.0.2/33", "1 to 32"),
        ("10.0.0.0/24", "not the address of one host"),
        ("10.0.0.255/24", "not the address of one host"),
        ("127.0.0.2/8", "not the address of one host"),
        ("224.0.0.5/4", "not the address of one host"),
        ("::ffff:10.0.0.2/120", "write the IPv4 address: 10.0.0.2"),
        ("fd00::/64", "not the address of one host"),
        ("::1/128", "not the address of one host"),
        ("ff02::1/16", "not the address of one host"),
        ("fd00::2/129", "1 to 128"),
        ("fe80::2%none/64", "write fe80::2/64 without %none"),
    ] {
        assert_refused(on_tap(&["--addr", addr, "10.0.0.1:1"]), &["--addr", word]);
    }
    for addr in ["10.0.0.0/31", "10.0.0.255/32", "fd00::/127", "fd00::/128"] {
        let target = if addr.contains(':') {
            "[fd00::9]:1"
        } else {
            "10.0.0.9:1"
        };
        let done = on_tap(&["--addr", addr, target])
            .reports(1, None::<&str>)
            .done;
        assert!(is_without_tap(&done), "{addr}: {done:#?}");
    }
}

fn a_service_is_looked_up_before_the_private_network() {
    let peer = peer_at("10.77.0.1", "all").replace("peer.py'", "peer.py' --port 80");
    let args = [
        "send",
        "--json",
        "--peer",
        &peer,
        "10.77.0.1:http",
        "Cargo.toml",
    ];
    let report = run(lastbyte(&args)).reports(0, "finished");
    assert_eq!(report.value["remote"], "10.77.0.1:80");
}

fn a_listener_at_a_mapped_address_is_found_at_once() {
    for address in ["::ffff:10.77.0.1", "::ffff:0.0.0.0", "::"] {
        let peer = peer_at(address, "all");
        let args = [
            "send",
            "--json",
            "--peer",
            &peer,
            "10.77.0.1:5000",
            "Cargo.toml",
        ];
        let start = std::time::Instant::now();
        let report = run(lastbyte(&args)).reports(0, "finished");
        assert!(!report.done.stderr.contains("listen"), "{report:#?}");
        let took = start.elapsed();
        assert!(
            took < std::time::Duration::from_secs(5),
            "{address}: {took:?}"
        );
    }
}

fn our_address_must_not_be_that_of_the_tap() {
    for (addr, example) in [
        ("10.0.0.1/24", "such as 10.0.0.2/24"),
        ("10.0.0.1/32", "tap0"),
    ] {
        let done = with_tap(&format!(
            "ip link set tap0 up
             $lastbyte send --json --tap tap0 --addr {addr} 10.0.0.7:5000"
        ));
        assert_refused(done, &["address of tap0 itself", example]);
    }
    // The same for any other interface: the kernel answers for all of them.
    let done = with_tap(
        "ip addr add 10.0.0.200/32 dev lo
         $lastbyte send --json --tap tap0 --addr 10.0.0.200/24 10.0.0.7:5000",
    );
    assert_refused(done, &["address of lo itself", "such as 10.0.0.201/24"]);
}

/// In [`with_tap`]: a link-local address that is valid at once.
const WITH_IPV6: &str = "
    ip addr add fe80::1/64 dev tap0 nodad
    ip link set tap0 up
";

fn a_link_local_address_of_another_link_is_free() {
    let peer = peer_at("::", "all");
    with_tap(&format!(
        "{WITH_IPV6}
         ip addr add fe80::2/64 dev lo nodad
         ({peer}) >&2 & until_it_listens
         $lastbyte send --json --tap tap0 --addr fe80::2/64 '[fe80::1]:5000' Cargo.toml"
    ))
    .reports(0, "finished");
    let done = with_tap(&format!(
        "{WITH_IPV6}
         $lastbyte send --json --tap tap0 --addr fe80::1/64 '[fe80::3]:5000' Cargo.toml"
    ));
    assert_refused(done, &["address of tap0 itself", "such as fe80::2/64"]);
}

fn a_link_local_peer_is_reached() {
    let peer = peer_at("::", "all");
    for target in ["[fe80::1%tap0]:5000", "[fe80::1]:5000"] {
        for addr in ["fd00::2/64", "fe80::2/64"] {
            let report = with_tap(&format!(
                "{WITH_IPV6}
                 ({peer}) >&2 & until_it_listens
                 $lastbyte send --json --tap tap0 --addr {addr} {target} Cargo.toml"
            ))
            .reports(0, "finished");
            assert_eq!(report.value["remote"], "[fe80::1]:5000");
        }
    }
}

fn a_peer_beyond_a_link_local_router_is_reached() {
    let peer = peer_at("2001:db8::1", "all");
    for gateway in ["fe80::1", "fe80::1%tap0"] {
        with_tap(&format!(
            "{WITH_IPV6}
             ip addr add 2001:db8::1/128 dev lo
             ip -6 route add fd00::/64 dev tap0
             ({peer}) >&2 & until_it_listens
             $lastbyte send --json --tap tap0 --addr fd00::2/64 --gateway {gateway} \
                 '[2001:db8::1]:5000' Cargo.toml"
        ))
        .reports(0, "finished");
    }
}

fn a_mapped_target_is_an_ipv4_address() {
    let peer = peer_at("0.0.0.0", "all");
    let report = with_tap(&format!(
        "ip link set tap0 up
         ({peer}) >&2 & until_it_listens
         $lastbyte send --json --tap tap0 --addr 10.0.0.2/24 '[::ffff:10.0.0.1]:5000' Cargo.toml"
    ))
    .reports(0, "finished");
    assert_eq!(report.value["remote"], "10.0.0.1:5000");
}
