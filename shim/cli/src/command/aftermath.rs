//! The work after the connection has ended.
//!
//! For a moment, segments of the peer's TCP are still answered. A peer that the command
//! started may finish. No process is left that waits for the command.

use std::io;
use std::time::Duration;

use lastbyte::Instant;
use lastbyte::stack::Network;
use lastbyte::stack::smoltcp::socket::{Socket, tcp};

use super::console;
use super::exit;
use super::over::Over;
use super::peer::{Life, Outcome};
use super::session::{DEVICE_FULL_PAUSE, Session};
use super::work::{SAMPLE_INTERVAL, Work};

/// How long to wait for the peer's FIN after ours was acknowledged, so that it is
/// answered.
const LINGER: Duration = Duration::from_millis(500);
/// How long a RST may wait for the device or a neighbour.
const RST_LIMIT: Duration = Duration::from_millis(200);
/// How long to wait for a capture whose reader does not read.
const CAPTURE_PATIENCE: Duration = Duration::from_secs(2);

/// When our own peer has last done something, as far as can be observed.
struct Progress {
    work: Work,
    sampled_at: Instant,
    at: Instant,
}

impl<O: Over> Session<'_, O> {
    /// Everything after the end of the connection. Returns how the peer's process ended,
    /// if it is ours.
    pub(super) async fn wind_up(&mut self, peer_grace: Duration) -> Option<Outcome> {
        if let Some(input) = self.run.input {
            self.over
                .with_clock(|clock| clock.set_watched(input, false));
        }
        let is_interrupted = self.signals.have_arrived();
        if !is_interrupted {
            self.linger(peer_grace).await;
        }
        self.reset_what_is_left().await;
        let peer = self.run.peer.take();
        let is_interrupted = self.signals.have_arrived();
        let outcome = peer.map(|peer| peer.end(is_interrupted, console::line));
        if let Err(error) = self.finish_capture() {
            exit::note(&format!("the capture is incomplete: {error}"));
        }
        outcome
    }

    /// Answers the peer for a moment after the end: its FIN may follow ours. A peer of
    /// our own may finish, for as long as it makes progress.
    async fn linger(&mut self, peer_grace: Duration) {
        if let Some(peer) = self.run.peer_watch {
            self.over.with_clock(|clock| clock.set_watched(peer, true));
        }
        let start = self.over.now();
        let mut progress = self.run.peer.as_mut().map(|peer| {
            peer.end_input();
            Progress {
                work: peer.work(),
                sampled_at: start,
                at: start,
            }
        });
        loop {
            let next = self.over.serve();
            let now = self.over.now();
            let show_at = self.show_peer(now);
            let is_done = match &mut progress {
                Some(progress) => self.is_peer_done(progress, now, peer_grace),
                None => !self.awaits_fin() || now >= start + LINGER,
            };
            let has_failed = self.over.with_clock(|clock| clock.has_device_failed());
            if is_done || self.signals.have_arrived() || has_failed {
                return;
            }
            let next = next.max(now + DEVICE_FULL_PAUSE);
            let until = next.min(show_at).min(now + SAMPLE_INTERVAL);
            self.over.wait(until).await;
        }
    }

    /// Whether our peer has ended, or has done nothing for `grace`.
    fn is_peer_done(&mut self, progress: &mut Progress, now: Instant, grace: Duration) -> bool {
        let Some(peer) = &mut self.run.peer else {
            return true;
        };
        let life = peer.life();
        if matches!(life, Life::Ended(_)) {
            return true;
        }
        if now >= progress.sampled_at + SAMPLE_INTERVAL {
            let work = peer.work();
            // A process that a shell leaves in the background may run without end. It
            // only matters while it still reads input that may be ours.
            let goes_on = match life {
                Life::LeftMore(_) => work.takes_in_since(&progress.work),
                Life::Runs | Life::Ended(_) => work.goes_on_since(&progress.work),
            };
            if goes_on {
                progress.at = now;
            }
            progress.work = work;
            progress.sampled_at = now;
        }
        now >= progress.at + grace
    }

    /// Whether our FIN is acknowledged and the peer's has not arrived yet.
    fn awaits_fin(&mut self) -> bool {
        self.is_any(|socket| socket.state() == tcp::State::FinWait2)
    }

    fn is_any(&self, condition: impl Fn(&tcp::Socket<'_>) -> bool) -> bool {
        self.over.with_network(|network| {
            let mut sockets = network.sockets.iter();
            sockets.any(|(_, socket)| matches!(socket, Socket::Tcp(socket) if condition(socket)))
        })
    }

    /// No segment is answered after this. So a peer that may still send gets a RST at once
    /// (RFC 9293, 3.6.1); otherwise it would retransmit for minutes.
    async fn reset_what_is_left(&mut self) {
        let mut is_left = self.over.with_network(reset_all);
        let until = self.over.now() + RST_LIMIT;
        while is_left && self.over.now() < until {
            self.over.serve();
            // A socket forgets its endpoints once the RST was sent.
            is_left = self.is_any(|socket| socket.remote_endpoint().is_some());
            if is_left {
                self.over.wait(self.over.now() + DEVICE_FULL_PAUSE).await;
            }
        }
    }

    fn finish_capture(&mut self) -> io::Result<()> {
        let finished = self.over.with_device(|device| Some(device.finish()));
        finished.transpose()?;
        let Some(file) = &self.run.capture else {
            return Ok(());
        };
        let drained = file.drain(CAPTURE_PATIENCE, || self.signals.have_arrived());
        drained.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => io::Error::other("its reader does not read"),
            _ => error,
        })
    }
}

/// Resets every connection that still lives. Returns whether there was one.
fn reset_all(network: Network<'_, '_>) -> bool {
    let mut is_any = false;
    for (_, socket) in network.sockets.iter_mut() {
        if let Socket::Tcp(socket) = socket
            && !matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait)
        {
            socket.abort();
            is_any = true;
        }
    }
    is_any
}
