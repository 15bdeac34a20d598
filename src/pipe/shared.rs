//! What both halves share: the account, the bytes, and the waiting tasks.
//!
//! Nothing here locks, and nothing calls code that is not ours: who is to be woken is
//! returned by [`Shared::take_due`], and is woken after the lock is released.

use super::account::Account;
use super::ring::Ring;
use super::waiter::{Half, Waiter, Wish};
use crate::core::error::{ReadError, WriteError};
use crate::core::facts::Window;
use crate::core::report::{Progress, Report};
use crate::core::state::{Action, Event, OnPeerFin, State};
use core::task::Waker;

/// The inside of a pipe.
#[derive(Debug)]
pub(super) struct Shared<const N: usize> {
    pub(super) account: Account,
    ring: Ring<N>,
    writer: Waiter,
    reader: Waiter,
    /// How many halves there are.
    halves: u8,
}

impl<const N: usize> Shared<N> {
    pub(super) const fn new() -> Self {
        Self {
            account: Account::NEW,
            ring: Ring::new(),
            writer: Waiter::NONE,
            reader: Waiter::NONE,
            halves: 0,
        }
    }

    /// Applies an event to the account, and carries out the action.
    fn apply(&mut self, event: Event) {
        match self.account.apply(event) {
            // No byte of it can be read any more.
            Action::Reset => self.ring.clear(),
            Action::SendFin => self.account.note_unread(self.ring.len()),
            Action::None | Action::Ignore | Action::Misuse | Action::Refuse => {}
            // Only opening and writing require these, which are not done here.
            Action::StartConnect
            | Action::StartListen
            | Action::Relisten
            | Action::Accept
            | Action::Wait => {}
        }
    }

    /// Opens the pipe for two halves. Returns false while there are any.
    pub(super) fn open(&mut self) -> bool {
        let is_open = self.account.open();
        if is_open {
            self.ring.clear();
            self.halves = 2;
        }
        is_open
    }

    /// A half is dropped. Without halves, the pipe can be opened again.
    fn release(&mut self) {
        self.halves = self.halves.saturating_sub(1);
        if self.halves == 0 {
            self.apply(Event::Release);
        }
    }

    // ---- calls of the writer ----

    /// Accepts as many bytes as there is room for: at least one, unless `bytes` is empty.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, WriteError> {
        let most = self.account.admit()?;
        let bytes = bytes.get(..most).unwrap_or(bytes);
        if bytes.is_empty() {
            return Ok(0);
        }
        match self.ring.push(bytes) {
            0 => Err(self.account.would_block()),
            accepted => {
                self.account.note_accepted(accepted);
                Ok(accepted)
            }
        }
    }

    /// Accepts a message: all of it, or nothing.
    pub(super) fn write_message(&mut self, message: &[u8]) -> Result<(), WriteError> {
        let most = self.account.admit()?;
        let ledger = self.account.ledger();
        if message.len() > N {
            let capacity = u32::try_from(N).unwrap_or(u32::MAX);
            return Err(WriteError::MessageTooLong { capacity, ledger });
        }
        if message.len() > most {
            return Err(WriteError::LedgerFull { ledger });
        }
        if message.len() > self.ring.free() {
            return Err(self.account.would_block());
        }
        self.write(message).map(|_| ())
    }

    /// How many bytes a write would accept.
    pub(super) const fn room(&self) -> Result<usize, WriteError> {
        match self.account.error() {
            Some(error) => Err(error),
            None => Ok(self.ring.free()),
        }
    }

    pub(super) fn finish(&mut self) {
        self.apply(Event::Finish);
    }

    /// The drain took too long.
    pub(super) fn give_up_finishing(&mut self) {
        self.apply(Event::FinishTimeout);
    }

    pub(super) fn abort(&mut self) -> Report {
        self.apply(Event::Abort);
        self.account.report()
    }

    /// The writer is dropped. If it has begun to finish, the rest can still be read. Returns its
    /// waker: that of a future that was forgotten.
    pub(super) fn drop_writer(&mut self) -> Option<Waker> {
        if !matches!(self.account.state(), State::Finishing(_)) {
            self.apply(Event::Abort);
        }
        self.release();
        self.withdraw(Half::Writer)
    }

    // ---- calls of the reader ----

    /// Reads bytes. `None`: there are none at present; zero: none will come, or `into` is empty.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<Option<usize>, ReadError> {
        if into.is_empty() {
            return Ok(Some(0));
        }
        if self.ring.is_empty() {
            return self.account.end_of_reading();
        }
        let read = self.ring.pop(into);
        self.account.note_unread(self.ring.len());
        Ok(Some(read))
    }

    /// How many bytes can be read at present.
    pub(super) const fn unread(&self) -> usize {
        self.ring.len()
    }

    /// The reader closes: it reads only what was accepted.
    pub(super) fn close(&mut self) {
        self.apply(Event::PeerFin(OnPeerFin::Refuse));
    }

    /// The reader is dropped: like a TCP that is closed, with a FIN, or with a RST if bytes are
    /// unread. Returns its waker: that of a future that was forgotten.
    pub(super) fn drop_reader(&mut self) -> Option<Waker> {
        match self.ring.is_empty() {
            true => self.close(),
            false => self.apply(Event::PeerRst),
        }
        self.ring.clear();
        self.release();
        self.withdraw(Half::Reader)
    }

    /// State and ledger, and whether there is room.
    pub(super) const fn progress(&self) -> Progress {
        self.account.progress(match self.ring.free() {
            0 => Window::Zero,
            _ => Window::Open,
        })
    }

    // ---- waiting ----

    /// Whether a wish has come true.
    pub(super) fn is_true(&self, wish: Wish) -> bool {
        match wish {
            Wish::Room(bytes) => {
                let is_short = self.room().is_ok_and(|room| room < bytes);
                !is_short || self.account.is_full()
            }
            Wish::Flushed => self.account.is_flushed() != Ok(false),
            #[cfg(feature = "async")]
            Wish::Ended => self.account.state().cause().is_some(),
            Wish::Closed => self.account.state().is_closed(),
            Wish::Readable => !self.ring.is_empty() || self.account.end_of_reading() != Ok(None),
        }
    }

    const fn waiter(&mut self, half: Half) -> &mut Waiter {
        match half {
            Half::Writer => &mut self.writer,
            Half::Reader => &mut self.reader,
        }
    }

    /// Records what a half waits for, and returns false. If it has already come true, returns
    /// true, and the half waits for nothing. Also returns the wakers to drop: the previous one
    /// of the half, and one that is not needed.
    pub(super) fn wait(
        &mut self,
        half: Half,
        wish: Wish,
        waker: Waker,
    ) -> (bool, [Option<Waker>; 2]) {
        let before = self.waiter(half).take();
        if self.is_true(wish) {
            return (true, [before, Some(waker)]);
        }
        *self.waiter(half) = Waiter::new(wish, waker);
        (false, [before, None])
    }

    /// The half stops waiting. Returns the waker to drop.
    pub(super) const fn withdraw(&mut self, half: Half) -> Option<Waker> {
        self.waiter(half).take()
    }

    /// Takes the waker of a half, if what it waits for has come true.
    pub(super) fn take_due(&mut self, half: Half) -> Option<Waker> {
        match self.waiter(half).wish() {
            Some(wish) if self.is_true(wish) => self.waiter(half).take(),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that has accepted all but `left` of the bytes that a ledger counts.
    fn old(left: usize) -> Shared<4> {
        let mut shared = Shared::new();
        assert!(shared.open());
        shared
            .account
            .note_accepted(usize::MAX.saturating_sub(left));
        shared
    }

    #[test]
    fn a_full_ledger_refuses_bytes_and_no_call_waits_for_room() {
        let mut shared = old(1);
        assert!(matches!(
            shared.write_message(b"ab"),
            Err(WriteError::LedgerFull { .. })
        ));
        assert_eq!(shared.write(b"ab"), Ok(1), "what it can count");
        let full = shared.write(b"b");
        assert!(matches!(full, Err(WriteError::LedgerFull { .. })));
        assert_eq!(
            shared.write_message(b""),
            full.map(|_| ()),
            "as a connection"
        );
        assert!(shared.is_true(Wish::Room(4)), "three bytes are free");
    }

    #[test]
    fn a_pipe_that_was_never_opened_refuses_every_call() {
        let mut shared = Shared::<4>::new();
        assert!(matches!(
            shared.write(b"a"),
            Err(WriteError::NotOpen { .. })
        ));
        assert!(shared.read(&mut [0; 1]).is_err());
    }
}
