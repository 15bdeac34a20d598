//! The recording of a run.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use lastbyte::{Instant, Ledger, State, WriteError};

use super::happening::Happening;
use super::rule::Finding;
use super::scenario::{Scenario, Step};
use crate::loopback::{Direction, Fate, FrameEvent, Segment, Sender, World};
use smoltcp::phy::Medium;

/// A frame and its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFrame {
    /// When it was sent.
    pub sent_at: Instant,
    /// The direction.
    pub direction: Direction,
    /// The sender.
    pub sender: Sender,
    /// What the wire did to it.
    pub fate: Fate,
    /// The medium.
    pub medium: Medium,
    /// The frame as it was sent.
    pub bytes: Vec<u8>,
}

impl RecordedFrame {
    /// The segment in it, as it was sent.
    #[must_use]
    pub fn segment(&self) -> Option<Segment> {
        Segment::parse(&self.bytes, self.medium, self.sent_at)
    }

    /// One line: flags, numbers, length.
    #[must_use]
    pub fn summary(&self) -> String {
        FrameEvent {
            number: 0,
            sent_at: self.sent_at,
            fate: self.fate,
            direction: self.direction,
            sender: self.sender,
            medium: self.medium,
            frame: &self.bytes,
        }
        .summary()
    }
}

/// What was recorded at our end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The application began the next step.
    Step(Step),
    /// A write accepted this many bytes.
    Accepted(u64),
    /// A write, flush or finish failed.
    Failed(WriteError),
    /// The state or the ledger changed.
    Changed,
    /// Something happened from outside.
    Happened(Happening),
    /// A rule was broken.
    Found(Finding),
    /// The application has opened a connection.
    Opened {
        /// Our port.
        local_port: u16,
        /// The peer's port; `None`: it listens.
        remote_port: Option<u16>,
    },
    /// The application has written these bytes.
    Wrote(Vec<u8>),
    /// The application has read these bytes.
    Read(Vec<u8>),
    /// The application has made this call.
    Called(Call),
    /// A server at the peer was called.
    Served {
        /// Its port.
        port: u16,
        /// Counts the connections of the port, from 0.
        number: u64,
        /// The received bytes that it removed.
        took: Vec<u8>,
        /// Its reply.
        said: Vec<u8>,
    },
    /// A test has recorded this.
    Said(String),
}

/// A call of an application that neither opens a connection nor transfers bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It began a flush.
    Flush,
    /// A flush has succeeded.
    Flushed,
    /// It began to finish.
    Finish,
    /// It aborted, or released a connection that was not finished.
    Abort,
}

/// How many bytes of a payload are shown.
const SHOWN: usize = 40;

/// The content of a payload, as far as it fits in a line: its beginning and its length.
pub(super) fn preview(bytes: &[u8]) -> String {
    let (shown, more) = match bytes.get(..SHOWN) {
        Some(shown) if bytes.len() > SHOWN => (shown, "…"),
        _ => (bytes, ""),
    };
    format!("{} B \"{}{more}\"", bytes.len(), shown.escape_ascii())
}

impl Note {
    /// The text for what an application or a server did; `None` if it is shown differently.
    pub(super) fn words(&self) -> Option<String> {
        Some(match self {
            Self::Opened {
                local_port,
                remote_port: Some(remote_port),
            } => format!("connect :{local_port} to :{remote_port}"),
            Self::Opened { local_port, .. } => format!("listen :{local_port}"),
            Self::Wrote(bytes) => format!("write {}", preview(bytes)),
            Self::Read(bytes) => format!("read {}", preview(bytes)),
            Self::Called(call) => format!("{call:?}").to_lowercase(),
            Self::Served {
                port,
                number,
                took,
                said,
            } => {
                let mut words = format!("server :{port} #{number}");
                if !took.is_empty() {
                    words += &format!(" received {}", preview(took));
                }
                if !said.is_empty() {
                    words += &format!(" sent {}", preview(said));
                }
                words
            }
            Self::Said(words) => words.clone(),
            Self::Step(_)
            | Self::Accepted(_)
            | Self::Failed(_)
            | Self::Changed
            | Self::Happened(_)
            | Self::Found(_) => return None,
        })
    }
}

/// Our end at a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub at: Instant,
    /// The number of the connection: 0 is the first.
    pub connection: usize,
    /// The state at that time.
    pub state: State,
    /// The ledger at that time.
    pub ledger: Ledger,
    /// The reason for the record.
    pub note: Note,
}

/// A run, frame by frame and step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// What was run.
    pub scenario: Scenario,
    /// Every frame, in the order of sending.
    pub frames: Vec<RecordedFrame>,
    /// What happened at our end, in order.
    pub moments: Vec<Moment>,
}

/// Records a run while it goes on, if it is to be recorded.
#[derive(Debug, Clone, Default)]
pub(super) struct Tape {
    moments: Option<Rc<RefCell<Vec<Moment>>>>,
}

impl Tape {
    pub(super) fn recording() -> Self {
        Self {
            moments: Some(Rc::default()),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.moments.is_some()
    }

    pub(super) fn note(
        &self,
        at: Instant,
        connection: usize,
        state: State,
        ledger: Ledger,
        note: Note,
    ) {
        let Some(moments) = &self.moments else { return };
        let mut moments = moments.borrow_mut();
        let is_news = moments
            .iter()
            .rfind(|last| last.connection == connection)
            .is_none_or(|last| (last.state, last.ledger) != (state, ledger));
        if is_news || note != Note::Changed {
            moments.push(Moment {
                at,
                connection,
                state,
                ledger,
                note,
            });
        }
    }

    /// What was recorded so far.
    pub(super) fn moments(&self) -> Vec<Moment> {
        self.moments
            .as_ref()
            .map_or_else(Vec::new, |moments| moments.borrow().clone())
    }

    pub(super) fn take(&self) -> Vec<Moment> {
        self.moments
            .as_ref()
            .map_or_else(Vec::new, |moments| moments.take())
    }
}

/// Records every frame of `world` from now on.
pub(super) fn keep_frames(world: &World) -> Rc<RefCell<Vec<RecordedFrame>>> {
    let frames = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&frames);
    world.observe(move |_, event| {
        if std::thread::panicking() {
            // The run is over; a stack that is dropped resets its connections.
            return;
        }
        sink.borrow_mut().push(RecordedFrame {
            sent_at: event.sent_at,
            direction: event.direction,
            sender: event.sender,
            fate: event.fate,
            medium: event.medium,
            bytes: event.frame.to_vec(),
        });
    });
    frames
}

/// The log: frames and notes in the order of time, one line each.
impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scenario)?;
        let mut moments = self.moments.iter().peekable();
        for frame in &self.frames {
            while let Some(moment) = moments.next_if(|moment| moment.at < frame.sent_at) {
                writeln!(f, "{moment}")?;
            }
            writeln!(f, "{frame}")?;
        }
        moments.try_for_each(|moment| writeln!(f, "{moment}"))
    }
}

struct Clock(Instant);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{:>6}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

impl fmt::Display for RecordedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match (self.direction, self.sender) {
            (_, Sender::Stranger) => "<<<",
            (Direction::ToPeer, Sender::End) => "-->",
            (Direction::ToUs, Sender::End) => "<--",
        };
        write!(f, "{} {arrow} {}", Clock(self.sent_at), self.summary())?;
        match self.fate {
            Fate::Lost(loss) => write!(f, "  [{loss}]"),
            Fate::Arrives {
                at,
                again_at,
                damage,
            } => {
                write!(f, "  [+{:?}", at.since(self.sent_at))?;
                if let Some(again_at) = again_at {
                    write!(f, ", again +{:?}", again_at.since(self.sent_at))?;
                }
                if let Some(damage) = damage {
                    write!(f, ", {damage:?}")?;
                }
                f.write_str("]")
            }
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, state, ledger) = (Clock(self.at), self.state, self.ledger);
        if self.connection > 0 {
            write!(f, "#{} ", self.connection)?;
        }
        let account = format!(
            "{state:?}, accepted {}, acknowledged {}",
            ledger.accepted(),
            ledger.acknowledged()
        );
        match &self.note {
            Note::Changed => write!(f, "{at}     {account}"),
            Note::Step(step) => write!(f, "{at}     {step:?}"),
            Note::Accepted(bytes) => write!(f, "{at}     {bytes} bytes accepted: {account}"),
            Note::Failed(error) => write!(f, "{at}     {error}"),
            Note::Happened(happening) => write!(f, "{at}     {happening:?}"),
            Note::Found(finding) => write!(f, "{at} !!! {finding}"),
            Note::Wrote(_) | Note::Read(_) | Note::Opened { .. } | Note::Called(_) => {
                let words = self.note.words().unwrap_or_default();
                write!(f, "{at}     {words}: {account}")
            }
            Note::Served { .. } | Note::Said(_) => {
                write!(f, "{at}     {}", self.note.words().unwrap_or_default())
            }
        }
    }
}
