//! `docs/CONFORMANCE.md`: each requirement with its tests, or with the reason why there is none.
//!
//! `UPDATE_CONFORMANCE=1 cargo test -p lastbyte --test conformance document` generates it.
//!
//! Goal: a requirement without a test, a removed test, and a test on only one family are
//! failures. Method: the requirements are in `requirements.txt`; the tests are those that
//! this program lists, not those in its source.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const SETTINGS: [&str; 6] = [
    "ipv4",
    "ipv4_numbers_at_2_to_31",
    "ipv4_numbers_at_2_to_32",
    "ipv6",
    "ipv6_numbers_at_2_to_31",
    "ipv6_numbers_at_2_to_32",
];

const PREFACE: &str = "\
# Conformance

What RFC 9293 and its neighbours require of a TCP, as far as a writer notices, and what shows that lastbyte meets it.
Printed from `tests/conformance/requirements.txt` and from the tests themselves:
`UPDATE_CONFORMANCE=1 cargo test -p lastbyte --test conformance document`. A test fails if this page is not what is printed, or
if a row has neither a test nor an exception.

- *Tests* are modules of `tests/conformance`. Each runs six times: on IPv4 and on IPv6, with the sequence numbers of both ends
  anywhere, at 2^31 and at 2^32. `cargo test -p lastbyte --test conformance row_06` runs those of a row.
- *Bare smoltcp* is what smoltcp 0.14 does without lastbyte, as a pin in `tests/bare_smoltcp` shows. An empty cell: no pin, since
  smoltcp meets the row, or since nothing of lastbyte rests on what it does.
- *Exception*: the requirement is not met, and why.

Urgent data (RFC 9293, 3.8.5) does not concern a writer and has no row.

";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> PathBuf {
    root().join("docs/CONFORMANCE.md")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// A row of `requirements.txt`.
#[derive(Default)]
struct Requirement {
    source: String,
    text: String,
    exception: Option<String>,
}

/// The requirements, by number, in two digits.
fn requirements() -> BTreeMap<String, Requirement> {
    let mut rows = BTreeMap::new();
    let mut current: Option<String> = None;
    let text = read("tests/conformance/requirements.txt");
    let lines = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    for line in lines {
        let Some(indented) = line.strip_prefix("   ") else {
            let (number, source) = line.split_once(' ').expect("a number and a source");
            let row = Requirement {
                source: source.to_owned(),
                ..Requirement::default()
            };
            let twice = rows.insert(number.to_owned(), row).is_some();
            assert!(!twice, "row {number} exists twice");
            current = Some(number.to_owned());
            continue;
        };
        let number = current.as_ref().expect("a row comes first");
        let row = rows.get_mut(number).expect("it was inserted");
        match indented.strip_prefix("except: ") {
            Some(reason) => row.exception = Some(reason.to_owned()),
            None => row.text.push_str(indented),
        }
    }
    rows
}

/// The number in `row_NN_name`.
fn number_of(test: &str) -> Option<&str> {
    test.strip_prefix("row_")?.get(..2)
}

/// `module::row_NN_name` of every test of this program, with the settings that it runs in.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program).arg("--list").output();
    let listed = String::from_utf8(output.expect("a list").stdout).expect("names");
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in listed.lines() {
        let Some(name) = line.strip_suffix(": test") else {
            continue;
        };
        let Some((test, setting)) = name.rsplit_once("::") else {
            continue;
        };
        if test.split("::").any(|part| part.starts_with("row_")) {
            let settings = tests.entry(test.to_owned()).or_default();
            settings.insert(setting.to_owned());
        }
    }
    tests
}

/// The tests of each row.
fn tests_by_row() -> BTreeMap<String, Vec<String>> {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for test in tests().into_keys() {
        let name = test.rsplit("::").next().expect("a name");
        let number = number_of(name).expect("two digits");
        rows.entry(number.to_owned()).or_default().push(test);
    }
    rows
}

/// The behaviour of bare smoltcp, by row: the table at the top of the pins.
fn pins() -> BTreeMap<String, Vec<String>> {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in read("tests/bare_smoltcp/main.rs").lines() {
        let mut cells = line.split('|').map(str::trim);
        let (Some("//!"), Some(numbers), Some(what)) = (cells.next(), cells.next(), cells.next())
        else {
            continue;
        };
        for number in numbers.split(", ").filter(|n| n.parse::<u8>().is_ok()) {
            rows.entry(number.to_owned())
                .or_default()
                .push(what.to_owned());
        }
    }
    rows
}

/// The rows of the tests in `tests/bare_smoltcp`.
fn pinned() -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests/bare_smoltcp")).expect("pins") {
        let text = fs::read_to_string(entry.expect("readable").path()).expect("readable");
        for name in text.split("#[test]\nfn ").skip(1) {
            rows.extend(number_of(name).map(str::to_owned));
        }
    }
    rows
}

fn printed() -> String {
    let (tests, pins) = (tests_by_row(), pins());
    let mut page = PREFACE.to_owned();
    page.push_str("| row | requirement | source | tests, or the exception | bare smoltcp |\n|--:|---|---|---|---|\n");
    for (number, row) in requirements() {
        let shown = match (&row.exception, tests.get(&number)) {
            (Some(reason), _) => format!("*Exception*: {reason}"),
            (None, Some(tests)) => {
                let quoted: Vec<_> = tests.iter().map(|test| format!("`{test}`")).collect();
                quoted.join(", ")
            }
            (None, None) => String::new(),
        };
        let bare = pins
            .get(&number)
            .map_or(String::new(), |pins| pins.join("; "));
        let (text, source) = (&row.text, &row.source);
        writeln!(page, "| {number} | {text} | {source} | {shown} | {bare} |").expect("memory");
    }
    page
}

#[test]
fn the_page_agrees_with_the_tests() {
    let printed = printed();
    if env::var_os("UPDATE_CONFORMANCE").is_some() {
        fs::write(page(), &printed).expect("writable");
    }
    let page = fs::read_to_string(page()).unwrap_or_default();
    assert!(
        page == printed,
        "docs/CONFORMANCE.md differs from the tests; run \
         UPDATE_CONFORMANCE=1 cargo test -p lastbyte --test conformance document \
         and read the difference"
    );
}

#[test]
fn each_requirement_has_a_test_or_an_exception_and_not_both() {
    let tests = tests_by_row();
    let requirements = requirements();
    assert!(requirements.len() >= 70, "only {}", requirements.len());
    for (number, row) in &requirements {
        let is_tested = tests.contains_key(number);
        assert_ne!(
            is_tested,
            row.exception.is_some(),
            "row {number}: a test, or an exception"
        );
        let has_section = row.source.starts_with("RFC ") && row.source.contains(", ");
        assert!(has_section, "row {number}: name the RFC and the section");
        assert!(
            row.text.ends_with('.'),
            "row {number}: write what must hold"
        );
        assert!(
            row.exception
                .as_ref()
                .is_none_or(|reason| reason.len() > 20),
            "row {number}"
        );
    }
    for number in tests.keys() {
        assert!(
            requirements.contains_key(number),
            "row {number} is not a requirement"
        );
    }
}

#[test]
fn each_row_runs_on_both_families_and_at_the_edges_of_sequence_space() {
    let tests = tests();
    assert!(tests.len() >= 90, "only {} rows were listed", tests.len());
    for (test, settings) in tests {
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        assert_eq!(settings, SETTINGS, "{test}");
    }
}

#[test]
fn each_row_of_the_table_of_pins_has_a_pin_and_each_pin_a_row() {
    let shown: BTreeSet<_> = pins().into_keys().collect();
    assert_eq!(
        shown,
        pinned(),
        "the table in tests/bare_smoltcp/main.rs, and its tests"
    );
    let requirements = requirements();
    for number in shown {
        assert!(
            requirements.contains_key(&number),
            "row {number} is not a requirement"
        );
    }
}
