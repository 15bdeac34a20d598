//! A pcap file of everything that crosses a device.
//!
//! smoltcp's own writer makes the records. Its `Write` sink panics when the
//! disk is full; the sink here keeps the first error, stops the capture, and
//! leaves the connection alone.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration as HostDuration;

use smoltcp::phy::{Device, DeviceCapabilities, PcapMode, PcapSink, PcapWriter};
use smoltcp::time::{Duration, Instant};

/// How old, in the capture's own time, a record grows before the next one
/// pushes it into the file: what a killed process loses at the most.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// A device with an optional pcap capture around it.
///
/// ```
/// use std::time::Duration;
/// use lastbyte_shim::capture::Capture;
/// use smoltcp::phy::{Device, Loopback, Medium, RxToken, TxToken};
/// use smoltcp::time::Instant;
///
/// let path = std::env::temp_dir().join(format!("capture-{}.pcap", std::process::id()));
/// let mut device = Capture::create(Loopback::new(Medium::Ethernet), &path, Duration::ZERO)?;
/// if let Some(tx) = device.transmit(Instant::ZERO) {
///     tx.consume(60, |frame| frame.fill(0));
/// }
/// if let Some((rx, _tx)) = device.receive(Instant::ZERO) {
///     rx.consume(|frame| assert_eq!(frame.len(), 60));
/// }
/// assert_eq!(device.finish()?, 2); // once out, once in
/// assert_eq!(std::fs::metadata(&path)?.len(), 24 + 2 * (16 + 60));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Capture<D: Device> {
    device: PcapWriter<D, Sink>,
    // PcapWriter does not give its sink back, so the state is shared with it.
    state: Rc<RefCell<State>>,
}

/// Where the records go. Nothing can be done with it from outside; it is
/// named by the tokens of a [`Capture`].
#[derive(Debug)]
pub struct Sink {
    state: Rc<RefCell<State>>,
}

struct State {
    out: Option<BufWriter<Box<dyn Write>>>,
    epoch: Duration,
    flushed_at: Instant,
    frames: u64,
    error: Option<io::Error>,
}

impl<D: Device> Capture<D> {
    /// Captures into the file at `path`, which is replaced.
    ///
    /// `epoch_since_1970` is the time of day at the stack's time zero
    /// ([`HostClock::epoch_since_1970`](crate::host_clock::HostClock::epoch_since_1970)),
    /// so that Wireshark shows dates; zero leaves the stack's own time.
    ///
    /// # Errors
    ///
    /// The file cannot be created.
    pub fn create(device: D, path: &Path, epoch_since_1970: HostDuration) -> io::Result<Self> {
        let file = File::create(path)?;
        Ok(Self::to_writer(device, Box::new(file), epoch_since_1970))
    }

    /// Captures into `out`, which may fail at any time without harm.
    #[must_use]
    pub fn to_writer(device: D, out: Box<dyn Write>, epoch_since_1970: HostDuration) -> Self {
        Self::new(device, Some(BufWriter::new(out)), epoch_since_1970)
    }

    /// Captures nothing: the same type, for when no capture was asked for.
    #[must_use]
    pub fn off(device: D) -> Self {
        Self::new(device, None, HostDuration::ZERO)
    }

    fn new(device: D, out: Option<BufWriter<Box<dyn Write>>>, epoch: HostDuration) -> Self {
        let state = Rc::new(RefCell::new(State {
            out,
            epoch: epoch.into(),
            flushed_at: Instant::ZERO,
            frames: 0,
            error: None,
        }));
        let sink = Sink {
            state: Rc::clone(&state),
        };
        Self {
            device: PcapWriter::new(device, sink, PcapMode::Both),
            state,
        }
    }

    /// The device inside.
    pub fn get_ref(&self) -> &D {
        self.device.get_ref()
    }

    /// The device inside. Frames taken from it directly are not captured.
    pub fn get_mut(&mut self) -> &mut D {
        self.device.get_mut()
    }

    /// Hands on what is still buffered, so that whoever shares the sink sees
    /// every frame so far. An error is kept for [`take_error`](Self::take_error).
    pub fn flush(&mut self) {
        self.state.borrow_mut().flush();
    }

    /// Ends the capture and says how many frames are in it. The device works
    /// on without it.
    ///
    /// # Errors
    ///
    /// The first error of the whole capture, once; the file ends where it
    /// struck.
    pub fn finish(&mut self) -> io::Result<u64> {
        let mut state = self.state.borrow_mut();
        state.flush();
        state.out = None;
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state.frames),
        }
    }

    /// Why the capture stopped before its end, once.
    #[must_use]
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.state.borrow_mut().error.take()
    }
}

impl State {
    fn write(&mut self, data: &[u8]) {
        let result = self.out.as_mut().map(|out| out.write_all(data));
        self.keep_error(result);
    }

    fn flush(&mut self) {
        let result = self.out.as_mut().map(Write::flush);
        self.keep_error(result);
    }

    fn keep_error(&mut self, result: Option<io::Result<()>>) {
        if let Some(Err(error)) = result {
            // Dropping a BufWriter would try the failed bytes once more.
            if let Some(out) = self.out.take() {
                let (_file, _unwritten) = out.into_parts();
            }
            self.error = Some(error);
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("is_open", &self.out.is_some())
            .field("frames", &self.frames)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl PcapSink for Sink {
    fn write(&mut self, data: &[u8]) {
        self.state.borrow_mut().write(data);
    }

    fn packet(&mut self, timestamp: Instant, packet: &[u8]) {
        let timestamp = {
            let state = self.state.borrow();
            if state.out.is_none() {
                return;
            }
            timestamp + state.epoch
        };
        self.packet_header(timestamp, packet.len());
        self.write(packet);
        let mut state = self.state.borrow_mut();
        if state.out.is_some() {
            state.frames = state.frames.saturating_add(1);
        }
        if timestamp >= state.flushed_at + FLUSH_EVERY {
            state.flushed_at = timestamp;
            state.flush();
        }
    }

    fn max_packet_size(&self) -> u32 {
        // Nothing is cut off: `packet` writes what it is given. No Ethernet
        // or IP frame of this crate is longer.
        262_144
    }
}

impl<D: Device> Device for Capture<D> {
    type RxToken<'a>
        = <PcapWriter<D, Sink> as Device>::RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = <PcapWriter<D, Sink> as Device>::TxToken<'a>
    where
        Self: 'a;

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }

    fn receive(&mut self, timestamp: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.device.receive(timestamp)
    }

    fn transmit(&mut self, timestamp: Instant) -> Option<Self::TxToken<'_>> {
        self.device.transmit(timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::{Loopback, Medium, RxToken, TxToken};

    fn exchange(device: &mut impl Device, at: Instant) {
        let tx = device.transmit(at).expect("the loopback always has room");
        tx.consume(60, |frame| frame.fill(7));
        let (rx, _tx) = device.receive(at).expect("what was sent comes back");
        rx.consume(|frame| assert_eq!(frame, [7; 60]));
    }

    #[test]
    fn a_full_disk_stops_the_capture_and_nothing_else() {
        let device = Loopback::new(Medium::Ethernet);
        let mut device =
            Capture::create(device, Path::new("/dev/full"), HostDuration::ZERO).unwrap();
        for second in 1..10 {
            exchange(&mut device, Instant::from_secs(second));
        }
        let error = device.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(device.take_error().is_none());
        exchange(&mut device, Instant::from_secs(11));
    }

    #[test]
    fn a_capture_that_is_off_writes_nothing() {
        let mut device = Capture::off(Loopback::new(Medium::Ethernet));
        exchange(&mut device, Instant::ZERO);
        assert_eq!(device.finish().unwrap(), 0);
    }

    #[test]
    fn records_carry_the_date() {
        let path = std::env::temp_dir().join(format!("lastbyte-date-{}.pcap", std::process::id()));
        let device = Loopback::new(Medium::Ethernet);
        let epoch = HostDuration::from_secs(1_700_000_000);
        let mut device = Capture::create(device, &path, epoch).unwrap();
        exchange(&mut device, Instant::from_micros(2_000_003));
        assert_eq!(device.finish().unwrap(), 2);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((word(24), word(28)), (1_700_000_002, 3));
        assert_eq!((word(32), word(36)), (60, 60));
    }
}
