//! The networks that a board is connected to.

use lastbyte_firmware_host::Network;
use lastbyte_host::namespace::{KERNEL_V4, Namespace, OUR_V4, PREFIX_V4};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};
use std::thread;

/// The board's end of the TAP, and the peer's.
const TAP: &str = "board0";

/// The network of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// QEMU's own.
    User,
    /// A TAP in a private namespace.
    Tap,
    /// The same, with dnsmasq, which leases addresses and resolves `host.test`.
    Leased,
}

impl Place {
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tap => "tap",
            Self::Leased => "leased",
        }
    }

    pub fn network(self) -> Network {
        match self {
            Self::User => Network::User,
            Self::Tap | Self::Leased => Network::Tap(TAP.to_owned()),
        }
    }

    /// The address at which the peer listens.
    pub const fn listen_at(self, port: u16) -> SocketAddrV4 {
        let addr = match self {
            Self::User => Ipv4Addr::LOCALHOST,
            Self::Tap | Self::Leased => KERNEL_V4,
        };
        SocketAddrV4::new(addr, port)
    }

    /// The settings with which the firmware reaches `host`, or the peer by default.
    pub fn settings(self, host: Option<Ipv4Addr>) -> Vec<String> {
        match self {
            Self::User => Vec::new(),
            Self::Leased => vec!["addr=dhcp".to_owned(), "host=host.test".to_owned()],
            Self::Tap => vec![
                format!("addr={OUR_V4}/{PREFIX_V4}"),
                format!("host={}", host.unwrap_or(KERNEL_V4)),
                "gateway=none".to_owned(),
            ],
        }
    }
}

/// What is missing on this machine for tests over TAP; `None` if they can run.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may make a TAP device and a network namespace".to_owned());
    }
    for program in ["ip", "nft"] {
        if let Err(error) = Command::new(program).arg("-V").output() {
            return Some(format!("{program}: {error}"));
        }
    }
    let tried = thread::spawn(|| {
        let _namespace = Namespace::enter_empty().map_err(|error| error.to_string())?;
        try_ip(&format!("tuntap add dev {TAP} mode tap"))
    });
    match tried.join() {
        Ok(result) => result.err(),
        Err(_) => Some("making a TAP device panics".to_owned()),
    }
}

/// What this machine lacks for tests with dnsmasq; `None` if they can run.
pub fn missing_for_leases() -> Option<String> {
    let tried = Command::new("dnsmasq").arg("--version").output();
    tried.err().map(|error| format!("dnsmasq: {error}"))
}

/// A process that ends with the value.
#[derive(Debug)]
pub struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts dnsmasq at the kernel's end of the TAP.
#[track_caller]
fn lease() -> Service {
    let child = Command::new("dnsmasq")
        .args(["-k", "--user=root", "--conf-file=/dev/null", "--no-resolv"])
        .args(["--no-hosts", "--pid-file", "--bind-interfaces", "--no-ping"])
        .args(["--leasefile-ro", "--interface", TAP, "--local=/test/"])
        .arg("--dhcp-range=10.77.0.50,10.77.0.60,2m")
        .arg(format!("--address=/host.test/{KERNEL_V4}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Service(child)
}

/// Moves the calling thread to this network. The namespace lasts as long as the thread
/// and the processes that it starts. Returns the process that leases addresses there.
#[track_caller]
pub fn enter(place: Place) -> Option<Service> {
    match place {
        Place::User => {}
        Place::Tap | Place::Leased => {
            let _namespace = Namespace::enter_empty().expect("it could be made a moment ago");
            // It is made before QEMU opens it, so that it outlives a QEMU.
            ip(&format!("tuntap add dev {TAP} mode tap"));
            ip(&format!("addr add {KERNEL_V4}/{PREFIX_V4} dev {TAP}"));
            ip(&format!("link set {TAP} up"));
        }
    }
    (place == Place::Leased).then(lease)
}

#[track_caller]
fn ip(arguments: &str) {
    try_ip(arguments).unwrap();
}

fn try_ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {}", error.trim()))
}

/// What the kernel at the peer's end of the TAP drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Nothing,
    /// TCP from the board.
    FromBoard,
    /// TCP in both directions.
    Both,
}

/// Sets the filter of this thread's namespace.
#[track_caller]
pub fn filter(filter: Filter) {
    let (input, output) = match filter {
        Filter::Nothing => ("", ""),
        Filter::FromBoard => ("meta l4proto tcp drop;", ""),
        Filter::Both => ("meta l4proto tcp drop;", "meta l4proto tcp drop;"),
    };
    let rules = format!(
        "flush ruleset
table inet lab {{
    chain in {{ type filter hook input priority 0; {input} }}
    chain out {{ type filter hook output priority 0; {output} }}
}}"
    );
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    nft.stdin
        .take()
        .unwrap()
        .write_all(rules.as_bytes())
        .unwrap();
    assert!(nft.wait().unwrap().success(), "nft refuses:\n{rules}");
}
