//! The command line itself, without a network.

use crate::cases::cases;
use crate::common::{Done, lastbyte, run};

cases![
    bad_arguments_are_usage_errors_that_name_the_flag,
    a_network_must_be_chosen_and_the_error_names_both_ways,
    an_unknown_host_is_not_a_usage_error,
    a_name_that_cannot_fit_our_family_is_an_error,
    a_missing_tap_is_reported_with_its_remedy,
    a_missing_file_fails_before_anything_is_sent,
    help_needs_no_readme,
    help_lists_the_keys_of_the_report,
    without_arguments_the_demonstration_runs,
    doctor_always_reports,
];

fn send(args: &[&str]) -> Done {
    run(lastbyte(&[&["send"], args].concat()))
}

fn bad_arguments_are_usage_errors_that_name_the_flag() {
    let peer = |args: &[&str]| send(&[&["--peer", "true", "--json"], args].concat());
    let cases: [(&[&str], &str); 18] = [
        (&["10.77.0.1:0"], "port 0"),
        (&["10.77.0.1:65536"], "not a port"),
        (&["10.77.0.1"], "HOST:PORT"),
        (&["fd77::1:5000"], "brackets"),
        (&["[fd77::1:5000"], "bracket"),
        (&["10.77.0:5000"], "not an IPv4 address"),
        (&["224.0.0.1:5000"], "one host"),
        (&["10.77.0.2:5000"], "our own address"),
        (
            &["10.77.0.1:1", "--connect-timeout", "0s"],
            "--connect-timeout",
        ),
        (&["10.77.0.1:1", "--user-timeout", "1s"], "--user-timeout"),
        (&["10.77.0.1:1", "--max-segment", "47"], "--max-segment"),
        (
            &["10.77.0.1:1", "--call-timeout", "100days"],
            "--call-timeout",
        ),
        (&["10.77.0.1:1", "--keep-alive", "soon"], "--keep-alive"),
        (&["10.77.0.1:1", "--tx-buffer", "0"], "--tx-buffer"),
        (&["10.77.0.1:1", "--tx-buffer", "2GiB"], "--tx-buffer"),
        (&["10.77.0.1:1", "--write-size", "many"], "--write-size"),
        (&["10.77.0.1:1", "--addr", "10.0.0.2/24"], "--addr"),
        (
            &["10.77.0.1:1", "--tap", "t", "--addr", "10.0.0.2/24"],
            "--peer",
        ),
    ];
    for (args, word) in cases {
        let done = peer(args).ended_with(2, &[word]);
        assert_eq!(done.stdout, "", "usage errors are no reports: {args:?}");
    }
    let tap = |args: &[&str]| send(&[&["--tap", "none", "10.0.0.1:1"], args].concat());
    let cases: [(&[&str], &str); 7] = [
        (&[], "--addr"),
        (&["--addr", "10.0.0.2"], "prefix"),
        (&["--addr", "10.0.0.2/33"], "prefix"),
        (&["--addr", "10.0.0.0/24"], "one host"),
        (
            &["--addr", "10.0.0.2/24", "--gateway", "10.0.1.1"],
            "--gateway",
        ),
        (
            &["--addr", "10.0.0.2/24", "--gateway", "10.0.0.2"],
            "--gateway",
        ),
        (
            &["--addr", "fd00::2/64"],
            "cannot be reached from fd00::2/64",
        ),
    ];
    for (args, word) in cases {
        tap(args).ended_with(2, &[word]);
    }
    let beat = |args: &[&str]| run(lastbyte(&[&["heartbeat", "10.0.0.1:1"], args].concat()));
    beat(&["--message", "x"]).ended_with(2, &["--every"]);
    beat(&["--message", "", "--every", "1s"]).ended_with(2, &["--message"]);
    beat(&["--message", "x", "--every", "0s"]).ended_with(2, &["--every"]);
    beat(&["--message", "x", "--every", "1s", "--count", "0"]).ended_with(2, &["--count"]);
}

fn a_network_must_be_chosen_and_the_error_names_both_ways() {
    send(&["10.0.0.1:5000"]).ended_with(2, &["--tap NAME --addr CIDR", "--peer 'CMD'"]);
}

fn an_unknown_host_is_not_a_usage_error() {
    send(&["--peer", "true", "no-such-host.invalid:5000"])
        .ended_with(1, &["unknown host", "no-such-host.invalid"]);
}

fn a_name_that_cannot_fit_our_family_is_an_error() {
    let done = send(&[
        "--tap",
        "none",
        "--addr",
        "10.0.0.2/24",
        "ip6-localhost:5000",
    ]);
    // Not every machine knows the name.
    let code = if done.stderr.contains("unknown host") {
        1
    } else {
        2
    };
    done.ended_with(code, &["host"]);
}

fn a_missing_tap_is_reported_with_its_remedy() {
    let args = [
        "--json",
        "--tap",
        "nosuchtap0",
        "--addr",
        "10.0.0.2/24",
        "10.0.0.1:1",
    ];
    let report = send(&args).reports(1, None::<&str>);
    assert!(
        report.done.stderr.contains("nosuchtap0") || report.done.stderr.contains("/dev/net/tun"),
        "{report:#?}"
    );
}

fn a_missing_file_fails_before_anything_is_sent() {
    for (path, word) in [("/no/such/file", "No such file"), ("/", "directory")] {
        let report = send(&["--json", "--peer", "echo started", "10.77.0.1:1", path])
            .reports(1, None::<&str>);
        assert!(report.done.stderr.contains(word), "{report:#?}");
        assert!(!report.done.stderr.contains("started"), "{report:#?}");
    }
}

fn help_needs_no_readme() {
    let cases: [(&[&str], &[&str]); 3] = [
        (&["--help"], &["send", "heartbeat", "doctor", "Examples:"]),
        (
            &["send", "--help"],
            &[
                "Examples:",
                "ip tuntap add",
                "peer_finished",
                "not_reading",
                "undelivered",
                "--half-close",
                "--over",
            ],
        ),
        (
            &["heartbeat", "--help"],
            &["Examples:", "--every", "--over", "peer_reset"],
        ),
    ];
    for (args, words) in cases {
        let done = run(lastbyte(args)).ended_with(0, &[]);
        for word in words {
            assert!(done.stdout.contains(word), "{word:?} in {done:#?}");
        }
    }
}

fn help_lists_the_keys_of_the_report() {
    let args = [
        "send",
        "--json",
        "--peer",
        "true",
        "10.77.0.1:1",
        "/no/such/file",
    ];
    let report = send(&args[1..]).reports(1, None::<&str>);
    for command in ["send", "heartbeat"] {
        let help = run(lastbyte(&[command, "--help"]))
            .ended_with(0, &[])
            .stdout;
        let (_, list) = help.split_once("exactly these keys:\n").expect("a list");
        let lines = list.lines().take_while(|line| !line.is_empty());
        // Continued lines are further to the right.
        let entries = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let listed: Vec<&str> = entries.filter(|word| !word.is_empty()).collect();
        let mut keys: Vec<&String> = report
            .value
            .as_object()
            .expect("it is one")
            .keys()
            .collect();
        keys.sort_by_key(|key| report.done.stdout.find(&format!("\"{key}\":")));
        assert_eq!(listed, keys, "{help}");
    }
}

fn without_arguments_the_demonstration_runs() {
    let done = run(lastbyte(&[])).ended_with(0, &[]);
    assert_eq!(done.stdout, run(lastbyte(&["demo"])).stdout);
    assert!(!done.stdout.contains('\x1b'), "no colours into a pipe");
}

fn doctor_always_reports() {
    let done = run(lastbyte(&["doctor"])).ended_with(0, &[]);
    assert!(done.stdout.contains("TUN/TAP"), "{done:#?}");
    let done = run(lastbyte(&["doctor", "--json"])).ended_with(0, &[]);
    let findings: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    for finding in findings.as_array().expect("an array") {
        assert_eq!(
            finding["ok"] == true,
            finding["remedy"].is_null(),
            "{finding}"
        );
    }
}
