//! The application at the peer as code of the test's own.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use lastbyte::Instant;
use smoltcp::wire::IpEndpoint;

use super::Ending;

/// Code that answers; see [`Peer::serve`](super::Peer::serve). Clones are the same code.
#[derive(Clone)]
pub struct Answers(Rc<RefCell<Answerer>>);

type Answerer = dyn FnMut(&mut Vec<u8>, &mut Reply<'_>);

impl Answers {
    /// This code.
    ///
    /// ```
    /// use lastbyte_sim::loopback::{Answers, Behaviour};
    ///
    /// // The same server at two ports: what it captures is shared.
    /// let mut requests = 0;
    /// let server = Answers::new(move |received, reply| {
    ///     requests += usize::from(!received.is_empty());
    ///     received.clear();
    ///     reply.send(format!("{requests}\n").as_bytes());
    /// });
    /// let behaviour = Behaviour { answers: Some(server.clone()), ..Behaviour::sink() };
    /// # let _ = (behaviour, server);
    /// ```
    pub fn new(answer: impl FnMut(&mut Vec<u8>, &mut Reply<'_>) + 'static) -> Self {
        Self(Rc::new(RefCell::new(answer)))
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers(..)")
    }
}

impl PartialEq for Answers {
    /// Whether it is the same code.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Answers {}

/// What a server says on one connection; see [`Peer::serve`](super::Peer::serve).
///
/// It is an [`io::Write`] as well, which never fails.
#[derive(Debug)]
pub struct Reply<'r> {
    connection: u64,
    remote: Option<IpEndpoint>,
    now: Instant,
    is_at_end: bool,
    out: &'r mut Vec<u8>,
    /// What was there before this call.
    before: usize,
    ending: Option<Ending>,
    call_at: Instant,
}

impl Reply<'_> {
    /// Sends these bytes, after all that was sent before.
    pub fn send(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Closes the connection once everything is sent. What arrives later is still passed on.
    pub fn close(&mut self) {
        self.ending = self.ending.max(Some(Ending::Fin));
    }

    /// Resets the connection at once: what is not sent is lost.
    pub fn reset(&mut self) {
        self.ending = Some(Ending::Reset);
    }

    /// Is to be called again after so long, although nothing may have arrived. A later call
    /// replaces an earlier one.
    pub fn call_after(&mut self, time: Duration) {
        self.call_at = self.now + time;
    }

    /// Counts the connections of the port, from 0: to keep apart what is known of each.
    #[must_use]
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// Our end of the connection.
    #[must_use]
    pub fn remote(&self) -> Option<IpEndpoint> {
        self.remote
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether our end has finished: no more bytes will come.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// What was sent in this call.
    pub(crate) fn sent_now(&self) -> &[u8] {
        self.out.get(self.before..).unwrap_or_default()
    }
}

impl io::Write for Reply<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a server has of one connection.
#[derive(Debug)]
pub(super) struct Desk {
    /// Received, and not taken by the code.
    inbox: Vec<u8>,
    /// To be handed to the TCP.
    out: Vec<u8>,
    /// Whether something has happened that the code was not called for.
    is_due: bool,
    was_at_end: bool,
    call_at: Instant,
    /// Ends once everything is sent.
    closes: bool,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            inbox: Vec::new(),
            out: Vec::new(),
            is_due: true,
            was_at_end: false,
            call_at: Instant::NEVER,
            closes: false,
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        self.is_due = true;
    }

    pub(super) fn to_send(&self) -> &[u8] {
        &self.out
    }

    pub(super) fn note_sent(&mut self, len: usize) {
        self.out.drain(..len);
    }

    /// Whether it may still say something by itself.
    pub(super) fn has_plans(&self) -> bool {
        !self.out.is_empty() || self.call_at != Instant::NEVER
    }

    /// Whether it closes now: everything is sent.
    pub(super) fn closes_now(&self) -> bool {
        self.closes && self.out.is_empty()
    }

    pub(super) fn call_at(&self) -> Instant {
        self.call_at
    }

    /// Calls the code, if there is a reason; how it ends the connection at once.
    pub(super) fn answer(
        &mut self,
        answers: &Answers,
        connection: (u64, Option<IpEndpoint>),
        is_at_end: bool,
        now: Instant,
    ) -> Option<Ending> {
        self.is_due |= is_at_end && !self.was_at_end || self.call_at <= now;
        if !std::mem::take(&mut self.is_due) {
            return None;
        }
        self.was_at_end = is_at_end;
        if self.call_at <= now {
            self.call_at = Instant::NEVER;
        }
        let (connection, remote) = connection;
        let mut reply = Reply {
            connection,
            remote,
            now,
            is_at_end,
            before: self.out.len(),
            out: &mut self.out,
            ending: None,
            call_at: self.call_at,
        };
        (answers.0.borrow_mut())(&mut self.inbox, &mut reply);
        self.call_at = reply.call_at;
        let ending = reply.ending;
        self.closes |= ending == Some(Ending::Fin);
        ending.filter(|&how| how == Ending::Reset)
    }
}
