//! Properties of the transition table, for every state and event and for every sequence
//! of events. Each test checks one property; none repeats the table.

use lastbyte::core::transition::transition;
use lastbyte::core::{Action, Closer, Event, Incoming};
use lastbyte::{Cause, OnPeerFin, State};
use std::collections::HashSet;

/// Every cell: state, event, next state, action.
fn cells() -> impl Iterator<Item = (State, Event, State, Action)> {
    State::ALL.into_iter().flat_map(|state| {
        Event::ALL.into_iter().map(move |event| {
            let cell = transition(state, event);
            (state, event, cell.next, cell.action)
        })
    })
}

/// How far a connection has come. Only a release takes it back.
fn stage(state: State) -> u8 {
    match state {
        State::Idle => 0,
        State::Connecting | State::Listening => 1,
        State::Open => 2,
        State::PeerFinished(_) => 3,
        State::WriteFinished(Incoming::Open) => 4,
        State::WriteFinished(Incoming::Ended) => 5,
        State::Finishing(_) => 6,
        State::Closed(_) => 7,
    }
}

/// Whether writes are accepted in a state, by the contract.
fn takes_writes(state: State) -> bool {
    matches!(
        state,
        State::Open | State::PeerFinished(OnPeerFin::HalfClose)
    )
}

#[test]
fn the_lists_of_states_events_and_causes_are_complete() {
    // `stage` and `is_call` match without a wildcard, so a new variant breaks
    // the build here; the counts then have to be raised with the lists.
    let states: HashSet<_> = State::ALL.into_iter().collect();
    assert_eq!(states.len(), 10 + Cause::ALL.len());
    let events: HashSet<_> = Event::ALL.into_iter().collect();
    assert_eq!((events.len(), Event::ALL.len()), (19, 19));
    let causes: HashSet<_> = Cause::ALL.into_iter().collect();
    assert_eq!((causes.len(), Cause::ALL.len()), (11, 11));
    for cause in causes {
        assert!(states.contains(&State::Closed(cause)), "{cause}");
    }
}

/// Whether the event is a call of the application.
fn is_call(event: Event) -> bool {
    match event {
        Event::Connect
        | Event::Listen
        | Event::Write
        | Event::FinishWriting
        | Event::Finish
        | Event::Abort
        | Event::Release => true,
        Event::Established
        | Event::PeerFin(_)
        | Event::PeerRst
        | Event::FinAcknowledged
        | Event::DrainedUnread
        | Event::Unreachable
        | Event::AddressLost
        | Event::ConnectTimeout
        | Event::UserTimeout
        | Event::ProgressTimeout
        | Event::FinishTimeout => false,
    }
}

#[test]
fn only_release_leads_out_of_closed_and_only_to_idle() {
    for (state, event, next, action) in cells().filter(|cell| cell.0.is_closed()) {
        if event == Event::Release {
            assert_eq!((next, action), (State::Idle, Action::None));
        } else {
            assert_eq!(next, state, "{event}");
            assert!(
                matches!(action, Action::Ignore | Action::Misuse | Action::Refuse),
                "{state}, {event}: {action}"
            );
        }
    }
}

#[test]
fn a_decided_cause_never_changes() {
    for (state, event, next, _) in cells() {
        let is_released = state.is_closed() && event == Event::Release;
        if let Some(cause) = state.cause()
            && !is_released
        {
            assert_eq!(next.cause(), Some(cause), "{state}, {event}");
        }
    }
}

#[test]
fn a_closed_state_has_its_own_cause() {
    for cause in Cause::ALL {
        assert_eq!(State::Closed(cause).cause(), Some(cause));
    }
}

#[test]
fn only_opening_leads_out_of_idle() {
    for (_, event, next, action) in cells().filter(|cell| cell.0 == State::Idle) {
        let expected = match event {
            Event::Connect => (State::Connecting, Action::StartConnect),
            Event::Listen => (State::Listening, Action::StartListen),
            _ => (State::Idle, action),
        };
        assert_eq!((next, action), expected, "{event}");
    }
}

#[test]
fn writes_are_accepted_only_while_open_or_half_closed() {
    for (state, _, next, action) in cells().filter(|cell| cell.1 == Event::Write) {
        let expected = match stage(state) {
            _ if takes_writes(state) => Action::Accept,
            1 => Action::Wait,
            _ => Action::Refuse,
        };
        assert_eq!(action, expected, "{state}");
        assert_eq!(next, state, "a write moved the state");
    }
}

#[test]
fn what_is_ignored_misused_or_answered_changes_nothing() {
    for (state, event, next, action) in cells() {
        if matches!(
            action,
            Action::Ignore | Action::Misuse | Action::Refuse | Action::Accept | Action::Wait
        ) {
            assert_eq!(next, state, "{event}: {action}");
        }
    }
}

#[test]
fn processed_events_change_the_state_except_listening_again() {
    for (state, event, next, action) in cells() {
        if matches!(
            action,
            Action::None
                | Action::StartConnect
                | Action::StartListen
                | Action::SendFin
                | Action::Reset
        ) {
            // It stops the finish timeout, and the peer may still send.
            let only_stops_the_timer =
                (state, event) == (State::WriteFinished(Incoming::Open), Event::FinAcknowledged);
            assert_eq!(next == state, only_stops_the_timer, "{event}: {action}");
        }
        if action == Action::Relisten {
            assert_eq!((state, next), (State::Listening, State::Listening));
        }
    }
}

#[test]
fn only_calls_can_be_misuse_or_refused() {
    for (state, event, _, action) in cells() {
        if matches!(action, Action::Misuse | Action::Refuse) {
            assert!(is_call(event), "{state}, {event}: {action}");
        }
    }
}

#[test]
fn opening_twice_and_releasing_a_live_connection_are_misuse() {
    for (state, event, _, action) in cells() {
        let is_wrong = match event {
            Event::Connect | Event::Listen => state != State::Idle,
            Event::Release => state != State::Idle && !state.is_closed(),
            _ => false,
        };
        assert_eq!(action == Action::Misuse, is_wrong, "{state}, {event}");
    }
}

#[test]
fn only_a_release_takes_a_connection_back() {
    for (state, event, next, _) in cells() {
        if event != Event::Release {
            assert!(stage(next) >= stage(state), "{state}, {event}: {next}");
        }
        if state.is_established() {
            assert!(next.is_established() || next.is_closed(), "{state}");
        }
    }
}

#[test]
fn abort_ends_whatever_lives_at_once_with_a_reset() {
    for (state, _, next, action) in cells().filter(|cell| cell.1 == Event::Abort) {
        if state != State::Idle && !state.is_closed() {
            assert!(next.is_closed(), "{state}");
            assert_eq!(action, Action::Reset, "{state}");
        }
    }
}

#[test]
fn the_tcp_connection_is_reset_whenever_we_end_it() {
    for (state, event, next, action) in cells() {
        let ends = next.is_closed() && !state.is_closed();
        // In these two states the TCP stack has no connection left to reset.
        let is_closed_there = matches!(event, Event::PeerRst | Event::FinAcknowledged);
        assert_eq!(
            action == Action::Reset,
            ends && !is_closed_there,
            "{state}, {event}"
        );
    }
}

#[test]
fn every_waiting_state_has_a_timeout_that_ends_it() {
    let ends = |state, event| transition(state, event).next.is_closed();
    for state in State::ALL {
        let connects = state == State::Connecting;
        assert_eq!(
            ends(state, Event::ConnectTimeout),
            connects || state.is_closed()
        );
        let established = state.is_established();
        for limit in [Event::UserTimeout, Event::ProgressTimeout] {
            assert_eq!(ends(state, limit), established || state.is_closed());
        }
        let finishes = matches!(state, State::WriteFinished(_) | State::Finishing(_));
        assert_eq!(
            ends(state, Event::FinishTimeout),
            finishes || state.is_closed()
        );
    }
}

#[test]
fn no_peer_ends_listening() {
    for (_, event, next, _) in cells().filter(|cell| cell.0 == State::Listening) {
        let expected = match event {
            Event::Established => State::Open,
            Event::Finish => State::Closed(Cause::Finished),
            Event::Abort => State::Closed(Cause::Aborted),
            Event::AddressLost => State::Closed(Cause::AddressLost),
            _ => State::Listening,
        };
        assert_eq!(next, expected, "{event}");
    }
}

#[test]
fn finishing_is_entered_only_by_finish_and_only_then_a_fin_is_due() {
    for (state, event, next, action) in cells() {
        let enters = matches!(next, State::Finishing(_)) && next != state;
        let half_closes = matches!(next, State::WriteFinished(_))
            && event == Event::FinishWriting
            && next != state;
        assert_eq!(
            action == Action::SendFin,
            enters || half_closes,
            "{state}, {event}"
        );
        if enters {
            assert_eq!(event, Event::Finish, "{state}");
            let closer = match state {
                State::PeerFinished(OnPeerFin::Refuse) => Closer::Peer,
                _ => Closer::Us,
            };
            assert_eq!(next, State::Finishing(closer), "{state}");
        }
    }
}

/// RFC 9293, 3.10.4 (CLOSE) sends a FIN once; 3.10.7.4 processes the peer's in FIN-WAIT-2.
#[test]
fn writing_is_finished_from_either_open_state_and_reading_goes_on() {
    for (state, event, next, _) in cells() {
        if !matches!(next, State::WriteFinished(_)) || next == state {
            continue;
        }
        let expected = match (state, event) {
            (State::Open, Event::FinishWriting) => Incoming::Open,
            (State::PeerFinished(OnPeerFin::HalfClose), Event::FinishWriting)
            | (State::WriteFinished(Incoming::Open), Event::PeerFin(_)) => Incoming::Ended,
            _ => panic!("{state}, {event}"),
        };
        assert_eq!(next, State::WriteFinished(expected), "{state}, {event}");
    }
    for (state, _, _, action) in cells().filter(|cell| cell.1 == Event::FinishWriting) {
        let expected = match state {
            State::Connecting | State::Listening => Action::Wait,
            State::Open | State::PeerFinished(OnPeerFin::HalfClose) => Action::SendFin,
            State::WriteFinished(_) | State::Finishing(Closer::Us) => Action::Ignore,
            State::Idle
            | State::PeerFinished(OnPeerFin::Refuse)
            | State::Finishing(Closer::Peer)
            | State::Closed(_) => Action::Refuse,
        };
        assert_eq!(action, expected, "{state}");
    }
}

#[test]
fn a_fin_of_the_peer_is_reported_under_the_policy_it_came_with() {
    for policy in [OnPeerFin::Refuse, OnPeerFin::HalfClose] {
        let cell = transition(State::Open, Event::PeerFin(policy));
        assert_eq!(cell.next, State::PeerFinished(policy));
        for (state, event, next, _) in cells().filter(|cell| cell.2 != cell.0) {
            if next == State::PeerFinished(policy) {
                assert_eq!((state, event), (State::Open, Event::PeerFin(policy)));
            }
        }
    }
}

/// Which event decides a cause, and in which states.
#[test]
fn a_cause_is_decided_only_by_what_it_is_named_after() {
    for (state, event, next, _) in cells() {
        let (None, Some(cause)) = (state.cause(), next.cause()) else {
            continue;
        };
        let is_right = match cause {
            Cause::PeerFinished => event == Event::PeerFin(OnPeerFin::Refuse),
            Cause::PeerReset => event == Event::PeerRst && state.is_established(),
            Cause::Refused => event == Event::PeerRst && state == State::Connecting,
            Cause::Unreachable => event == Event::Unreachable && state == State::Connecting,
            Cause::ConnectTimeout => event == Event::ConnectTimeout && state == State::Connecting,
            Cause::Vanished => event == Event::UserTimeout && state.is_established(),
            Cause::Unacknowledged => event == Event::ProgressTimeout && state.is_established(),
            Cause::FinishTimeout => {
                event == Event::FinishTimeout
                    && matches!(
                        state,
                        State::WriteFinished(_) | State::Finishing(Closer::Us)
                    )
            }
            Cause::AddressLost => event == Event::AddressLost,
            Cause::Finished if stage(state) == 1 => event == Event::Finish,
            Cause::Finished => matches!(event, Event::FinAcknowledged | Event::DrainedUnread),
            Cause::Aborted => event == Event::Abort,
        };
        assert!(is_right, "{state}, {event}: {cause}");
    }
}

/// The other direction: no event that ends a connection is ignored.
#[test]
fn an_end_is_reported_with_its_own_cause_in_every_state_it_can_reach() {
    for (state, event, next, _) in cells() {
        if state.cause().is_some() || state == State::Idle || state == State::Listening {
            continue;
        }
        let connects = state == State::Connecting;
        let finishes = matches!(state, State::Finishing(_));
        let has_sent_fin = finishes || matches!(state, State::WriteFinished(_));
        let both_finished = finishes || state == State::WriteFinished(Incoming::Ended);
        let expected = match event {
            Event::Abort => Some(Cause::Aborted),
            Event::AddressLost => Some(Cause::AddressLost),
            Event::PeerRst if connects => Some(Cause::Refused),
            Event::PeerRst => Some(Cause::PeerReset),
            Event::UserTimeout if !connects => Some(Cause::Vanished),
            Event::ProgressTimeout if !connects => Some(Cause::Unacknowledged),
            Event::ConnectTimeout if connects => Some(Cause::ConnectTimeout),
            Event::Unreachable if connects => Some(Cause::Unreachable),
            Event::FinAcknowledged if both_finished => Some(Cause::Finished),
            Event::DrainedUnread if finishes => Some(Cause::Finished),
            Event::FinishTimeout if has_sent_fin => Some(Cause::FinishTimeout),
            _ => continue,
        };
        assert_eq!(next.cause(), expected, "{state}, {event}");
        assert!(next.is_closed(), "{state}, {event}");
    }
}

/// What a sequence of events has shown so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Seen {
    state: State,
    /// The first cause since the connection was opened.
    first: Option<Cause>,
    /// Whether a write was refused with a cause decided, since then.
    refused: bool,
}

impl Seen {
    const START: Self = Self {
        state: State::Idle,
        first: None,
        refused: false,
    };

    #[track_caller]
    fn after(mut self, event: Event) -> Self {
        let cell = transition(self.state, event);
        if self.state.is_closed() && cell.next == State::Idle {
            return Self::START;
        }
        if event == Event::Write && cell.action == Action::Refuse {
            self.refused = self.refused || self.first.is_some();
        }
        assert!(
            !(self.refused && cell.action == Action::Accept),
            "accepted after a refusal"
        );
        self.first = self.first.or(cell.next.cause());
        assert_eq!(cell.next.cause(), self.first, "the first cause was lost");
        self.state = cell.next;
        self
    }
}

/// Follows every sequence until there is nothing new, which covers sequences of any
/// length.
#[test]
fn the_first_cause_stays_through_every_sequence_of_events() {
    let mut seen = HashSet::from([Seen::START]);
    let mut new = vec![Seen::START];
    while let Some(from) = new.pop() {
        for event in Event::ALL {
            let to = from.after(event);
            if seen.insert(to) {
                new.push(to);
            }
        }
    }
    let reached: HashSet<_> = seen.iter().map(|seen| seen.state).collect();
    assert_eq!(reached.len(), State::ALL.len(), "a state cannot be reached");
}

/// The same from the histories alone, in case [`Seen`] lacks something that matters:
/// since the last opening, there is no cause, then always the same one.
#[test]
fn every_history_of_five_events_has_at_most_one_cause() {
    fn follow(history: &mut Vec<State>, sequences: &mut u32) {
        let state = history.last().copied().unwrap();
        if history.len() == 6 {
            *sequences += 1;
            let mut cause = state.cause();
            for past in history
                .iter()
                .rev()
                .take_while(|past| **past != State::Idle)
            {
                if past.cause() != cause {
                    assert_eq!(past.cause(), None, "{history:?}");
                    cause = None;
                }
            }
            return;
        }
        for event in Event::ALL {
            history.push(transition(state, event).next);
            follow(history, sequences);
            history.pop();
        }
    }
    let mut sequences = 0;
    follow(&mut vec![State::Idle], &mut sequences);
    assert_eq!(sequences, 19_u32.pow(5));
}
