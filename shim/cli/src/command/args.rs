//! The command line for clap, and the checks that clap cannot make.

use std::fmt;
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use lastbyte::core::{OptionsError, Setting};
use lastbyte::{OnPeerFin, Options};
use nix::net::if_::if_nametoindex;
use smoltcp::wire::IpCidr;

use super::addresses::{self, ScopedAddr, parse_cidr};
use super::ends;
use super::exit::Failure;
use super::first_process;
use super::help;
use super::message::MessageArgs;
use super::over::Layer;
use super::sim::SimArgs;
use super::stdio;
use super::target::Target;
use lastbyte_host::tap::Offload;

/// The largest transmit buffer, in bytes: the largest window of TCP (RFC 7323, 2.3). More
/// could never be in flight.
const LARGEST_TX_BUFFER: usize = 1 << 30;

/// A TCP writer that accounts for every byte.
///
/// Sends over its own TCP/IP stack (smoltcp, as on a microcontroller), on a
/// TAP device. The very next write after the peer has closed is refused, and
/// every run reports how many bytes were accepted, acknowledged, and not known
/// to be delivered.
#[derive(Debug, Parser)]
#[command(name = "lastbyte", version, after_long_help = help::MAIN)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do; without one, the demonstration.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what happens to a write after the peer has closed, here and with the kernel's
    /// TCP; needs no privileges and no network (default)
    Demo,
    /// Send a file or standard input to a peer
    #[command(after_long_help = help::send())]
    Send(SendArgs),
    /// Send a message again and again, until the peer closes or vanishes
    ///
    /// The beat is the probe: when the peer has closed, the next beat is refused, and its
    /// error ends the loop.
    #[command(after_long_help = help::heartbeat())]
    Heartbeat(HeartbeatArgs),
    /// Simulate bad networks and peers, and check every run against the rules
    #[command(after_long_help = help::SIM)]
    Sim(SimArgs),
    /// Report what this machine permits, and how to get what is missing
    #[command(after_long_help = help::DOCTOR)]
    Doctor(DoctorArgs),
    /// A part of --peer
    #[command(hide = true, name = first_process::NAME)]
    FirstProcess {
        /// The command for the shell.
        command: String,
    },
}

/// Arguments of `lastbyte send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The peer: `10.0.0.1:5000`, `[fd00::1]:5000` or `name:5000`; the port may be the
    /// name of a service, as in `10.0.0.1:http`
    #[arg(value_name = "HOST:PORT")]
    pub target: Target,
    /// The file to send; - is standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// How to connect.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Arguments of `lastbyte heartbeat`.
#[derive(Debug, Args)]
pub struct HeartbeatArgs {
    /// The peer: `10.0.0.1:5000`, `[fd00::1]:5000` or `name:5000`; the port may be the
    /// name of a service, as in `10.0.0.1:http`
    #[arg(value_name = "HOST:PORT")]
    pub target: Target,
    /// Time from one beat to the next, such as 1s or 250ms
    #[arg(long, value_name = "TIME", value_parser = parse_interval)]
    pub every: Duration,
    /// What each beat sends.
    #[command(flatten)]
    pub message: MessageArgs,
    /// Finish after this many beats; without it, go on until the peer closes or vanishes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// How to connect.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Arguments of `lastbyte doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print a JSON array instead of text
    #[arg(long)]
    pub json: bool,
}

/// The options that `send` and `heartbeat` have in common.
#[derive(Debug, Args)]
pub struct ConnectionArgs {
    /// An existing TAP interface to send on; needs --addr, --dhcp or --slaac
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Network",
        conflicts_with = "peer"
    )]
    pub tap: Option<String>,
    /// Our own address on the TAP, with its prefix: a free one next to that of the TAP
    /// interface, such as 10.0.0.2/24 next to 10.0.0.1/24
    #[arg(long, value_name = "CIDR", help_heading = "Network", requires = "tap", conflicts_with = "peer", value_parser = parse_cidr)]
    pub addr: Option<IpCidr>,
    /// The router towards peers outside of the network of --addr; for IPv6 it may
    /// be link-local, such as `fe80::1`
    #[arg(
        long,
        value_name = "IP",
        help_heading = "Network",
        requires = "tap",
        conflicts_with = "peer"
    )]
    pub gateway: Option<ScopedAddr>,
    /// Obtain our IPv4 address, router and DNS servers by DHCP, instead of --addr
    #[arg(long, help_heading = "Network", conflicts_with_all = ["addr", "gateway"])]
    pub dhcp: bool,
    /// Obtain our IPv6 address, router and DNS servers from the routers of the
    /// link (RFC 4862), instead of --addr; also beside --dhcp
    #[arg(long, help_heading = "Network", conflicts_with_all = ["addr", "gateway"])]
    pub slaac: bool,
    /// Query this DNS server for the name in HOST:PORT; up to four times [default:
    /// those of --dhcp and --slaac, else the resolver of this machine]
    #[arg(long, value_name = "IP", help_heading = "Network")]
    pub dns: Vec<IpAddr>,
    /// Start CMD as the peer in a private network, instead of --tap
    ///
    /// CMD is run by `sh -c` and has the addresses `10.77.0.1/24` and `fd77::1/64`; we
    /// have `10.77.0.2` and `fd77::2`, or those that CMD provides with --dhcp or --slaac.
    /// Its output goes to stderr; its standard input is a pipe that stays open and silent
    /// until the connection has ended. Its processes are in a PID namespace, and none of
    /// them outlives this command. Needs root or user namespaces.
    #[arg(long, value_name = "CMD", help_heading = "Network")]
    pub peer: Option<String>,
    /// How long CMD gets to listen on the port [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "Network", requires = "peer", hide_default_value = true, default_value = "5s", value_parser = humantime::parse_duration)]
    pub listen_wait: Duration,
    /// How long CMD may make no progress after the end of the connection, before
    /// it is terminated and the run has failed [default: 2s]
    ///
    /// While it reads, writes or computes, it may finish.
    #[arg(long, value_name = "TIME", help_heading = "Network", requires = "peer", hide_default_value = true, default_value = "2s", value_parser = humantime::parse_duration)]
    pub peer_grace: Duration,
    /// Offload at most this to the kernel; the command does what the kernel does not offer
    #[arg(long, value_name = "WHAT", help_heading = "Network", default_value = Offload::Segmentation.name(), value_parser = offload_parser())]
    pub offload: Offload,
    /// Capture the traffic to FILE for Wireshark, with all checksums and in
    /// segments as on a wire; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub pcap: Option<PathBuf>,

    /// Continue to write after the peer has closed its own direction (FIN), until it
    /// resets the connection
    #[arg(long, help_heading = "Connection")]
    pub half_close: bool,
    /// Give up connecting after this time [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = "Connection", value_parser = humantime::parse_duration)]
    pub connect_timeout: Option<Duration>,
    /// Give up a peer that sends nothing while an answer is due, or acknowledges nothing,
    /// for this time [default: 100s]
    #[arg(long, value_name = "TIME", help_heading = "Connection", value_parser = humantime::parse_duration)]
    pub user_timeout: Option<Duration>,
    /// Abort when the peer answers but accepts no byte for this time [default: wait for
    /// as long as it answers]
    #[arg(long, value_name = "TIME", help_heading = "Connection", value_parser = humantime::parse_duration)]
    pub call_timeout: Option<Duration>,
    /// Longest time from the end of the input (or the peer's FIN) until
    /// everything is acknowledged [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = "Connection", value_parser = humantime::parse_duration)]
    pub finish_timeout: Option<Duration>,
    /// Probe an idle peer at this interval [default: off]
    #[arg(long, value_name = "TIME", help_heading = "Connection", value_parser = humantime::parse_duration)]
    pub keep_alive: Option<Duration>,
    /// Maximum number of bytes of data in one segment: the MTU of the path minus 40, or
    /// 60 for IPv6 [default: what the peer accepts; beyond our IPv6 link, at most 1220]
    #[arg(long, value_name = "N", help_heading = "Connection")]
    pub max_segment: Option<u16>,
    /// Transmit buffer: bounds what is in flight
    #[arg(long, value_name = "SIZE", help_heading = "Connection", default_value = "64KiB", value_parser = parse_tx_buffer)]
    pub tx_buffer: usize,
    /// Largest single write [default: as much as fits]
    #[arg(long, value_name = "SIZE", help_heading = "Connection", value_parser = parse_size)]
    pub write_size: Option<usize>,

    /// The layer of the library that makes the connection; the outcome is the same
    #[arg(
        long,
        value_name = "WHAT",
        help_heading = "Advanced",
        default_value = "stack"
    )]
    pub over: Layer,

    /// Print the report as one JSON object on stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// No progress and no report; only errors, on stderr
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
    /// Log the events of the connection to stderr (and show no progress bar)
    #[arg(long, short, help_heading = "Output")]
    pub verbose: bool,
}

/// Parses a name of [`Offload`]; the help shows the meaning of each.
fn offload_parser() -> impl TypedValueParser<Value = Offload> {
    let value = |offload: Offload| PossibleValue::new(offload.name()).help(offload.what());
    PossibleValuesParser::new(Offload::ALL.map(value)).try_map(|name| {
        let found = Offload::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or("no such offload")
    })
}

/// The network of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// An existing interface.
    Tap {
        /// Its name.
        name: String,
        /// Our addresses on it.
        own: Own,
        /// The router.
        gateway: Option<IpAddr>,
    },
    /// A private network, with this command as the peer in it.
    Private {
        /// The command for `sh`.
        command: String,
        /// Our addresses in it.
        own: Own,
    },
}

impl Network {
    /// Where our addresses come from.
    #[must_use]
    pub const fn own(&self) -> &Own {
        match self {
            Self::Tap { own, .. } | Self::Private { own, .. } => own,
        }
    }
}

/// Where our addresses come from, and which servers resolve names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Those that are known.
    pub fixed: Vec<IpCidr>,
    /// Whether other machines are asked whether they have one of these.
    pub is_checked: bool,
    /// Whether a DHCP server lends one.
    pub dhcp: bool,
    /// Whether routers have prefixes for some.
    pub slaac: bool,
    /// The DNS servers that were named.
    pub dns: Vec<IpAddr>,
}

impl Own {
    /// Whether there is, or will be, an address of this version.
    #[must_use]
    pub fn has_version(&self, is_v6: bool) -> bool {
        let mut fixed = self.fixed.iter().map(|own| IpAddr::from(own.address()));
        let later = if is_v6 { self.slaac } else { self.dhcp };
        later || fixed.any(|own| own.is_ipv6() == is_v6)
    }

    /// Whether names are resolved by DNS servers of the network.
    #[must_use]
    pub fn has_dns(&self) -> bool {
        self.dhcp || self.slaac || !self.dns.is_empty()
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sources: Vec<String> = self.fixed.iter().map(ToString::to_string).collect();
        if self.dhcp {
            sources.push("an IPv4 address of a DHCP server".to_owned());
        }
        if self.slaac {
            sources.push("an IPv6 address with the prefix of a router".to_owned());
        }
        f.write_str(&sources.join(" and "))
    }
}

impl ConnectionArgs {
    /// Whether a progress line is shown: on a terminal, unless it would be in
    /// the way.
    #[must_use]
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.verbose && io::stderr().is_terminal()
    }

    /// Checks that stdout can be used for its output.
    ///
    /// # Errors
    ///
    /// [`Failure`]: two outputs are directed to it, or it is closed.
    pub fn output(&self) -> Result<(), Failure> {
        let has_capture = self.pcap.as_deref() == Some(Path::new("-"));
        if has_capture && self.json {
            return Err(Failure::usage(
                "--json and --pcap - both write to standard output; write the capture to a file",
            ));
        }
        if has_capture && io::stdout().is_terminal() {
            return Err(Failure::usage(
                "--pcap - would write a capture to the terminal; pipe it somewhere, as in `| tshark -r -`",
            ));
        }
        if (has_capture || self.json) && !stdio::has_stdout() {
            return Err(Failure::other(
                "standard output is closed, and the report or the capture goes to it",
            ));
        }
        Ok(())
    }

    /// The network of the command line.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`]: there is none, or its description is incomplete.
    pub fn network(&self) -> Result<Network, Failure> {
        let network = match &self.peer {
            Some(command) => Network::Private {
                command: command.clone(),
                own: self.own(ends::PRIVATE.into(), false),
            },
            None => self.tap_network()?,
        };
        let own = network.own();
        let unreachable = self.dns.iter().find(|dns| !own.has_version(dns.is_ipv6()));
        match unreachable {
            Some(dns) => Err(Failure::usage(format!(
                "--dns {dns} cannot be reached from {own}"
            ))),
            None => Ok(network),
        }
    }

    /// Where our addresses come from. An IP version whose address comes from a server or a
    /// router has no fixed one.
    fn own(&self, mut fixed: Vec<IpCidr>, is_checked: bool) -> Own {
        fixed.retain(|own| match own {
            IpCidr::Ipv4(_) => !self.dhcp,
            IpCidr::Ipv6(_) => !self.slaac,
        });
        Own {
            fixed,
            is_checked,
            dhcp: self.dhcp,
            slaac: self.slaac,
            dns: self.dns.clone(),
        }
    }

    fn tap_network(&self) -> Result<Network, Failure> {
        let Some(name) = self.tap.clone() else {
            return Err(Failure::usage(
                "no network to send on. Give one of\n  \
                 --peer 'CMD'                  a private network with CMD as the peer, such as 'nc -l 5000'\n  \
                 --tap NAME --addr CIDR        an existing TAP interface (`lastbyte doctor` shows what is possible)",
            ));
        };
        let fixed = match self.addr {
            Some(addr) => vec![addr],
            None if self.dhcp || self.slaac => Vec::new(),
            None => {
                return Err(Failure::usage(format!(
                    "--tap needs --addr: our own address in the network of {name}, with its prefix.\n  \
                     If `ip addr show {name}` shows 10.0.0.1/24, use --addr 10.0.0.2/24. \
                     With a DHCP server or a router on the link, use --dhcp or --slaac"
                )));
            }
        };
        if let (Some(gateway), Some(addr)) = (&self.gateway, self.addr) {
            check_gateway(gateway, addr, &name)
                .map_err(|wrong| Failure::usage(format!("--gateway {gateway}: {wrong}")))?;
        }
        Ok(Network::Tap {
            name,
            own: self.own(fixed, true),
            gateway: self.gateway.as_ref().map(|gateway| gateway.ip),
        })
    }

    /// The options of the connection, checked.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`], which names the flag.
    pub fn options(&self) -> Result<Options, Failure> {
        let mut options = Options::builder();
        if let Some(limit) = self.connect_timeout {
            options = options.connect_timeout(limit);
        }
        if let Some(limit) = self.user_timeout {
            options = options.user_timeout(limit);
        }
        if let Some(limit) = self.call_timeout {
            options = options.call_timeout(limit);
        }
        if let Some(limit) = self.finish_timeout {
            options = options.finish_timeout(limit);
        }
        if let Some(interval) = self.keep_alive {
            options = options.keep_alive(interval);
        }
        if let Some(octets) = self.max_segment {
            options = options.max_segment(octets);
        }
        if self.half_close {
            options = options.on_peer_fin(OnPeerFin::HalfClose);
        }
        options.build().map_err(|error| {
            let flag = match error {
                OptionsError::Zero(setting) | OptionsError::TooLong(setting) => flag(setting),
                OptionsError::UserTimeoutWithinRetransmission => flag(Setting::User),
                OptionsError::MaxSegmentTooSmall => "--max-segment",
                // For a reason that this program does not know, it cannot name a flag.
                _ => return Failure::usage(error.to_string()),
            };
            Failure::usage(format!("{flag}: {error}"))
        })
    }
}

/// Checks that a router is on the link: in our network, or at a link-local address.
fn check_gateway(gateway: &ScopedAddr, addr: IpCidr, link: &str) -> Result<(), String> {
    let is_same_version = gateway.ip.is_ipv6() == matches!(addr, IpCidr::Ipv6(_));
    let is_on_link = addr.contains_addr(&gateway.ip.into()) || addresses::is_link_local(gateway.ip);
    if !is_same_version || !is_on_link {
        return Err(format!("it is not on the network of --addr {addr}"));
    }
    gateway.check_link(link, if_nametoindex(link).ok())?;
    addresses::check_other_host(gateway.ip, &[addr])
}

const fn flag(setting: Setting) -> &'static str {
    match setting {
        Setting::Connect => "--connect-timeout",
        Setting::User => "--user-timeout",
        Setting::Call => "--call-timeout",
        Setting::Finish => "--finish-timeout",
        // It has no flag, and its default is valid.
        Setting::StallAdvice => "stall advice",
        Setting::KeepAlive => "--keep-alive",
    }
}

/// A size of at least one byte: `1460`, `64KiB`, `1MB`.
fn parse_size(text: &str) -> Result<usize, String> {
    let size = ByteSize::from_str(text)
        .map_err(|_| "write a number of bytes, or as in 64KiB, 1MiB, 64kB".to_owned())?;
    match usize::try_from(size.as_u64()) {
        Ok(0) => Err("use at least 1 byte".to_owned()),
        Ok(size) => Ok(size),
        Err(_) => Err("this is more than memory can hold".to_owned()),
    }
}

fn parse_tx_buffer(text: &str) -> Result<usize, String> {
    match parse_size(text)? {
        size if size > LARGEST_TX_BUFFER => Err("use at most 1GiB".to_owned()),
        size => Ok(size),
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("use more than zero".to_owned()),
        Ok(interval) => Ok(interval),
        Err(error) => Err(error.to_string()),
    }
}
