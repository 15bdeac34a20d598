//! The descriptor of a TAP, and its errors.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::SyncDevice;

use super::offload::{self, Offload};

/// How long [`Port::has_room`] waits for room before it returns false.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// The descriptor, and its errors.
pub(super) struct Port {
    device: SyncDevice,
    offload: Offload,
    frames_dropped: u64,
    is_full: bool,
    is_dropping: bool,
    has_failed: bool,
    error: Option<io::Error>,
}

impl Port {
    /// A port on which `offload` is in force.
    pub(super) fn new(device: SyncDevice, offload: Offload) -> Self {
        Self {
            device,
            offload,
            frames_dropped: 0,
            is_full: false,
            is_dropping: false,
            has_failed: false,
            error: None,
        }
    }

    pub(super) fn device(&self) -> &SyncDevice {
        &self.device
    }

    pub(super) fn offload(&self) -> Offload {
        self.offload
    }

    pub(super) fn frames_dropped(&self) -> u64 {
        self.frames_dropped
    }

    pub(super) fn is_dropping(&self) -> bool {
        self.is_dropping
    }

    pub(super) fn set_dropping(&mut self, dropping: bool) {
        self.is_dropping = dropping;
    }

    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// One read; `None` if there is nothing to read, now or ever.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.has_failed {
            return None;
        }
        match self.device.recv(buffer) {
            Ok(len) => Some(len),
            Err(error) => {
                if is_fatal(&error) {
                    self.fail(error);
                }
                None
            }
        }
    }

    pub(super) fn write(&mut self, frame: &[u8]) {
        if self.is_dropping || self.has_failed {
            self.drop_frame();
            return;
        }
        let Err(error) = self.device.send(frame) else {
            return;
        };
        self.drop_frame();
        self.is_full = error.kind() == io::ErrorKind::WouldBlock;
        if is_fatal(&error) {
            self.fail(error);
        }
    }

    /// Whether a frame would be accepted. If the queue is known to be full, this first
    /// waits a moment, so that a caller that polls it does not spin.
    pub(super) fn has_room(&mut self) -> bool {
        if self.is_full {
            let timeout = PollTimeout::try_from(FULL_PAUSE).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.device.as_fd(), PollFlags::POLLOUT)];
            self.is_full = poll(&mut fds, timeout) == Ok(0);
        }
        !self.is_full
    }

    pub(super) fn drop_frame(&mut self) {
        self.frames_dropped = self.frames_dropped.saturating_add(1);
    }

    fn fail(&mut self, error: io::Error) {
        self.has_failed = true;
        self.error = Some(error);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.offload > Offload::None
            && !self.has_failed
            && let Err(error) = offload::disable(&self.device)
        {
            log::debug!("taking back the offload: {error}");
        }
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port")
            .field("offload", &self.offload)
            .field("frames_dropped", &self.frames_dropped)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Whether the descriptor has lost its interface. Every other error is temporary: a link
/// that is down (`EIO`) may come up, memory may be freed.
fn is_fatal(error: &io::Error) -> bool {
    matches!(
        Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        Errno::EBADFD | Errno::EBADF | Errno::ENODEV | Errno::ENXIO
    )
}
