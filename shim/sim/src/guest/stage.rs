//! Watches what the stack of an application does.
//!
//! The core reports every call and change to the observer of this thread; the wire is
//! watched as in any run. The application does not notice this.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use lastbyte::core::{Connection, Event};
use lastbyte::trace::{self, Note as Trace};
use lastbyte::{Instant, Ledger, State};

use super::account::{Account, Scene};
use crate::coverage;
use crate::loopback::{Direction, Flags, Sender, World};
use crate::recording::{Call, Note, Tape};
use crate::rule::Finding;
use crate::truth::{Neighbour, Wire};

thread_local! {
    /// The run in progress in this thread.
    static STAGE: RefCell<Option<Play>> = const { RefCell::new(None) };
}

/// What the peer has sent to one port of ours, by its frames.
#[derive(Debug)]
pub(super) struct Spoken {
    /// The sequence number of its first byte.
    first: u32,
    pub(super) bytes: Vec<u8>,
}

impl Spoken {
    /// The index of the byte with this number, if it is stored or the next one.
    fn place(&self, seq: u32) -> Option<usize> {
        let place = seq.wrapping_sub(self.first) as usize;
        (place <= self.bytes.len()).then_some(place)
    }
}

/// What the peer has sent, by ports of ours: an old SYN may have opened a second connection,
/// which is never established.
type AllSpoken = Rc<RefCell<HashMap<u16, Vec<Spoken>>>>;

/// A run in progress.
struct Play {
    world: World,
    tape: Tape,
    wire: Rc<RefCell<Wire>>,
    spoken: AllSpoken,
    /// Whether the peer is a TCP that remembers what it received.
    has_memory: bool,
    /// Every connection so far.
    accounts: Vec<Account>,
    /// The connections that hold a slot, by slot.
    current: Vec<Option<usize>>,
    /// When a neighbour last answered, and when the stack was first served after that and so
    /// knows the answer.
    answered: (Neighbour, Neighbour),
}

/// The run of this thread, until it is dropped, even if the application panics.
pub(super) struct Stage {
    before: Option<Play>,
    observer: Option<trace::Observer>,
}

impl Stage {
    /// Watches what happens in `world` and in this thread.
    pub(super) fn enter(world: &World, tape: &Tape, has_memory: bool) -> Self {
        let wire = Rc::new(RefCell::new(Wire::of_our_ports(world.config().medium)));
        crate::run::watch(world, &wire);
        let neighbour = wire.borrow().neighbour;
        let answered = (neighbour, neighbour);
        let spoken = AllSpoken::default();
        if has_memory {
            listen(world, &spoken);
        }
        let play = Play {
            world: world.clone(),
            tape: tape.clone(),
            wire,
            spoken,
            has_memory,
            accounts: Vec::new(),
            current: Vec::new(),
            answered,
        };
        let before = STAGE.replace(Some(play));
        let observer = trace::set(Some(observe));
        world.on_poll(|now| with_play(|play| play.note_poll(now)));
        Self { before, observer }
    }

    /// Ends the run. Returns the findings.
    pub(super) fn leave(self, world: &World) -> Vec<Finding> {
        let play = STAGE.take();
        play.map_or_else(Vec::new, |play| play.settle(world))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        trace::set(self.observer);
        STAGE.replace(self.before.take());
    }
}

fn with_play(f: impl FnOnce(&mut Play)) {
    STAGE.with_borrow_mut(|stage| {
        if let Some(play) = stage {
            f(play);
        }
    });
}

/// Whether the notes of this run are recorded.
pub(super) fn is_recording() -> bool {
    STAGE.with_borrow(|stage| stage.as_ref().is_some_and(|play| play.tape.is_on()))
}

/// Records a note that concerns no connection.
pub(super) fn note_of_server(note: Note) {
    with_play(|play| play.note_beside(note));
}

pub(super) fn note_of_test(words: String) {
    with_play(|play| play.note_beside(Note::Said(words)));
}

fn observe(connection: &Connection, trace_note: Trace<'_>) {
    if let Trace::Row(row) = trace_note {
        coverage::mark(row);
        return;
    }
    if std::thread::panicking() {
        // What the stack does when a panic drops it is not part of the run.
        return;
    }
    with_play(|play| play.take(connection, trace_note));
}

/// Records what the peer sends.
fn listen(world: &World, spoken: &AllSpoken) {
    let spoken = Rc::clone(spoken);
    world.observe(move |_, event| {
        if event.direction != Direction::ToUs || event.sender != Sender::End {
            return;
        }
        let Some(segment) = event.segment() else {
            return;
        };
        let mut spoken = spoken.borrow_mut();
        let streams = spoken.entry(segment.dst_port).or_default();
        let first = segment.seq.wrapping_add(1);
        if segment.is(Flags::SYN) && streams.iter().all(|stream| stream.first != first) {
            streams.push(Spoken {
                first,
                bytes: Vec::new(),
            });
        }
        let places = streams.iter_mut();
        let mut places = places.filter_map(|stream| Some((stream.place(segment.seq)?, stream)));
        if let (Some((from, stream)), false) = (places.next(), segment.payload.is_empty()) {
            // A retransmission contains the same bytes.
            let known = stream.bytes.len() - from;
            let new = segment.payload.get(known..).unwrap_or_default();
            stream.bytes.extend_from_slice(new);
        }
    });
}

impl Play {
    fn take(&mut self, connection: &Connection, trace_note: Trace<'_>) {
        let (slot, now) = (usize::from(connection.tag()), self.world.now());
        if let Trace::Opened {
            local_port,
            remote_port,
        } = trace_note
        {
            self.open(slot, connection, local_port, remote_port);
        }
        if trace_note == Trace::Event(Event::Release)
            && let Some(current) = self.current.get_mut(slot)
        {
            // It is removed, because its slot is opened again.
            *current = None;
        }
        let Some(number) = self.current.get(slot).copied().flatten() else {
            return;
        };
        let wire = self.wire.borrow();
        let spoken = self.spoken.borrow();
        let account = &mut self.accounts[number];
        let scene = Scene {
            now,
            is_full: self.world.is_full(),
            truth: wire.lane(slot),
            neighbour: self.answered.1,
            spoken: self.has_memory.then(|| {
                let streams = spoken.get(&account.local_port);
                streams.map_or(&[][..], Vec::as_slice)
            }),
        };
        let was_over = account.is_over();
        let before = account.oracle.findings.len();
        account.take(connection, trace_note, &scene);
        let found = account.oracle.findings[before..].to_vec();
        drop((wire, spoken));
        if trace_note == Trace::Event(Event::Abort) {
            self.wire.borrow_mut().lane_mut(slot).note_abort(now);
        }
        if connection.state() != State::Listening {
            self.wire.borrow_mut().lane_mut(slot).stop_listening();
        }
        if self.tape.is_on() {
            let note = self.accounts[number].note(trace_note, was_over);
            self.record(slot, connection, note, found);
        }
    }

    fn record(
        &self,
        slot: usize,
        connection: &Connection,
        note: Option<Note>,
        found: Vec<Finding>,
    ) {
        let (state, ledger) = (connection.state(), connection.ledger());
        let found = found.into_iter().map(Note::Found);
        for note in note.into_iter().chain(found) {
            self.tape.note(self.world.now(), slot, state, ledger, note);
        }
    }

    fn open(
        &mut self,
        slot: usize,
        connection: &Connection,
        local_port: u16,
        remote_port: Option<u16>,
    ) {
        let now = self.world.now();
        if self.current.len() <= slot {
            self.current.resize(slot + 1, None);
        }
        self.current[slot] = None;
        self.spoken.borrow_mut().remove(&local_port);
        let mut account = Account::new(connection, local_port, remote_port, now);
        // If several connections listen at a port, the wire does not show which one gets a
        // caller.
        for number in self.current.iter().flatten() {
            let other = &mut self.accounts[*number];
            if other.local_port == local_port {
                other.is_wire_known = false;
                account.is_wire_known = false;
            }
        }
        let listens = remote_port.is_none();
        let patience = connection.options().connect_timeout();
        let mut wire = self.wire.borrow_mut();
        wire.begin(slot, now, local_port, listens, patience);
        drop(wire);
        self.current[slot] = Some(self.accounts.len());
        self.accounts.push(account);
    }

    fn note_poll(&mut self, now: Instant) {
        let answered = self.wire.borrow().neighbour;
        if answered != self.answered.0 {
            self.answered = (answered, Neighbour::Answered(now));
        }
        for (slot, &number) in self.current.iter().enumerate() {
            let Some(number) = number else { continue };
            let account = &mut self.accounts[number];
            let before = account.oracle.findings.len();
            account.note_poll(now);
            for finding in account.oracle.findings[before..].iter().cloned() {
                let (state, ledger) = (account.state, account.ledger);
                self.tape
                    .note(now, slot, state, ledger, Note::Found(finding));
            }
        }
    }

    /// A note that concerns no connection is shown with the first one.
    fn note_beside(&self, note: Note) {
        let first = self.current.first().copied().flatten();
        let account = first.and_then(|number| self.accounts.get(number));
        let (state, ledger) = account.map_or((State::Idle, Ledger::ZERO), |account| {
            (account.state, account.ledger)
        });
        self.tape.note(self.world.now(), 0, state, ledger, note);
    }

    /// Compares what the peer has received with what was written. Returns all findings.
    fn settle(mut self, world: &World) -> Vec<Finding> {
        let now = world.now();
        let mut all = Vec::new();
        for number in 0..self.accounts.len() {
            let later = self.accounts[number + 1..]
                .iter()
                .find(|later| later.local_port == self.accounts[number].local_port)
                .map(|later| later.opened_at);
            let account = &mut self.accounts[number];
            let before = account.oracle.findings.len();
            if self.has_memory {
                account.settle(world, later);
            }
            for finding in &account.oracle.findings[before..] {
                let (slot, state, ledger) = (account.slot, account.state, account.ledger);
                let note = Note::Found(finding.clone());
                self.tape.note(now, slot, state, ledger, note);
            }
            all.append(&mut account.oracle.findings);
        }
        all.sort_by_key(|finding| finding.at);
        all
    }
}

/// The call of an application, by the event that it caused.
pub(super) const fn call_of(event: Event) -> Option<Call> {
    match event {
        Event::Finish => Some(Call::Finish),
        Event::Abort => Some(Call::Abort),
        _ => None,
    }
}
