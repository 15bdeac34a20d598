//! The report of a run, as JSON and as text.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};
use lastbyte::stack::smoltcp::wire::IpEndpoint;
use lastbyte::{Cause, Report};
use serde::Serialize;

use super::peer::Outcome;
use super::{console, exit, stdio};
use lastbyte_host::signals::Signals;
use lastbyte_host::tap::Offload;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// How a run ended: by a cause, or by the call timeout, which does not end the connection
/// but makes the command abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The connection ended.
    Cause(Cause),
    /// The peer answered but accepted nothing for the call timeout.
    NotReading,
    /// The input or the device failed; the connection was aborted.
    Broken,
}

impl End {
    /// The name in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cause(cause) => cause.name(),
            Self::NotReading => "not_reading",
            Self::Broken => Cause::Aborted.name(),
        }
    }

    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Cause(cause) => exit::of_cause(cause),
            Self::NotReading => exit::NOT_READING,
            Self::Broken => exit::OTHER,
        }
    }
}

/// The JSON report. Its keys and their order are guaranteed.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// The name of the cause; `null` if no connection was begun.
    pub cause: Option<&'static str>,
    /// Bytes read from the input and accepted.
    pub accepted: u64,
    /// Of those, acknowledged by the peer's TCP.
    pub acknowledged: u64,
    /// The rest.
    pub undelivered: u64,
    /// Bytes that the peer sent to us.
    pub discarded: u64,
    /// Writes that accepted at least one byte.
    pub writes_accepted: u64,
    /// Writes that were refused.
    pub writes_refused: u64,
    /// Whether the link was down at any time.
    pub link_was_down: bool,
    /// The MTU of the path in bytes, as a router reported when it dropped a packet; `null`
    /// if none did.
    pub path_mtu: Option<u16>,
    /// The time from the first SYN to the end, in milliseconds.
    pub elapsed_ms: u64,
    /// Our end, as `ip:port`.
    pub local: Option<String>,
    /// The peer's end, as `ip:port`.
    pub remote: Option<String>,
    /// What was offloaded to the kernel: `tso`, `checksum` or `none`; `null` if there was
    /// no device.
    pub offload: Option<&'static str>,
    /// How the peer of `--peer` ended: `finished`, `failed` or `terminated`; `null`
    /// without one.
    pub peer: Option<&'static str>,
}

impl Account {
    /// The report of a run without a connection.
    #[must_use]
    pub fn unbegun(cause: Option<Cause>, remote: Option<SocketAddr>) -> Self {
        Self {
            cause: cause.map(Cause::name),
            accepted: 0,
            acknowledged: 0,
            undelivered: 0,
            discarded: 0,
            writes_accepted: 0,
            writes_refused: 0,
            link_was_down: false,
            path_mtu: None,
            elapsed_ms: 0,
            local: None,
            remote: remote.map(|remote| remote.to_string()),
            offload: None,
            peer: None,
        }
    }

    /// The report of a connection.
    #[must_use]
    pub fn of(end: End, report: &Report, ends: Option<(IpEndpoint, IpEndpoint)>) -> Self {
        let text = |end: IpEndpoint| SocketAddr::from(end).to_string();
        Self {
            cause: Some(end.name()),
            accepted: report.ledger.accepted(),
            acknowledged: report.ledger.acknowledged(),
            undelivered: report.ledger.undelivered(),
            discarded: report.discarded,
            writes_accepted: report.writes_accepted,
            writes_refused: report.writes_refused,
            link_was_down: report.link_was_down,
            path_mtu: report.path_mtu,
            elapsed_ms: u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
            local: ends.map(|(local, _)| text(local)),
            remote: ends.map(|(_, remote)| text(remote)),
            offload: None,
            peer: None,
        }
    }

    /// Adds what was offloaded to the kernel.
    #[must_use]
    pub fn over(mut self, offload: Offload) -> Self {
        self.offload = Some(offload.name());
        self
    }

    /// Adds how the peer's processes ended.
    #[must_use]
    pub fn beside(mut self, peer: Option<Outcome>) -> Self {
        self.peer = peer.map(Outcome::name);
        self
    }

    /// Prints it as one line of JSON on stdout. After a signal, the time for this is
    /// bounded.
    ///
    /// # Errors
    ///
    /// stdout cannot be written.
    pub fn print_json(&self, signals: Option<&mut Signals>) -> io::Result<()> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        stdio::print(&text, signals)
    }
}

/// Prints the report as text on stderr.
pub fn print(end: End, account: &Account) {
    let mut text = String::new();
    let style = if end.code() == 0 { GOOD } else { BAD };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{style}{}{style:#}: {}", end.name(), what(end));
    let unknown = "?".to_owned();
    let _ = writeln!(
        text,
        "  {} -> {}, {}.{:03} s{}",
        account.local.as_ref().unwrap_or(&unknown),
        account.remote.as_ref().unwrap_or(&unknown),
        account.elapsed_ms / 1_000,
        account.elapsed_ms % 1_000,
        if account.link_was_down {
            ", the link was down meanwhile"
        } else {
            ""
        }
    );
    let _ = writeln!(
        text,
        "  accepted     {:>12} bytes in {}{}",
        account.accepted,
        match account.writes_accepted {
            1 => "1 write".to_owned(),
            writes => format!("{writes} writes"),
        },
        match account.writes_refused {
            0 => String::new(),
            refused => format!(", {refused} refused"),
        }
    );
    let _ = writeln!(
        text,
        "  acknowledged {:>12} bytes by the peer's TCP (its application may not have read them)",
        account.acknowledged
    );
    let _ = writeln!(
        text,
        "  undelivered  {:>12} bytes not known to be delivered",
        account.undelivered
    );
    if account.discarded > 0 {
        let _ = writeln!(
            text,
            "  discarded    {:>12} bytes that the peer sent",
            account.discarded
        );
    }
    if let Some(next) = next(end, account) {
        let _ = writeln!(text, "  next: {next}");
    }
    if let Some(mtu) = account.path_mtu {
        let headers = match account
            .remote
            .as_ref()
            .is_some_and(|end| end.starts_with('['))
        {
            true => 60,
            false => 40,
        };
        let _ = writeln!(
            text,
            "  a router reports that packets of more than {mtu} bytes are dropped: \
             use --max-segment {}",
            mtu.saturating_sub(headers)
        );
    }
    text.push_str(on_peer(account));
    console::print(&text);
}

/// What happened to the peer's process.
fn on_peer(account: &Account) -> &'static str {
    match account.peer == Some(Outcome::Terminated.name()) {
        true => "  the peer's process had to be terminated: its remaining work is lost\n",
        false => "",
    }
}

/// The end as text.
#[must_use]
pub const fn what(end: End) -> &'static str {
    match end {
        End::Cause(cause) => match cause {
            Cause::Finished => "everything was sent, and acknowledged by the peer's TCP",
            Cause::PeerFinished => "the peer closed the connection (FIN)",
            Cause::PeerReset => "the peer reset the connection (RST)",
            Cause::Refused => "the peer's host refused the connection: nothing listens there",
            Cause::Unreachable => {
                "the peer cannot be reached: no route, no neighbour, or an ICMP error"
            }
            Cause::ConnectTimeout => "the peer's host did not answer within the connect timeout",
            Cause::Vanished => "the peer vanished: nothing was heard for the user timeout",
            Cause::Unacknowledged => {
                "the peer is heard, but acknowledged nothing for the user timeout"
            }
            Cause::FinishTimeout => "not everything was acknowledged within the finish timeout",
            Cause::AddressLost => "our own address was removed",
            Cause::Aborted => "interrupted; the connection was reset",
        },
        End::NotReading => "the peer answers but accepted nothing for the call timeout; aborted",
        End::Broken => "the run broke off (see above); the connection was reset",
    }
}

/// What to do next; nothing after a success.
fn next(end: End, account: &Account) -> Option<&'static str> {
    let resume = if account.undelivered == 0 {
        "everything accepted was acknowledged; check at the peer how much its application has read"
    } else {
        "undelivered bytes may or may not have arrived; to resume, check how much the peer has"
    };
    let cause = match end {
        End::Cause(cause) => cause,
        End::NotReading => {
            return Some("see why the peer does not read, or give it more time (--call-timeout)");
        }
        End::Broken => return Some(resume),
    };
    match cause {
        Cause::Finished => None,
        Cause::PeerFinished if account.undelivered == 0 => {
            Some("if the peer closed only its own direction and still reads, use --half-close")
        }
        Cause::PeerFinished | Cause::PeerReset | Cause::Aborted => Some(resume),
        Cause::Refused if account.peer.is_some() => Some(
            "see what the peer printed; it must listen on this port, at the address above \
             or at every one",
        ),
        Cause::Refused => Some("start the peer; check the port, and the address it listens on"),
        Cause::Unreachable if account.peer.is_some() => {
            Some("the private network has the peer at 10.77.0.1 and fd77::1, and no other host")
        }
        Cause::Unreachable => {
            Some("check the address, the prefix of --addr, --gateway, and that the interface is up")
        }
        Cause::ConnectTimeout => {
            Some("look for a firewall that drops segments, or a listener whose queue is full")
        }
        Cause::Unacknowledged => Some(
            "the path may lose long frames: try a smaller --max-segment; undelivered bytes may have \
             arrived or not",
        ),
        Cause::Vanished => {
            Some("check cable and power of the peer; undelivered bytes may have arrived or not")
        }
        Cause::FinishTimeout => Some("give a slow peer more time: --finish-timeout"),
        Cause::AddressLost => Some("restore the address, then connect again"),
    }
}
