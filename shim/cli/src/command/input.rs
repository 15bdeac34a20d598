//! The bytes that `send` sends.
//!
//! No read blocks the loop. A pipe, a terminal and a socket are read without blocking,
//! directly into the transmit buffer, and only while it has room and the connection
//! accepts bytes: nothing is read ahead that could be lost at the end. A thread reads
//! files ahead, because the read of a file always blocks, for a disk, a network, or a
//! device. At the end the position of a file is set to the end of the accepted bytes.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use lastbyte::Instant;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::over::Connection;
use super::session::{Feed, Supply};
use super::stdio;

/// How many writes one iteration of the loop makes from a file, so that signals are
/// detected soon.
const WRITES_PER_TURN: usize = 64;
/// How many bytes a thread reads at a time.
const CHUNK: usize = 256 * 1024;
/// The number of chunks: one is sent while the other is read.
const CHUNKS: usize = 2;

/// The bytes to send.
#[derive(Debug)]
pub(super) struct Input {
    source: Source,
    write_size: usize,
    /// The total number of bytes of a regular file.
    len: Option<u64>,
}

#[derive(Debug)]
enum Source {
    /// Read without blocking.
    Stream(Stream),
    /// A thread reads it.
    File(Ahead),
}

impl Input {
    /// Opens `path`, or standard input for `-`.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not a file.
    pub(super) fn open(path: &Path, write_size: Option<usize>) -> io::Result<Self> {
        let file = if path == Path::new("-") {
            if !stdio::has_stdin() {
                return Err(io::Error::other(
                    "standard input is closed: name a FILE, or redirect it (`< FILE`)",
                ));
            }
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            // A named pipe without a writer must not block here; the loop waits for it,
            // as for any other input.
            OpenOptions::new()
                .read(true)
                .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
                .open(path)?
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut len = None;
        let source = match Stream::of(&file, &metadata) {
            Some(stream) => Source::Stream(stream),
            None => {
                let ahead = Ahead::new(file, &metadata)?;
                if metadata.is_file() {
                    len = Some(metadata.len().saturating_sub(ahead.start.unwrap_or(0)));
                }
                Source::File(ahead)
            }
        };
        Ok(Self {
            source,
            write_size: write_size.unwrap_or(usize::MAX),
            len,
        })
    }

    /// The open file.
    pub(super) const fn file(&self) -> &File {
        match &self.source {
            Source::Stream(stream) => &stream.file,
            Source::File(ahead) => &ahead.file,
        }
    }

    /// The number of bytes, if that is known.
    pub(super) const fn len(&self) -> Option<u64> {
        self.len
    }
}

impl Feed for Input {
    fn start(&mut self) -> io::Result<()> {
        match &mut self.source {
            Source::Stream(_) => Ok(()),
            Source::File(ahead) => ahead.start(),
        }
    }

    fn to_watch(&self) -> Option<BorrowedFd<'_>> {
        Some(match &self.source {
            Source::Stream(stream) => stream.file.as_fd(),
            Source::File(ahead) => ahead.arrived.as_fd(),
        })
    }

    async fn supply(
        &mut self,
        connection: &mut impl Connection,
        _: Instant,
        is_ready: bool,
    ) -> Supply {
        match &mut self.source {
            // An unneeded read is a wasted system call.
            Source::Stream(_) if !is_ready => Supply::Hungry,
            Source::Stream(stream) => stream.write(connection, self.write_size).await,
            Source::File(ahead) => {
                for _ in 0..WRITES_PER_TURN {
                    match ahead.write(connection, self.write_size).await {
                        Supply::Moved => {}
                        other => return other,
                    }
                }
                Supply::Moved
            }
        }
    }

    fn is_probe(&self) -> bool {
        false
    }

    fn idle(&self) -> &'static str {
        match self.source {
            Source::Stream(_) => "waiting for input",
            Source::File(_) => "",
        }
    }
}

/// An input that can be waited for: a pipe, a terminal, a socket.
#[derive(Debug)]
struct Stream {
    file: File,
    is_socket: bool,
}

impl Stream {
    /// `None` if it is a file of another kind, or cannot be read without blocking.
    fn of(file: &File, metadata: &Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        if kind.is_socket() {
            let file = file.try_clone().ok()?;
            return Some(Self {
                file,
                is_socket: true,
            });
        }
        if !kind.is_fifo() && !file.is_terminal() {
            return None;
        }
        // The file is opened again: the flag belongs to the open file, which others may
        // share with us, such as the shell its terminal.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(path)
            .ok()?;
        Some(Self {
            file,
            is_socket: false,
        })
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.is_socket {
            let flags = MsgFlags::MSG_DONTWAIT;
            return Ok(recv(self.file.as_raw_fd(), room, flags)?);
        }
        self.file.read(room)
    }

    /// One read, directly into one write.
    async fn write(&mut self, connection: &mut impl Connection, write_size: usize) -> Supply {
        let mut outcome = None;
        let written = connection.write_with(|room| {
            let len = room.len().min(write_size);
            let read = match room.get_mut(..len) {
                Some(room) => self.read(room),
                None => Ok(0),
            };
            let taken = *read.as_ref().unwrap_or(&0);
            outcome = Some(read);
            taken
        });
        match (written.await, outcome) {
            (Err(_), _) | (Ok(_), None) => Supply::Refused,
            (Ok(_), Some(Ok(0))) => Supply::End,
            (Ok(_), Some(Ok(_))) => Supply::Moved,
            (Ok(_), Some(Err(error))) => match error.kind() {
                io::ErrorKind::Interrupted => Supply::Moved,
                io::ErrorKind::WouldBlock => Supply::Hungry,
                _ => Supply::Broken(error),
            },
        }
    }
}

/// A file that a thread reads ahead.
#[derive(Debug)]
struct Ahead {
    file: File,
    /// The position where sending began; `None` if the file has no positions.
    start: Option<u64>,
    accepted: u64,
    chunk: Vec<u8>,
    /// How many bytes of the chunk are sent.
    sent: usize,
    to_fill: Option<Sender<Vec<u8>>>,
    filled: Receiver<io::Result<Vec<u8>>>,
    /// Gets a byte for each chunk that was filled.
    arrived: UnixStream,
    parts: Option<Parts>,
}

/// The thread's side.
#[derive(Debug)]
struct Parts {
    file: File,
    /// The size of a regular file when it was opened.
    size: Option<u64>,
    /// The smallest size that was observed since then.
    least_size: u64,
    at: Option<u64>,
    to_fill: Receiver<Vec<u8>>,
    filled: Sender<io::Result<Vec<u8>>>,
    arrival: UnixStream,
}

impl Ahead {
    fn new(file: File, metadata: &Metadata) -> io::Result<Self> {
        let has_positions = metadata.is_file() || metadata.file_type().is_block_device();
        let start = match has_positions {
            true => Some((&file).stream_position()?),
            false => None,
        };
        let (to_fill, chunks) = channel();
        let (chunks_filled, filled) = channel();
        let (arrived, arrival) = UnixStream::pair()?;
        arrived.set_nonblocking(true)?;
        Ok(Self {
            parts: Some(Parts {
                file: file.try_clone()?,
                size: metadata.is_file().then_some(metadata.len()),
                least_size: metadata.len(),
                at: start,
                to_fill: chunks,
                filled: chunks_filled,
                arrival,
            }),
            file,
            start,
            accepted: 0,
            chunk: Vec::new(),
            sent: 0,
            to_fill: Some(to_fill),
            filled,
            arrived,
        })
    }

    fn start(&mut self) -> io::Result<()> {
        let Some(parts) = self.parts.take() else {
            return Ok(());
        };
        thread::Builder::new()
            .name("reader".into())
            .spawn(move || parts.read())?;
        for _ in 0..CHUNKS {
            self.give_back(vec![0; CHUNK]);
        }
        Ok(())
    }

    fn give_back(&mut self, chunk: Vec<u8>) {
        // After the end of the file, the reading thread has ended.
        if let Some(to_fill) = &self.to_fill
            && to_fill.send(chunk).is_err()
        {
            self.to_fill = None;
        }
    }

    /// Writes from the chunk, or gets the next one.
    async fn write(&mut self, connection: &mut impl Connection, write_size: usize) -> Supply {
        let rest = self.chunk.get(self.sent..).unwrap_or_default();
        if rest.is_empty() {
            return self.next();
        }
        let piece = rest.get(..write_size).unwrap_or(rest);
        match connection.write(piece).await {
            Err(_) => Supply::Refused,
            Ok(accepted) => {
                self.sent += accepted;
                self.accepted += accepted as u64;
                Supply::Moved
            }
        }
    }

    fn next(&mut self) -> Supply {
        let mut bytes = [0; CHUNKS];
        // Its content does not matter: the channel has the chunk.
        let _ = self.arrived.read(&mut bytes);
        match self.filled.try_recv() {
            Err(TryRecvError::Empty) => Supply::Hungry,
            Err(TryRecvError::Disconnected) => Supply::Broken(io::ErrorKind::BrokenPipe.into()),
            Ok(Err(error)) => Supply::Broken(error),
            Ok(Ok(chunk)) if chunk.is_empty() => Supply::End,
            Ok(Ok(chunk)) => {
                let sent = std::mem::replace(&mut self.chunk, chunk);
                self.sent = 0;
                if !sent.is_empty() {
                    self.give_back(sent);
                }
                Supply::Moved
            }
        }
    }
}

impl Drop for Ahead {
    /// A process that shares the open file continues where the accepted bytes end.
    fn drop(&mut self) {
        if let Some(start) = self.start {
            let _ = self.file.seek(SeekFrom::Start(start + self.accepted));
        }
    }
}

impl Parts {
    /// The thread: fills chunk after chunk, to the end.
    fn read(mut self) {
        while let Ok(mut chunk) = self.to_fill.recv() {
            chunk.resize(CHUNK, 0);
            let read = self.fill(&mut chunk);
            let is_end = !matches!(read, Ok(1..));
            let filled = read.map(|len| {
                chunk.truncate(len);
                chunk
            });
            if self.filled.send(filled).is_err() || self.arrival.write_all(b".").is_err() || is_end
            {
                return;
            }
        }
    }

    /// Checks, at its end, that a regular file has not shrunk: in that case, bytes were
    /// lost or differ from what was sent.
    ///
    /// The size alone does not determine the end: files of procfs and sysfs have another
    /// size than content, and a file may grow while it is sent.
    fn check_size(&mut self) -> io::Result<()> {
        let Some(before @ 1..) = self.size else {
            return Ok(());
        };
        let now = self.file.metadata()?.len();
        // It may have grown again meanwhile, with other content.
        let after = now.min(self.least_size);
        if after < before || now < self.at.unwrap_or(0) {
            return Err(io::Error::other(format!(
                "it shrank to {after} bytes while it was sent (it had {before} when it was opened)"
            )));
        }
        Ok(())
    }

    fn fill(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self.at {
                Some(at) => self.file.read_at(chunk, at),
                None => self.file.read(chunk),
            };
            match read {
                Ok(0) => return self.check_size().map(|()| 0),
                Ok(len) => {
                    self.at = self.at.map(|at| at + len as u64);
                    if self.size.is_some() {
                        self.least_size = self.least_size.min(self.file.metadata()?.len());
                    }
                    return Ok(len);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
                        poll(&mut fds, PollTimeout::NONE)?;
                    }
                    _ => return Err(error),
                },
            }
        }
    }
}
