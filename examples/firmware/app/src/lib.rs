//! A firmware application over `lastbyte`, for any board.
//!
//! A board supplies a [`Board`]: a network device, a clock, an address and a seed.
//! Everything else is here, and is the same on every board:
//!
//! - *heartbeat*: a line at a fixed interval. The beat is the probe: the first one after
//!   the connection has ended is refused with the cause.
//! - *bulk*: a stream that resumes. Each connection begins with the offset at which it
//!   resumes, up to which the peer had acknowledged the stream.
//!
//! When the connection has ended, the application logs the cause and the ledger, and
//! connects again with an exponential back-off.
//!
//! The modules, in the order to read them: `session.rs` is the part to copy, one
//! connection from its opening to its report; `heartbeat.rs` and `bulk.rs` are two uses
//! of it, and decide what happens to lost data; `settings.rs` is the part that an
//! application replaces by constants.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    missing_docs,
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm
)]

mod backoff;
mod bulk;
mod heartbeat;
mod session;
mod settings;

pub use bulk::octet;
pub use settings::{LostBeat, Mode, Settings, SettingsError, Why};

use backoff::Backoff;
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte::stack::smoltcp::wire::EthernetAddress;
use lastbyte::stack::{Buffers, Error, boot_seed};
use lastbyte::{Cause, Clock};
use session::{Ended, Session};

/// The largest write of the application: the payload of a full segment on Ethernet.
pub const LARGEST_WRITE: usize = 1460;

/// What a board supplies.
#[derive(Debug)]
pub struct Board<D, C> {
    /// The network device.
    pub device: D,
    /// Time, and a way to sleep.
    pub clock: C,
    /// The hardware address of the device.
    pub hardware_addr: EthernetAddress,
    /// 64 bits that an attacker cannot guess, different at each boot: see the porting
    /// guide. Do not log them.
    pub seed: u64,
    /// Checks whether there is a link. Called several times a second.
    pub link: fn(&mut D) -> Link,
}

/// The state of the link, as the board reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub enum Link {
    /// There is a link, and there was one since the last check.
    Up,
    /// There is no link, or there was none at some time since the last check.
    Down,
    /// The board cannot report its link.
    Unknown,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub enum Outcome {
    /// Everything was written, and the peer's TCP acknowledged all of it.
    Done,
    /// All beats were sent, and this many of them are not known to have arrived.
    BeatsLost(u64),
    /// No more connections were allowed; the last one ended with this cause.
    GaveUp(Cause),
    /// The last connection could not be opened, or the stack could not be made.
    Failed(Error),
}

impl Outcome {
    /// The exit status for the host; for causes the same as the `lastbyte` command's.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Done => 0,
            #[cfg(feature = "dhcp")]
            Self::Failed(Error::Lease(_)) => 6,
            #[cfg(feature = "dns")]
            Self::Failed(Error::Resolve(_)) => 6,
            Self::BeatsLost(_) | Self::Failed(_) => 1,
            Self::GaveUp(cause) => match cause {
                Cause::PeerFinished => 3,
                Cause::PeerReset => 4,
                Cause::Refused => 5,
                Cause::Unreachable => 6,
                Cause::ConnectTimeout
                | Cause::Vanished
                | Cause::Unacknowledged
                | Cause::FinishTimeout => 7,
                Cause::AddressLost => 8,
                // The application finishes a connection only when its work is done.
                Cause::Finished => 1,
                Cause::Aborted => 9,
            },
        }
    }
}

/// Runs the application until its work is done or it gives up, which it never does by
/// default.
///
/// The board supplies the buffers, because only the board knows how much memory there is:
/// `TX` bounds the throughput, a small `RX` is enough for what the application discards.
pub fn run<D: Device, C: Clock, const TX: usize, const RX: usize>(
    board: Board<D, C>,
    settings: &Settings<'_>,
    buffers: &mut Buffers<1, TX, RX>,
) -> Outcome {
    defmt::info!(
        "lastbyte: {} to {}:{} from {}, buffers tx={} rx={}",
        settings.mode,
        settings.host,
        settings.port,
        settings.addr,
        TX,
        RX
    );
    let backoff = Backoff::new(settings.backoff, settings.backoff_most, jitter(board.seed));
    // The storage of smoltcp's sockets: a few hundred octets of stack.
    let mut storage = session::Storage::EMPTY;
    let outcome = match Session::new(board, settings, buffers.split(), &mut storage) {
        Ok(session) => connect_again_and_again(session, settings, backoff),
        Err(error) => Outcome::Failed(error),
    };
    match outcome {
        Outcome::Done => defmt::info!("done"),
        Outcome::BeatsLost(lost) => defmt::error!(
            "ended: {} of {} beats are not known to have arrived",
            lost,
            settings.count
        ),
        Outcome::GaveUp(cause) => defmt::error!("gave up: cause={=str}", cause.name()),
        Outcome::Failed(error) => defmt::error!("failed: {}", error),
    }
    outcome
}

/// A seed for numbers that others can see, from which the secret seed cannot be computed.
fn jitter(seed: u64) -> u64 {
    let [a, b, c, d, e, f, g, h] = seed.to_le_bytes();
    boot_seed(&[a, b, c, d, e, f, g, h, a, b, c, d, e, f, g, h], 0)
}

/// Work that continues over several connections.
enum Work<'a> {
    Heartbeat(heartbeat::Beats<'a>),
    Bulk(bulk::Place),
}

fn connect_again_and_again<D: Device, C: Clock>(
    mut session: Session<'_, D, C>,
    settings: &Settings<'_>,
    mut backoff: Backoff,
) -> Outcome {
    let mut work = match settings.mode {
        Mode::Heartbeat => Work::Heartbeat(heartbeat::Beats::new(settings)),
        Mode::Bulk => Work::Bulk(bulk::Place::new(settings)),
    };
    let mut connections: u32 = 0;
    loop {
        connections = connections.saturating_add(1);
        let ended = session.connect(connections, |connection| match &mut work {
            Work::Heartbeat(beats) => beats.write(connection),
            Work::Bulk(place) => place.write(connection),
        });
        let outcome = match (&mut work, &ended) {
            (_, Ended::NotBegun(_)) => None,
            (Work::Heartbeat(beats), Ended::Of(report)) => beats.after(report.ledger),
            (Work::Bulk(place), Ended::Of(report)) => place.after(report.ledger),
        };
        if let Some(outcome) = outcome {
            return outcome;
        }
        if connections == settings.connections {
            return match ended {
                Ended::NotBegun(error) => Outcome::Failed(error),
                Ended::Of(report) => Outcome::GaveUp(report.cause.unwrap_or(Cause::Aborted)),
            };
        }
        // A peer that accepted bytes has responded: the pause grows only if it did not.
        if matches!(&ended, Ended::Of(report) if report.ledger.acknowledged() > 0) {
            backoff.reset();
        }
        let pause = backoff.next();
        defmt::info!(
            "connecting again in {} ms",
            u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
        );
        session.pause(pause);
    }
}
