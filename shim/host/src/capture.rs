//! A pcap file of everything that crosses a device.
//!
//! smoltcp's own writer makes the records. Its `Write` sink panics when the
//! disk is full; the sink here keeps the first error, stops the capture, and
//! leaves the connection alone.
//!
//! A device may offload checksums and segmentation
//! ([`Tap::offload`](crate::tap::Tap::offload)). The file shows what a wire would carry:
//! full checksums, and single segments. So it does not show whether the work was
//! offloaded, and a long frame becomes one record for each of its segments, all with the
//! same time.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration as HostDuration;

use smoltcp::phy::{
    Device, DeviceCapabilities, Medium, PacketMeta, PcapLinkType, PcapSink, RxToken, TxToken,
};
use smoltcp::time::{Duration, Instant};

use crate::packet::as_on_wire;

/// The age of a record, in the capture's time, at which the next one flushes it to the
/// file: the most that a killed process loses.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// A device with an optional pcap capture around it.
///
/// ```
/// use std::time::Duration;
/// use lastbyte_host::capture::Capture;
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
/// assert_eq!(device.finish()?, 2); // once sent, once received
/// assert_eq!(std::fs::metadata(&path)?.len(), 24 + 2 * (16 + 60));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Capture<D: Device> {
    device: D,
    // The tokens share it, and there is at most one of each at a time.
    state: RefCell<State>,
    medium: Medium,
    received: Finish,
    sent: Finish,
}

/// The work that is left on a frame before it is as on a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    /// Nothing.
    Complete,
    /// Its checksum, and perhaps segmentation.
    Offloaded,
}

struct State {
    out: Option<BufWriter<Box<dyn Write>>>,
    epoch: Duration,
    flushed_at: Instant,
    frames: u64,
    error: Option<io::Error>,
    scratch: Vec<u8>,
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

    /// Captures into `out`. A failure of `out` does not disturb the connection.
    #[must_use]
    pub fn to_writer(device: D, out: Box<dyn Write>, epoch_since_1970: HostDuration) -> Self {
        Self::new(device, Some(BufWriter::new(out)), epoch_since_1970)
    }

    /// Captures nothing: the same type, for programs without a capture.
    #[must_use]
    pub fn off(device: D) -> Self {
        Self::new(device, None, HostDuration::ZERO)
    }

    fn new(device: D, out: Option<BufWriter<Box<dyn Write>>>, epoch: HostDuration) -> Self {
        let capabilities = device.capabilities();
        let finish = |is_done_by_stack: bool| match is_done_by_stack {
            true => Finish::Complete,
            false => Finish::Offloaded,
        };
        let medium = capabilities.medium;
        let mut state = State {
            out,
            epoch: epoch.into(),
            flushed_at: Instant::ZERO,
            frames: 0,
            error: None,
            scratch: Vec::new(),
        };
        state.global_header(match medium {
            Medium::Ethernet => PcapLinkType::Ethernet,
            Medium::Ip => PcapLinkType::Ip,
            #[allow(unreachable_patterns, reason = "other crates may enable more media")]
            _ => PcapLinkType::Ieee802154WithoutFcs,
        });
        Self {
            device,
            state: RefCell::new(state),
            medium,
            received: finish(capabilities.checksum.tcp.rx()),
            sent: finish(capabilities.checksum.tcp.tx()),
        }
    }

    /// The device inside.
    pub fn get_ref(&self) -> &D {
        &self.device
    }

    /// The device inside. Frames taken from it directly are not captured.
    pub fn get_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Writes what is still buffered to the sink, so that its other readers get every
    /// frame so far. An error is kept for [`take_error`](Self::take_error).
    pub fn flush(&mut self) {
        self.state.get_mut().hand_on();
    }

    /// Ends the capture and returns how many frames are in it. The device continues
    /// without it.
    ///
    /// # Errors
    ///
    /// The first error of the whole capture, once; the file ends where the error
    /// happened.
    pub fn finish(&mut self) -> io::Result<u64> {
        let state = self.state.get_mut();
        state.hand_on();
        state.out = None;
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state.frames),
        }
    }

    /// Why the capture stopped before its end, once.
    #[must_use]
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.state.get_mut().error.take()
    }
}

impl State {
    /// Records a frame as it would be on a wire.
    fn record(&mut self, at: Instant, frame: &[u8], meta: PacketMeta, how: (Medium, Finish)) {
        if self.out.is_none() {
            return;
        }
        let (medium, finish) = how;
        match finish {
            Finish::Complete => self.packet(at, frame),
            Finish::Offloaded => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let segment_len = meta.segmentation_offload_size;
                as_on_wire(medium, frame, segment_len, &mut scratch, |frame| {
                    self.packet(at, frame);
                });
                self.scratch = scratch;
            }
        }
    }

    fn hand_on(&mut self) {
        let result = self.out.as_mut().map(Write::flush);
        self.keep_error(result);
    }

    fn keep_error(&mut self, result: Option<io::Result<()>>) {
        if let Some(Err(error)) = result {
            // Dropping a BufWriter would try to write the failed bytes again.
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

impl PcapSink for State {
    fn write(&mut self, data: &[u8]) {
        let result = self.out.as_mut().map(|out| out.write_all(data));
        self.keep_error(result);
    }

    fn packet(&mut self, timestamp: Instant, packet: &[u8]) {
        let timestamp = timestamp + self.epoch;
        self.packet_header(timestamp, packet.len());
        self.write(packet);
        if self.out.is_some() {
            self.frames = self.frames.saturating_add(1);
        }
        if timestamp >= self.flushed_at + FLUSH_EVERY {
            self.flushed_at = timestamp;
            self.hand_on();
        }
    }

    fn max_packet_size(&self) -> u32 {
        // Nothing is truncated: `packet` writes everything. No Ethernet or IP frame of
        // this crate is longer.
        262_144
    }
}

impl<D: Device> Device for Capture<D> {
    type RxToken<'a>
        = CaptureRx<'a, D::RxToken<'a>>
    where
        Self: 'a;
    type TxToken<'a>
        = CaptureTx<'a, D::TxToken<'a>>
    where
        Self: 'a;

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }

    fn receive(&mut self, timestamp: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let (rx, tx) = self.device.receive(timestamp)?;
        let rx = CaptureRx {
            inner: rx,
            state: &self.state,
            timestamp,
            how: (self.medium, self.received),
        };
        let tx = CaptureTx {
            inner: tx,
            state: &self.state,
            timestamp,
            how: (self.medium, self.sent),
            meta: PacketMeta::default(),
        };
        Some((rx, tx))
    }

    fn transmit(&mut self, timestamp: Instant) -> Option<Self::TxToken<'_>> {
        let inner = self.device.transmit(timestamp)?;
        Some(CaptureTx {
            inner,
            state: &self.state,
            timestamp,
            how: (self.medium, self.sent),
            meta: PacketMeta::default(),
        })
    }
}

/// A received frame, to be recorded.
#[derive(Debug)]
pub struct CaptureRx<'a, T> {
    inner: T,
    state: &'a RefCell<State>,
    timestamp: Instant,
    how: (Medium, Finish),
}

impl<T: RxToken> RxToken for CaptureRx<'_, T> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let meta = self.inner.meta();
        self.inner.consume(|frame| {
            let mut state = self.state.borrow_mut();
            state.record(self.timestamp, frame, meta, self.how);
            drop(state);
            f(frame)
        })
    }

    fn meta(&self) -> PacketMeta {
        self.inner.meta()
    }
}

/// Permission to send a frame, which is recorded.
#[derive(Debug)]
pub struct CaptureTx<'a, T> {
    inner: T,
    state: &'a RefCell<State>,
    timestamp: Instant,
    how: (Medium, Finish),
    meta: PacketMeta,
}

impl<T: TxToken> TxToken for CaptureTx<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.inner.consume(len, |frame| {
            let result = f(frame);
            let mut state = self.state.borrow_mut();
            state.record(self.timestamp, frame, self.meta, self.how);
            result
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
        self.inner.set_meta(meta);
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
    fn a_full_disk_only_stops_the_capture() {
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
    fn a_disabled_capture_writes_nothing() {
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
