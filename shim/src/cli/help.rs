//! The texts at the end of `--help`.

/// What every subcommand's long help ends with.
pub(super) const ENDINGS: &str = "\
How it ends (exit code, `cause` in the JSON report):
  0  finished         everything was sent and acknowledged
  1  aborted          the input broke off or the interface went away; what was
                      accepted before is reported (`null`: no connection begun)
  1  finished         all was acknowledged, but the process of --peer made no
                      progress after that and had to be terminated
  2                   the command line makes no sense; nothing was done
  3  peer_finished    the peer closed (FIN)
  4  peer_reset       the peer reset the connection (RST)
  5  refused          nothing listens on that port
  6  unreachable      no route, no neighbour, or an ICMP error
  7  connect_timeout  the peer's host is there, but did not answer in time
  7  vanished         nothing was heard from the peer for the silence limit
  7  finish_timeout   draining at the end took longer than the finish limit
  7  not_reading      the peer answered, but took no byte for the call limit
  8  address_lost     our own IP address was removed
  9  aborted          SIGINT, SIGTERM, SIGHUP, or another signal that asks to end

What is counted:
  accepted      bytes that were taken from the input
  acknowledged  of those, what the peer's TCP has acknowledged; its application
                may not have read them
  undelivered   accepted - acknowledged: not known to be delivered

With --json, stdout is one object with exactly these keys: cause, accepted,
acknowledged, undelivered, discarded, writes_accepted, writes_refused,
link_was_down, path_mtu (what a router reported, or null), elapsed_ms, local,
remote, offload, peer (how CMD of --peer came to its end: finished, failed or
terminated; null without one).";

/// Long help of the command itself.
pub(super) const MAIN: &str = "\
Examples:
  lastbyte                       the promise, shown in three seconds
  lastbyte doctor                what this machine permits, and what to install
  lastbyte send --peer 'nc -l 5000 | wc -c' 10.77.0.1:5000 Cargo.lock
  lastbyte send --help           options, exit codes, causes";

/// Long help of `send`, before the endings.
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

  # For scripts: one JSON object on stdout, the cause as exit code.
  lastbyte send --json --peer 'nc -l 5000' 10.77.0.1:5000 file | jq .undelivered
";

/// Long help of `heartbeat`, before the endings.
const HEARTBEAT_EXAMPLES: &str = "\
Examples:
  # Five beats to a peer in a private network, then an orderly end.
  lastbyte heartbeat --every 1s --message $'alive\\n' --count 5 \\
      --peer 'nc -l 5000' 10.77.0.1:5000

  # Until the peer goes: the next beat is refused and ends it (exit 3).
  lastbyte heartbeat --every 200ms --message x \\
      --peer 'timeout 2 nc -l 5000' 10.77.0.1:5000
";

/// Long help of `send`.
pub(super) fn send() -> String {
    format!("{SEND_EXAMPLES}\n{ENDINGS}")
}

/// Long help of `heartbeat`.
pub(super) fn heartbeat() -> String {
    format!("{HEARTBEAT_EXAMPLES}\n{ENDINGS}")
}
