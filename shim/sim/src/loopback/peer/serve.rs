//! The application at the peer as code of the test.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use lastbyte::Instant;
use smoltcp::wire::IpEndpoint;

use super::Ending;

/// Code of the test that answers; see [`Peer::serve`](super::Peer::serve). Clones are the same
/// code.
#[derive(Clone)]
pub struct Answers(Rc<RefCell<Answerer>>);

type Answerer = dyn FnMut(&mut Vec<u8>, &mut Reply<'_>);

impl Answers {
    /// A server with this code.
    ///
    /// ```
    /// use lastbyte_sim::loopback::{Answers, Behaviour};
    ///
    /// // The same server at two ports: they share what it captures.
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

/// The reply of a server on one connection; see [`Peer::serve`](super::Peer::serve).
///
/// It is also an [`io::Write`], which never fails.
#[derive(Debug)]
pub struct Reply<'r> {
    connection: u64,
    remote: Option<IpEndpoint>,
    now: Instant,
    is_at_end: bool,
    out: &'r mut Vec<u8>,
    /// The length before this call.
    before: usize,
    ending: Option<Ending>,
    call_at: Instant,
}

impl Reply<'_> {
    /// Sends these bytes, after everything that was sent before.
    pub fn send(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Closes the connection once everything is sent. The server still gets what arrives later.
    pub fn close(&mut self) {
        self.ending = self.ending.max(Some(Ending::Fin));
    }

    /// Resets the connection at once: what is not sent is lost.
    pub fn reset(&mut self) {
        self.ending = Some(Ending::Reset);
    }

    /// Requests that the server is called again after this time, even if nothing has
    /// arrived. A later request replaces an earlier one.
    pub fn call_after(&mut self, time: Duration) {
        self.call_at = self.now + time;
    }

    /// The number of the connection of this port, from 0: to store data for each connection.
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

    /// Whether our end has finished: no more bytes will arrive.
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

/// The data of a server for one connection.
#[derive(Debug)]
pub(super) struct Desk {
    /// Received, and not removed by the code.
    inbox: Vec<u8>,
    /// To be passed to the TCP.
    out: Vec<u8>,
    /// Whether something has happened for which the code was not yet called.
    is_due: bool,
    was_at_end: bool,
    call_at: Instant,
    /// Whether the connection closes once everything is sent.
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

    /// Whether it may still send something by itself.
    pub(super) fn has_plans(&self) -> bool {
        !self.out.is_empty() || self.call_at != Instant::NEVER
    }

    /// Whether it has to close, because everything is sent.
    pub(super) fn closes_now(&self) -> bool {
        self.closes && self.out.is_empty()
    }

    pub(super) fn call_at(&self) -> Instant {
        self.call_at
    }

    /// Calls the code, if there is a reason. Returns how it ends the connection at once, if it
    /// does.
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
