//! The texts at the end of `--help`.

/// How a run ends: the exit code, the cause in the report, and what it means.
const ENDS: [(u8, &str, &str); 16] = [
    (
        0,
        "finished",
        "everything was sent, and acknowledged by the peer's TCP",
    ),
    (
        1,
        "finished",
        "all was acknowledged, but the process of --peer made no progress after \
         that and had to be terminated",
    ),
    (
        1,
        "aborted",
        "the input broke off or shrank, or the interface was removed; what was \
         accepted before that is reported",
    ),
    (
        1,
        "null",
        "no connection was begun; the message on stderr contains the reason",
    ),
    (2, "", "the command line is invalid; nothing was done"),
    (3, "peer_finished", "the peer closed (FIN)"),
    (4, "peer_reset", "the peer reset the connection (RST)"),
    (5, "refused", "nothing listens on that port"),
    (
        6,
        "unreachable",
        "no route, no neighbour, an ICMP error, no lease, or no such name",
    ),
    (
        7,
        "connect_timeout",
        "the peer's host did not answer within the connect timeout",
    ),
    (
        7,
        "vanished",
        "nothing was heard from the peer for the user timeout",
    ),
    (
        7,
        "unacknowledged",
        "the peer was heard, but acknowledged nothing for the user timeout",
    ),
    (
        7,
        "finish_timeout",
        "draining at the end took longer than the finish timeout",
    ),
    (
        7,
        "not_reading",
        "the peer answered, but accepted no byte for the call timeout",
    ),
    (
        8,
        "address_lost",
        "our own IP address was removed: its lease ended, or another machine has it",
    ),
    (
        9,
        "aborted",
        "SIGINT, SIGTERM, SIGHUP, or another signal whose default action is to end",
    ),
];

/// The keys of the JSON report, in their order, and what they mean.
const KEYS: [(&str, &str); 14] = [
    ("cause", "how it ended: see above"),
    ("accepted", "bytes accepted from the input"),
    (
        "acknowledged",
        "of those, what the peer's TCP has acknowledged; its application may not \
         have read them",
    ),
    (
        "undelivered",
        "accepted - acknowledged: not known to be delivered",
    ),
    ("discarded", "bytes that the peer sent"),
    ("writes_accepted", "writes that accepted at least one byte"),
    ("writes_refused", "writes that were refused after the end"),
    (
        "link_was_down",
        "whether the interface was down at any time",
    ),
    (
        "path_mtu",
        "the largest packet for the path, in bytes, as a router reported it; null \
         if none did",
    ),
    ("elapsed_ms", "milliseconds from the first SYN to the end"),
    ("local", "our end, as ADDRESS:PORT; null if there was none"),
    ("remote", "the peer's end; null if it is unknown"),
    (
        "offload",
        "what was offloaded to the kernel: tso, checksum or none; null \
         without an interface",
    ),
    (
        "peer",
        "how CMD of --peer ended: finished, failed or terminated; null \
         without one",
    ),
];

/// The width of the help texts here.
const WIDTH: usize = 80;

/// The end of the long help of `send` and `heartbeat`.
fn endings() -> String {
    let mut text = "How it ends (exit code, `cause` in the JSON report):\n".to_owned();
    for (code, cause, meaning) in ENDS {
        add_entry(&mut text, &format!("  {code}  {cause:<16} "), meaning);
    }
    text.push_str("\nWith --json, stdout is one object with exactly these keys:\n");
    for (key, meaning) in KEYS {
        add_entry(&mut text, &format!("  {key:<16} "), meaning);
    }
    text
}

/// Adds a term and its meaning, in a column of its own.
fn add_entry(text: &mut String, term: &str, meaning: &str) {
    let column = term.len();
    let mut line = term.to_owned();
    for word in meaning.split(' ') {
        if line.len() + word.len() > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(column);
        }
        line.push_str(word);
        line.push(' ');
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// The long help of the command itself.
pub(super) const MAIN: &str = "\
Examples:
  lastbyte                       the promise, shown in three seconds
  lastbyte doctor                what this machine permits, and what to install
  lastbyte send --peer 'nc -l 5000 | wc -c' 10.77.0.1:5000 Cargo.lock
  lastbyte send --help           options, exit codes, causes";

/// The end of the long help of `sim`.
pub(super) const SIM: &str = "\
Examples:
  lastbyte sim                          10,000 networks of all kinds
  lastbyte sim --profile hostile --seeds 0..1000000 --coverage
  lastbyte sim --profile wifi --seed 8 --log --ladder run.svg --pcap run.pcap

Exit code: 0 if every run kept the rules; 1 if one broke a rule (the command
that replays it is printed) or a file cannot be written; 2 for a usage error.";

/// The end of the long help of `doctor`.
pub(super) const DOCTOR: &str = "\
It tries each thing without lasting effect, and repairs only what a killed run
has left on a TAP. Exit code: 0, whatever is missing; for scripts, --json has
`ok` and `remedy` for each.";

/// The long help of `send`, before the endings.
const SEND_EXAMPLES: &str = "\
Examples:
  # A private network and a peer in it; needs no preparation. (This is OpenBSD's
  # netcat; others want `nc -l -p 5000`.)
  lastbyte send --peer 'nc -l 5000 > copy' 10.77.0.1:5000 file

  # The host itself as the peer, over a TAP made once for you.
  sudo ip tuntap add dev tap0 mode tap user $USER
  sudo ip addr add 10.0.0.1/24 dev tap0 && sudo ip link set tap0 up
  nc -l 5000 &
  lastbyte send --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000 file

  # A pipe that stays open: every line is sent as it comes.
  tail -f log | lastbyte send --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000

  # Address, router and DNS server from the network itself.
  lastbyte send --tap tap0 --dhcp broker.lan:5000 file

  # For scripts: one JSON object on stdout, the cause as exit code.
  lastbyte send --json --peer 'nc -l 5000' 10.77.0.1:5000 file | jq .undelivered
";

/// The long help of `heartbeat`, before the endings.
const HEARTBEAT_EXAMPLES: &str = "\
Examples:
  # Five beats to a peer in a private network, then an orderly end.
  lastbyte heartbeat --every 1s --message $'alive\\n' --count 5 \\
      --peer 'nc -l 5000' 10.77.0.1:5000

  # Bytes that are no text (an MQTT ping), and those of a file.
  lastbyte heartbeat --every 20s --message-hex 'c0 00' \\
      --tap tap0 --addr 10.0.0.2/24 10.0.0.1:1883
  lastbyte heartbeat --every 5s --message-file ping.bin \\
      --tap tap0 --addr 10.0.0.2/24 10.0.0.1:1883

  # Until the peer goes: the next beat is refused and ends it (exit 3).
  lastbyte heartbeat --every 200ms --message x \\
      --peer 'timeout 2 nc -l 5000' 10.77.0.1:5000
";

/// The long help of `send`.
pub(super) fn send() -> String {
    format!("{SEND_EXAMPLES}\n{}", endings())
}

/// The long help of `heartbeat`.
pub(super) fn heartbeat() -> String {
    format!("{HEARTBEAT_EXAMPLES}\n{}", endings())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::exit;
    use crate::command::report::{Account, End};
    use lastbyte::Cause;

    #[test]
    fn the_help_lists_the_keys_of_the_report() {
        let report = serde_json::to_string(&Account::unbegun(None, None)).expect("plain values");
        let keys = report.split('"').skip(1).step_by(2);
        // Without a connection no value is a string.
        assert_eq!(keys.collect::<Vec<_>>(), KEYS.map(|(key, _)| key));
    }

    #[test]
    fn the_help_lists_every_end_with_its_code() {
        let ends = Cause::ALL.map(End::Cause);
        for end in ends.into_iter().chain([End::NotReading, End::Broken]) {
            let listed =
                |&(code, name, _): &(u8, &str, &str)| (code, name) == (end.code(), end.name());
            assert!(ENDS.iter().any(listed), "{end:?}");
        }
        for (code, name, _) in ENDS {
            let is_cause = Cause::ALL.iter().any(|cause| cause.name() == name);
            assert!(
                is_cause || ["", "null", "not_reading"].contains(&name),
                "{name}"
            );
            assert!(code <= exit::of_cause(Cause::Aborted), "{code}");
        }
    }

    #[test]
    fn the_help_fits_a_narrow_terminal() {
        for line in [send(), heartbeat(), [MAIN, SIM, DOCTOR].join("\n")]
            .join("\n")
            .lines()
        {
            assert!(line.len() <= WIDTH, "{line}");
            assert!(line.is_ascii(), "{line}");
        }
    }
}
