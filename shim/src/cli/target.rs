//! Hosts and addresses: parsing, and asking the host's resolver.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::thread;

use lastbyte::Clock;
use smoltcp::wire::IpCidr;

use super::exit::Failure;
use crate::host_clock::HostClock;
use crate::signals::Signals;

/// Where to connect to: `10.0.0.1:5000`, `[fd00::1]:5000` or `name:5000`.
///
/// ```
/// use lastbyte_shim::cli::target::Target;
///
/// assert!("10.0.0.1:5000".parse::<Target>().is_ok());
/// assert!("[fd00::1]:5000".parse::<Target>().is_ok());
/// assert!("fd00::1:5000".parse::<Target>().is_err());
/// assert!("10.0.0.1:0".parse::<Target>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or("there is no port; write HOST:PORT, as in 10.0.0.1:5000")?;
        let port = match port.parse() {
            Ok(0) => return Err("nothing can listen on port 0; use 1 to 65535".to_owned()),
            Ok(port) => port,
            Err(_) => return Err(format!("{port:?} is not a port; use 1 to 65535")),
        };
        let host = parse_host(host)?;
        Ok(Self { host, port })
    }
}

fn parse_host(text: &str) -> Result<Host, String> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("the bracket is not closed")?;
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(Host::Address(address.into())),
            Err(_) => Err(format!("{inner:?} is not an IPv6 address")),
        };
    }
    if text.contains(':') {
        return Err("an IPv6 address goes into brackets: [fd00::1]:5000".to_owned());
    }
    if text.is_empty() {
        return Err("there is no host; write HOST:PORT, as in 10.0.0.1:5000".to_owned());
    }
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(Host::Address(address)),
        // No name ends in a number, so this is a mistyped address; a resolver
        // might take "10.1" for 10.0.0.1.
        Err(_) if text.ends_with(|last: char| last.is_ascii_digit()) && is_dotted(text) => {
            Err(format!("{text:?} is not an IPv4 address"))
        }
        Err(_) => Ok(Host::Name(text.to_owned())),
    }
}

fn is_dotted(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Target {
    /// The first address of the host that `is_ours` can talk to; `families`
    /// names those in errors. Asks the host's resolver, so it is called before
    /// any namespace is entered.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if the name is unknown or has no such address;
    /// [`Failure::Interrupted`] if a signal arrived meanwhile.
    pub fn resolve(
        &self,
        signals: &mut Signals,
        families: &str,
        is_ours: impl Fn(IpAddr) -> bool,
    ) -> Result<SocketAddr, Failure> {
        let found = match &self.host {
            Host::Address(address) => vec![SocketAddr::new(*address, self.port)],
            Host::Name(name) => self.look_up(name, signals)?,
        };
        found
            .iter()
            .copied()
            .find(|address| is_ours(address.ip()))
            .ok_or_else(|| {
                Failure::usage(match &self.host {
                    Host::Address(_) => format!("{self} cannot be reached from {families}"),
                    Host::Name(name) => format!(
                        "{name:?} is {}, which cannot be reached from {families}",
                        list(&found)
                    ),
                })
            })
    }

    /// Asks on a thread of its own, since a resolver may take its time and
    /// cannot be interrupted.
    fn look_up(&self, name: &str, signals: &mut Signals) -> Result<Vec<SocketAddr>, Failure> {
        let broken = |error: io::Error| Failure::other(format!("asking the resolver: {error}"));
        let (done, mut answered) = UnixStream::pair().map_err(broken)?;
        let mut clock = HostClock::new();
        let answer = clock.watch(&done).map_err(broken)?;
        clock.watch(signals).map_err(broken)?;
        let question = (name.to_owned(), self.port);
        let resolver = thread::Builder::new().spawn(move || {
            let answer = question.to_socket_addrs().map(Vec::from_iter);
            // Should this fail, the end of the pipe says the same.
            let _ = answered.write_all(b".");
            answer
        });
        let resolver = resolver.map_err(broken)?;
        while !clock.is_ready(answer) {
            clock.wait(None);
            if signals.take() {
                return Err(Failure::Interrupted);
            }
        }
        // Joined, so that the process has one thread again: a user namespace
        // can only be entered like that.
        match resolver.join() {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(Failure::usage(format!(
                "unknown host {name:?}: {error}. Check the name, or give an IP address"
            ))),
            Err(_) => Err(Failure::other("the resolver failed")),
        }
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    let mut ips: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
    ips.dedup();
    ips.join(", ")
}

/// Parses our own address with its prefix: `10.0.0.2/24`, `fd00::2/64`.
///
/// ```
/// use lastbyte_shim::cli::target::parse_cidr;
///
/// assert!(parse_cidr("10.0.0.2/24").is_ok());
/// assert!(parse_cidr("10.0.0.2").is_err());
/// assert!(parse_cidr("10.0.0.0/24").is_err());
/// ```
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_cidr(text: &str) -> Result<IpCidr, String> {
    let (address, prefix) = text
        .split_once('/')
        .ok_or("the prefix length is missing, as in 10.0.0.2/24")?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("{address:?} is not an IP address"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix.parse() {
        Ok(prefix @ 1..) if prefix <= longest => prefix,
        _ => return Err(format!("the prefix length is 1 to {longest}")),
    };
    let is_host = match address {
        IpAddr::V4(v4) => {
            let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let host = v4.to_bits() & host_bits;
            // Point-to-point links (RFC 3021) and single hosts have neither a
            // network nor a broadcast address.
            let is_group = prefix < 31 && (host == 0 || host == host_bits);
            !is_group && !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast()
        }
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    };
    if !is_host {
        return Err("this is not the address of one host; give ours, as in 10.0.0.2/24".to_owned());
    }
    Ok(IpCidr::new(address.into(), prefix))
}
