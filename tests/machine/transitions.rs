//! The printed table agrees with the code.
//!
//! `UPDATE_TRANSITIONS=1 cargo test --test machine transitions` writes it.

use lastbyte::State;
use lastbyte::core::Event;
use lastbyte::core::transition::{Table, transition};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const HEADER: [&str; 2] = [
    "| row | state | event | next state | action |",
    "|---|---|---|---|---|",
];

fn source(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "src", "core", name]
        .iter()
        .collect()
}

/// The states with separate rows: the causes of `Closed` share theirs.
fn printed_states() -> Vec<State> {
    let mut states: Vec<_> = State::ALL.into_iter().filter(|s| !s.is_closed()).collect();
    states.extend(State::ALL.into_iter().find(|s| s.is_closed()));
    states
}

#[test]
fn the_printed_table_is_the_one_in_the_code() {
    let path = source("transitions.md");
    let table = Table.to_string();
    if std::env::var_os("UPDATE_TRANSITIONS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let printed = fs::read_to_string(&path).unwrap();
    assert!(
        printed == table,
        "src/core/transitions.md differs from the code; \
         run UPDATE_TRANSITIONS=1 cargo test --test machine transitions and look at the difference"
    );
}

#[test]
fn rows_are_numbered_from_one_in_the_order_of_the_table() {
    let mut expected = 0;
    for state in printed_states() {
        for event in Event::ALL {
            expected += 1;
            assert_eq!(transition(state, event).row, expected, "{state}, {event}");
        }
    }
    assert_eq!(usize::from(expected), 11 * Event::ALL.len());
}

#[test]
fn closed_causes_share_their_rows_and_differ_in_nothing_else() {
    let mut closed = State::ALL.into_iter().filter(|state| state.is_closed());
    let first = closed.next().unwrap();
    for state in closed {
        for event in Event::ALL {
            let (one, other) = (transition(first, event), transition(state, event));
            assert_eq!(one.row, other.row, "{state}, {event}");
            assert_eq!(one.action, other.action, "{state}, {event}");
            let stays = (one.next == first, other.next == state);
            assert!(matches!(stays, (true, true) | (false, false)), "{state}");
        }
    }
}

#[test]
fn every_printed_row_is_one_cell_of_the_code() {
    let printed = Table.to_string();
    let mut lines = printed.lines();
    assert_eq!([lines.next().unwrap(), lines.next().unwrap()], HEADER);
    let mut rows = BTreeMap::new();
    for line in lines {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [row, rest @ ..] = cells.as_slice() else {
            panic!("an empty row: {line}");
        };
        assert_eq!(rest.len(), 4, "{line}");
        assert!(rows.insert(*row, rest.to_vec()).is_none(), "twice: {line}");
    }
    for state in printed_states() {
        for event in Event::ALL {
            let cell = transition(state, event);
            let name = match state {
                State::Closed(_) => "Closed(any)".to_owned(),
                other => other.to_string(),
            };
            let next = match cell.next {
                next if next == state => "-".to_owned(),
                next => next.to_string(),
            };
            let id = format!("T{:03}", cell.row);
            let expected = [name, event.to_string(), next, cell.action.to_string()];
            assert_eq!(
                rows.remove(id.as_str()),
                Some(expected.iter().map(String::as_str).collect()),
                "{id}"
            );
        }
    }
    assert!(rows.is_empty(), "rows without a cell: {rows:?}");
}

#[test]
fn the_documentation_of_the_module_includes_the_table() {
    let module = fs::read_to_string(source("transition.rs")).unwrap();
    assert!(
        module
            .lines()
            .any(|line| line == r#"#![doc = include_str!("transitions.md")]"#)
    );
}
