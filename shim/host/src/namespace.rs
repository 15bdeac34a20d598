//! A private network, with the host's kernel as the peer.
//!
//! A network namespace is a second, empty network stack inside the running kernel: its
//! own interfaces, addresses, routes and ports. [`Namespace`] moves the calling thread
//! into a new one and makes a TAP in it:
//!
//! ```text
//!   lastbyte (this process)          the kernel, in the namespace
//!   10.77.0.2/24, fd77::2/64  <--->  10.77.0.1/24, fd77::1/64  + lo
//! ```
//!
//! Processes and sockets that the thread makes afterwards are in the namespace too. The
//! network of the host is neither used nor changed, and the kernel removes the namespace
//! with the last thread in it.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant as HostInstant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};
use procfs::net::{TcpNetEntries, TcpState};
use procfs::{FromReadSI, current_system_info};

use self::policy::Policy;
use crate::tap::{self, Offload, Tap, TapError};

mod netlink;
mod policy;
pub mod probe;
mod testing;

pub use testing::{test, test_with};

/// The name of the TAP in a namespace.
pub const TAP_NAME: &str = "lastbyte0";
/// Its MTU in bytes, without the Ethernet header.
pub const TAP_MTU: u16 = 1500;
/// The kernel's IPv4 address: where a peer in the namespace listens.
pub const KERNEL_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Our IPv4 address.
pub const OUR_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The length of the IPv4 prefix.
pub const PREFIX_V4: u8 = 24;
/// The kernel's IPv6 address.
pub const KERNEL_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// Our IPv6 address.
pub const OUR_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// The length of the IPv6 prefix.
pub const PREFIX_V6: u8 = 64;
/// A hardware address for our side (locally administered).
pub const OUR_HARDWARE_ADDR: [u8; 6] = [0x02, 0x00, 0x00, 0x77, 0x00, 0x02];

/// The maximum time until a new TAP and its addresses work.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// How often the caller is queried meanwhile whether to continue.
const SETTLE_SLICE: Duration = Duration::from_millis(50);
/// How often this is checked.
const SETTLE_INTERVAL: Duration = Duration::from_millis(1);
/// How often the list of listening sockets is read.
const LISTEN_INTERVAL: Duration = Duration::from_millis(5);

/// Why there is no private network.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// No TAP device can be made.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The kernel's policy forbids it.
    #[error("this user may not make a network namespace: {}", Policy::read().remedy_for_forbidden())]
    Forbidden,
    /// Without root a whole process must move, and it must have only one thread.
    #[error(
        "only root can move one thread of many into a namespace: run as root, or enter it before the first thread is started"
    )]
    MultiThreaded,
    /// The number of namespaces is used up.
    #[error("no more namespaces are allowed: {}", Policy::read().remedy_for_too_many())]
    TooMany,
    /// The kernel was built without namespaces.
    #[error("this kernel has no user or network namespaces: use one that was built with them")]
    Unsupported,
    /// The caller interrupted the wait.
    #[error("interrupted")]
    Interrupted,
    /// A step inside the new namespace failed.
    #[error("{doing} in the new namespace: {source}")]
    Setup {
        /// What was attempted.
        doing: &'static str,
        /// The error of the kernel.
        source: io::Error,
    },
}

/// Why there is no peer to connect to.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The peer's process ended before it listened.
    #[error("the peer ended before it listened on {wanted} ({status})")]
    PeerEnded {
        /// The expected address.
        wanted: SocketAddr,
        /// Its exit status.
        status: ExitStatus,
    },
    /// Something listens on the port, but at an address that no frame of ours reaches.
    #[error("the peer only listens on {found}: make it listen on {wanted} or on every address")]
    Elsewhere {
        /// The expected address.
        wanted: SocketAddr,
        /// The address on which it listens.
        found: SocketAddr,
    },
    /// Nothing listens.
    #[error("nothing listened on {wanted} within {limit:?}")]
    TimedOut {
        /// The expected address.
        wanted: SocketAddr,
        /// The time limit.
        limit: Duration,
    },
    /// The list of sockets, or the state of the peer, cannot be read.
    #[error("looking for a listener: {0}")]
    Io(#[from] io::Error),
}

/// The private network of the calling thread.
///
/// A thread cannot leave its namespace. The value is bound to its thread, and so are the
/// results of its methods.
#[derive(Debug)]
pub struct Namespace {
    has_ipv6: bool,
    is_of_this_thread: PhantomData<*const ()>,
}

impl Namespace {
    /// Moves the calling thread into a new namespace, with our end of its TAP.
    ///
    /// Root moves only this thread. Another user gets a user namespace as
    /// well, in which it is root, and for that the process must have no other
    /// thread yet.
    ///
    /// # Errors
    ///
    /// [`NamespaceError`] contains what to do. After [`NamespaceError::Setup`], and after
    /// a [`NamespaceError::Tap`] other than a missing driver, the thread may be in a
    /// namespace without a network: end it.
    pub fn enter() -> Result<(Self, Tap), NamespaceError> {
        Self::enter_with(Offload::Segmentation)
    }

    /// Like [`enter`](Self::enter), with at most this much offloaded to the kernel.
    ///
    /// # Errors
    ///
    /// As for [`enter`](Self::enter).
    pub fn enter_with(most: Offload) -> Result<(Self, Tap), NamespaceError> {
        Self::enter_unless(most, &mut || false)
    }

    /// Like [`enter_with`](Self::enter_with), but gives up if `is_unwanted` returns true
    /// while it waits for the kernel.
    ///
    /// # Errors
    ///
    /// As for [`enter`](Self::enter), and [`NamespaceError::Interrupted`].
    pub fn enter_unless(
        most: Offload,
        is_unwanted: &mut dyn FnMut() -> bool,
    ) -> Result<(Self, Tap), NamespaceError> {
        tap::check_driver()?;
        let namespace = Self::enter_empty()?;
        let tap = Tap::create_with(TAP_NAME, TAP_MTU, most)?;
        namespace.configure(&tap, is_unwanted)?;
        Ok((namespace, tap))
    }

    /// Moves the calling thread into a new namespace that has only `lo`: for a peer with
    /// its own interface, such as an emulated board.
    ///
    /// # Errors
    ///
    /// As for [`Namespace::enter`].
    pub fn enter_empty() -> Result<Self, NamespaceError> {
        unshare_network()?;
        let lo = if_nametoindex("lo").map_err(|e| setup("finding lo")(e.into()))?;
        netlink::set_up(lo).map_err(setup("bringing lo up"))?;
        Ok(Self {
            has_ipv6: fs::exists("/proc/thread-self/net/if_inet6").unwrap_or(false),
            is_of_this_thread: PhantomData,
        })
    }

    /// Gives an interface of this namespace the kernel's IPv4 address and brings
    /// it up: for a driver that makes its TAP itself.
    ///
    /// # Errors
    ///
    /// There is no such interface, or the kernel refuses the change.
    pub fn adopt(&self, name: &str) -> io::Result<()> {
        let index = if_nametoindex(name)?;
        netlink::add_address(index, KERNEL_V4.into(), PREFIX_V4)?;
        netlink::set_up(index)
    }

    fn configure(
        &self,
        tap: &Tap,
        is_unwanted: &mut dyn FnMut() -> bool,
    ) -> Result<(), NamespaceError> {
        let failed = setup("addressing");
        self.address(tap).map_err(&failed)?;
        let start = HostInstant::now();
        while !tap.wait_carrier(SETTLE_SLICE) {
            if is_unwanted() {
                return Err(NamespaceError::Interrupted);
            }
            if start.elapsed() >= SETTLE_LIMIT {
                return Err(failed(io::ErrorKind::NetworkDown.into()));
            }
        }
        // The kernel answers neighbour solicitations once it has joined the group that
        // they are sent to, which a worker does some time after the link is up. A
        // solicitation that is lost before costs a second.
        let start = HostInstant::now();
        while self.has_ipv6 && !is_solicited_node_joined().map_err(&failed)? {
            if is_unwanted() {
                return Err(NamespaceError::Interrupted);
            }
            if start.elapsed() >= SETTLE_LIMIT {
                // The worker shares a lock with every namespace that is being removed.
                // IPv4 does not need the worker, and IPv6 works once it has run.
                log::warn!("IPv6 is not ready after {SETTLE_LIMIT:?}");
                break;
            }
            thread::sleep(SETTLE_INTERVAL);
        }
        Ok(())
    }

    fn address(&self, tap: &Tap) -> io::Result<()> {
        let index = tap.index()?;
        netlink::add_address(index, KERNEL_V4.into(), PREFIX_V4)?;
        if self.has_ipv6 {
            netlink::add_address(index, KERNEL_V6.into(), PREFIX_V6)?;
        }
        tap.set_up(true)
    }

    /// Starts `command` in this namespace, as the first process of a PID
    /// namespace of its own. When it ends, for whatever reason, the kernel kills all
    /// processes that it has started, directly or not.
    ///
    /// # Errors
    ///
    /// [`NamespaceError`], or the program cannot be started.
    pub fn spawn_first(&self, command: &mut Command) -> Result<Child, NamespaceError> {
        // A thread that has left its PID namespace can start no more threads, and cannot
        // return. So a thread is made for this.
        let spawn = || {
            unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| match errno {
                Errno::ENOSPC => NamespaceError::TooMany,
                Errno::EPERM => NamespaceError::Forbidden,
                _ => setup("making a PID namespace")(errno.into()),
            })?;
            command.spawn().map_err(setup("starting a process"))
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .spawn_scoped(scope, spawn)
                .map_err(setup("starting a thread"))?;
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Whether the kernel's side has its IPv6 address (IPv6 may be switched
    /// off in the whole kernel).
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.has_ipv6
    }

    /// Waits until something in this namespace accepts connections to `wanted`. It reads
    /// the list of sockets, and does not disturb the listener with a connection of its
    /// own.
    ///
    /// `peer` is the process that should listen: if it ends first, so does the wait.
    ///
    /// # Errors
    ///
    /// [`ListenError`], after `limit` at the latest.
    pub fn wait_listening(
        &self,
        wanted: SocketAddr,
        mut peer: Option<&mut Child>,
        limit: Duration,
    ) -> Result<(), ListenError> {
        let start = HostInstant::now();
        loop {
            let listeners = self.listeners(wanted.port())?;
            if listeners.iter().any(|found| reaches(*found, wanted)) {
                return Ok(());
            }
            if let Some(peer) = peer.as_deref_mut()
                && let Some(status) = peer.try_wait()?
            {
                return Err(ListenError::PeerEnded { wanted, status });
            }
            if start.elapsed() >= limit {
                return Err(match listeners.first() {
                    Some(&found) => ListenError::Elsewhere { wanted, found },
                    None => ListenError::TimedOut { wanted, limit },
                });
            }
            thread::sleep(LISTEN_INTERVAL);
        }
    }

    /// The local addresses on which something in this namespace listens at TCP
    /// port `port`.
    ///
    /// # Errors
    ///
    /// The list of sockets cannot be read.
    pub fn listeners(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut found = Vec::new();
        // "thread-self": the process may have other threads, elsewhere.
        for path in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
            let entries = match TcpNetEntries::from_file(path, current_system_info()) {
                Ok(entries) => entries.0,
                Err(procfs::ProcError::NotFound(_)) => continue,
                Err(error) => return Err(io::Error::other(error)),
            };
            found.extend(
                entries
                    .into_iter()
                    .filter(|e| e.state == TcpState::Listen && e.local_address.port() == port)
                    .map(|e| e.local_address),
            );
        }
        Ok(found)
    }
}

/// Runs `inside` on a new thread in a new namespace, and waits for it: for a program that
/// must not move itself. It needs root; [`test()`] does not.
///
/// A panic of `inside` goes on in the caller.
///
/// # Errors
///
/// As for [`Namespace::enter`].
pub fn run<T, F>(inside: F) -> Result<T, NamespaceError>
where
    F: FnOnce(Namespace, Tap) -> T + Send,
    T: Send,
{
    run_with(Offload::Segmentation, inside)
}

/// Like [`run`], with at most this much offloaded to the kernel.
///
/// # Errors
///
/// As for [`Namespace::enter`].
pub fn run_with<T, F>(most: Offload, inside: F) -> Result<T, NamespaceError>
where
    F: FnOnce(Namespace, Tap) -> T + Send,
    T: Send,
{
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (namespace, tap) = Namespace::enter_with(most)?;
            Ok(inside(namespace, tap))
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether a connection to `wanted` ends at a listener on `found`. If `wanted` is
/// unspecified, its address is not known yet, and any listener will do.
fn reaches(found: SocketAddr, wanted: SocketAddr) -> bool {
    // Programs with dual-stack sockets listen on ::ffff:10.77.0.1 in place of 10.77.0.1.
    match (found.ip().to_canonical(), wanted.ip()) {
        (found, wanted) if found == wanted || wanted.is_unspecified() => true,
        // A listener on `::` accepts IPv4 too, unless it has IPV6_V6ONLY set, which the
        // list does not show.
        (IpAddr::V6(found), _) => found.is_unspecified(),
        (IpAddr::V4(found), IpAddr::V4(_)) => found.is_unspecified(),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    }
}

/// Whether this namespace receives what is sent to the solicited-node address of
/// [`KERNEL_V6`] (RFC 4291, 2.7.1).
fn is_solicited_node_joined() -> io::Result<bool> {
    let [.., a, b, c] = KERNEL_V6.octets();
    let group = format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}");
    Ok(fs::read_to_string("/proc/thread-self/net/igmp6")?.contains(&group))
}

fn setup(doing: &'static str) -> impl Fn(io::Error) -> NamespaceError {
    // AppArmor allows a process to make a user namespace and then removes its
    // capabilities: the first step inside fails.
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied => NamespaceError::Forbidden,
        _ => NamespaceError::Setup { doing, source },
    }
}

fn unshare_network() -> Result<(), NamespaceError> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM) => {}
        Err(errno) => return Err(refused(errno)),
    }
    // The ids are read first: in the new namespace all ids are the overflow id until they are
    // mapped.
    let (uid, gid) = (Uid::effective(), Gid::effective());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(refused)?;
    // Only a process that gives up setgroups(2) may map its own group
    // (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny").map_err(setup("giving up setgroups"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(setup("mapping the group"))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(setup("mapping the user"))
}

fn refused(errno: Errno) -> NamespaceError {
    match errno {
        Errno::ENOSPC | Errno::EUSERS => NamespaceError::TooMany,
        Errno::EINVAL if thread_count() > 1 => NamespaceError::MultiThreaded,
        Errno::EINVAL | Errno::ENOSYS => NamespaceError::Unsupported,
        _ => NamespaceError::Forbidden,
    }
}

fn thread_count() -> usize {
    fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

#[cfg(test)]
mod tests;
