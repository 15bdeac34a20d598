//! The command line of the examples: which TAP, and which server.

use crate::network::{Net, run};
use clap::Parser;
use lastbyte::stack::smoltcp::wire::IpCidr;
use lastbyte_host::namespace::{KERNEL_V4, Namespace, OUR_V4, PREFIX_V4};
use lastbyte_host::tap::Tap;
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;

/// Any error of an example.
pub type Failure = Box<dyn std::error::Error>;

/// How long a TAP device may take to get its carrier, and a server to listen.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
#[command(about = "An example of a protocol crate over lastbyte. Its header has a command to try.")]
struct Arguments {
    /// Start this server in a private network, in which 10.77.0.1 is the kernel and we are 10.77.0.2
    #[arg(long, value_name = "CMD", conflicts_with = "tap")]
    peer: Option<String>,
    /// Use this TAP device (it must exist and be up)
    #[arg(
        long,
        value_name = "NAME",
        requires = "addr",
        required_unless_present = "peer"
    )]
    tap: Option<String>,
    /// Our address on it, such as 10.0.0.2/24
    #[arg(long, value_name = "CIDR", requires = "tap", value_parser = parse_cidr)]
    addr: Option<IpCidr>,
    /// The server
    #[arg(value_name = "IP:PORT")]
    server: SocketAddr,
}

fn parse_cidr(text: &str) -> Result<IpCidr, String> {
    text.parse()
        .map_err(|()| format!("{text} is not an address with a prefix, such as 10.0.0.2/24"))
}

/// A server that is killed when the example ends.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs an example over the network that the command line selects.
///
/// # Errors
///
/// There is no such network, or the example failed.
pub fn main(
    example: impl AsyncFnOnce(&Net<'_>, SocketAddr) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let server = arguments.server;
    let task = async |net: &Net<'_>| example(net, server).await;
    if let Some(command) = arguments.peer {
        let (namespace, tap) = Namespace::enter()?;
        let _peer = start(&namespace, &command, server)?;
        return run(tap, IpCidr::new(OUR_V4.into(), PREFIX_V4), task)?;
    }
    let (Some(name), Some(address)) = (arguments.tap, arguments.addr) else {
        return Err("--peer, or --tap and --addr".into());
    };
    let tap = Tap::open(&name)?;
    if !tap.wait_carrier(PATIENCE) {
        return Err(format!("{name} is down; try: ip link set {name} up").into());
    }
    run(tap, address, task)?
}

/// Starts a server, and waits until it listens.
fn start(namespace: &Namespace, command: &str, server: SocketAddr) -> Result<Peer, Failure> {
    if server.ip() != KERNEL_V4 {
        return Err(format!("with --peer the server is {KERNEL_V4}, not {}", server.ip()).into());
    }
    // When the shell is killed, so is all that it has started.
    let mut shell = Command::new("sh");
    let mut peer = Peer(namespace.spawn_first(shell.arg("-c").arg(command))?);
    namespace.wait_listening(server, Some(&mut peer.0), PATIENCE)?;
    Ok(peer)
}
