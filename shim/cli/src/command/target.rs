//! The target: parsing, and queries to the host's resolver.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};

use super::addresses::ScopedAddr;
use super::exit::Failure;
use super::patience::patiently;
use lastbyte_host::signals::Signals;

/// The peer to connect to: `10.0.0.1:5000`, `[fd00::1]:5000`, `[fe80::1%tap0]:5000` or
/// `name:5000`. The port is a number or the name of a service, as in `10.0.0.1:http`.
///
/// ```
/// use lastbyte_cli::command::target::Target;
///
/// assert!("10.0.0.1:5000".parse::<Target>().is_ok());
/// assert!("[fd00::1]:5000".parse::<Target>().is_ok());
/// assert!("[fe80::1%tap0]:http".parse::<Target>().is_ok());
/// assert!("fd00::1:5000".parse::<Target>().is_err());
/// assert!("10.0.0.1:0".parse::<Target>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: Host,
    port: Port,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(ScopedAddr),
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Port {
    Number(u16),
    Service(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(format!(
                "{text} is a URL; write {}. Only FILE or stdin is sent there",
                authority(scheme, rest)
            ));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(format!(
                "an IPv6 address goes into brackets, and its port after them: [{text}]:5000"
            ));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && !port.contains(']') => (host, port),
            _ => return Err("there is no port; write HOST:PORT, as in 10.0.0.1:5000".to_owned()),
        };
        Ok(Self {
            port: parse_port(port)?,
            host: parse_host(host, port)?,
        })
    }
}

/// The `HOST:PORT` of a URL.
fn authority(scheme: &str, rest: &str) -> String {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, _) = rest.split_at(end);
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let port = host.rsplit_once(':').map(|(_, port)| port);
    let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
    match (host, scheme) {
        ("", _) => "HOST:PORT, as in 10.0.0.1:5000".to_owned(),
        _ if has_port => host.to_owned(),
        // After "tcp" or "udp", nothing else is the name of a service.
        (_, "tcp" | "udp") => format!("{host}:PORT"),
        _ => format!("{host}:{scheme}"),
    }
}

fn parse_port(text: &str) -> Result<Port, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_service = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    match text.parse() {
        Ok(0) => Err("nothing can listen on port 0; use 1 to 65535".to_owned()),
        Ok(number) if is_number => Ok(Port::Number(number)),
        // The name of a service has a letter (RFC 6335, 5.1).
        Err(_)
            if text.bytes().any(|byte| byte.is_ascii_alphabetic())
                && text.bytes().all(is_service) =>
        {
            Ok(Port::Service(text.to_owned()))
        }
        _ => Err(format!(
            "{text:?} is not a port; use 1 to 65535, or the name of a service such as http"
        )),
    }
}

fn parse_host(text: &str, port: &str) -> Result<Host, String> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("the bracket is not closed")?;
        if !inner.contains(':') {
            return Err(format!(
                "only IPv6 addresses go into brackets: {inner}:{port}"
            ));
        }
        return Ok(Host::Address(inner.parse()?));
    }
    if text.contains(':') {
        return Err(match text.parse::<ScopedAddr>() {
            Ok(_) => format!("an IPv6 address goes into brackets: [{text}]:{port}"),
            Err(_) => format!(
                "{text:?} is neither a name nor an address; write HOST:PORT, \
                 with an IPv6 address in brackets"
            ),
        });
    }
    if text.is_empty() {
        return Err("there is no host; write HOST:PORT, as in 10.0.0.1:5000".to_owned());
    }
    if let Ok(address) = text.parse::<ScopedAddr>() {
        return Ok(Host::Address(address));
    }
    if text.contains(|c: char| c.is_whitespace() || "/@%[]\\".contains(c)) {
        return Err(format!(
            "{text:?} is not the name of a host; write HOST:PORT"
        ));
    }
    if is_like_a_number(text) {
        return Err(format!("{text:?} is not an IPv4 address"));
    }
    Ok(Host::Name(text.to_owned()))
}

/// Whether a name is a mistyped address. No name ends in a number; a resolver might
/// take "10.1" or "0xa000001" for 10.0.0.1.
fn is_like_a_number(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or(text);
    let hex = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Service(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) if address.ip.is_ipv6() => {
                write!(f, "[{address}]:{}", self.port)
            }
            Host::Address(address) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Target {
    /// The first address of the host that `is_ours` can talk to; `families`
    /// names those in errors. It queries the host's resolver, so it is called
    /// before any namespace is entered.
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
        let found = match (&self.host, &self.port) {
            (Host::Address(address), Port::Number(port)) => {
                vec![SocketAddr::new(address.ip, *port)]
            }
            (Host::Address(address), _) => self.look_up(&address.ip.to_string(), signals)?,
            (Host::Name(name), _) => self.look_up(name, signals)?,
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

    /// The name of the host, if it is not an address.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Address(_) => None,
            Host::Name(name) => Some(name),
        }
    }

    /// The number of the port.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if there is no such service; [`Failure::Interrupted`] if a signal
    /// arrived meanwhile.
    pub fn port(&self, signals: &mut Signals) -> Result<u16, Failure> {
        match self.port {
            Port::Number(number) => Ok(number),
            Port::Service(_) => {
                let found = self.look_up("127.0.0.1", signals)?;
                let port = found.first().map(SocketAddr::port);
                port.ok_or_else(|| Failure::usage(format!("{self}: unknown service")))
            }
        }
    }

    /// The link that the target names.
    #[must_use]
    pub fn scoped_addr(&self) -> Option<&ScopedAddr> {
        match &self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        }
    }

    /// Queries the resolver on a separate thread, because a resolver may block for long
    /// and cannot be interrupted.
    fn look_up(&self, host: &str, signals: &mut Signals) -> Result<Vec<SocketAddr>, Failure> {
        let question = (host.to_owned(), self.port.to_string());
        let answer = patiently(signals, "querying the resolver", move || {
            let (host, port) = &question;
            let hints = AddrInfoHints {
                socktype: SockType::Stream.into(),
                ..AddrInfoHints::default()
            };
            let found = getaddrinfo(Some(host), Some(port), Some(hints))?;
            // A result that is not an Internet address is an error.
            Ok(found.flatten().map(|info| info.sockaddr).collect())
        })?;
        answer.map_err(|error: LookupError| self.not_found(host, error))
    }

    fn not_found(&self, host: &str, error: LookupError) -> Failure {
        match (error.kind(), &self.port) {
            (LookupErrorKind::Service, Port::Service(name)) => Failure::usage(format!(
                "unknown service {name:?}: /etc/services has no such TCP port. Give its number"
            )),
            // The command line is valid; the network has no answer.
            _ => Failure::other(format!(
                "unknown host {host:?}: {}. Check the name, or give an IP address",
                io::Error::from(error)
            )),
        }
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    let mut ips: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
    ips.dedup();
    ips.join(", ")
}
