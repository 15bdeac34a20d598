//! Words of `docs/GLOSSARY.md`, "Words not to use": their counts may only fall.
//!
//! Goal: prose and names become plainer with each change. Method: `tests/words.txt` has the
//! count of each word in each part of the repository. A count that rises fails, with the
//! places. A count that falls fails until the file is lowered, so that it cannot rise
//! again: `UPDATE_WORDS=1 cargo test -p lastbyte --test tidy words`. That never raises a
//! count; only a line that is deleted first is written again from the count.

use crate::shape::{files_below, relative, root};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

/// The counted words, each with its forms. Words that are right in another meaning
/// (`cut`, `sent`, `now`, `lost`) are left to readers.
const WORDS: [(&str, &[&str]); 19] = [
    ("all the same", &["all the same"]),
    ("anew", &["anew"]),
    ("ask", &["ask", "asks", "asking"]),
    ("bare ACK", &["bare ack", "bare acks"]),
    ("behind", &["behind"]),
    ("believe", &["believe", "believes", "believed"]),
    ("everybody", &["everybody", "everyone"]),
    ("for ever", &["for ever"]),
    ("gone", &["gone"]),
    (
        "hand out",
        &["hand out", "hands out", "handed out", "given out"],
    ),
    ("hole", &["hole", "holes"]),
    ("in the midst", &["in the midst"]),
    ("in vain", &["in vain"]),
    ("no longer", &["no longer"]),
    ("somebody, nobody", &["somebody", "nobody", "whoever"]),
    ("sum up", &["sum up", "sums up", "summed up"]),
    ("tell", &["tell", "tells", "telling", "told"]),
    ("the stack below", &["stack below", "layer below"]),
    (
        "throw away",
        &["throw away", "throws away", "threw away", "thrown away"],
    ),
];

const AREAS: [&str; 5] = ["docs", "examples", "shim", "src", "tests"];

/// Files that list the words, are history, or are generated from other files.
const NOT_COUNTED: [&str; 7] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/CONFORMANCE.md",
    "docs/GLOSSARY.md",
    "src/core/transitions.md",
    "tests/tidy/words.rs",
    "tests/words.txt",
];

/// The part of the repository that a file belongs to, if it is counted.
fn area(path: &Path) -> Option<&'static str> {
    let name = path.to_str()?;
    let extension = path.extension()?.to_str()?;
    if NOT_COUNTED.contains(&name) || !["rs", "md", "sh", "toml"].contains(&extension) {
        return None;
    }
    let first = path.components().next()?.as_os_str().to_str()?;
    match AREAS.iter().find(|area| **area == first) {
        Some(area) => Some(area),
        None if first == name => Some("docs"),
        None => None,
    }
}

/// Only the words, in lower case and with a space on each side, without what separates
/// them (spaces, underscores, a line's end with the marks of the next comment).
fn words(text: &str) -> String {
    let letters = text
        .chars()
        .map(|c| if c.is_alphabetic() { c } else { ' ' });
    let lower = letters.collect::<String>().to_lowercase();
    spaced(&lower)
}

/// ` for ever `: each word has its own spaces.
fn spaced(words: &str) -> String {
    let spaced = words.split_whitespace().flat_map(|word| [" ", word, " "]);
    spaced.collect()
}

/// The count of these forms in the words.
fn count(words: &str, forms: &[&str]) -> usize {
    let all = forms.iter().map(|form| spaced(form));
    all.map(|form| words.match_indices(&form).count()).sum()
}

/// A word, and a part of the repository.
type Key = (&'static str, &'static str);

type Counts = BTreeMap<Key, usize>;

/// The files with a word, each with its count.
type Places = BTreeMap<Key, Vec<(usize, String)>>;

/// The counts of each word in each part, and the files.
fn counted() -> (Counts, Places) {
    let mut counts = Counts::new();
    let mut places = Places::new();
    for path in files_below(root()) {
        let name = relative(&path);
        let Some(area) = area(name) else { continue };
        let words = words(&fs::read_to_string(&path).expect("text"));
        for (word, forms) in WORDS {
            let found = count(&words, forms);
            *counts.entry((word, area)).or_default() += found;
            if found > 0 {
                let file = (found, name.display().to_string());
                places.entry((word, area)).or_default().push(file);
            }
        }
    }
    (counts, places)
}

const HEADER: &str = "\
# How often each word of docs/GLOSSARY.md, \"Words not to use\", occurs in each part of the
# repository. A test fails if a count rises, and if this file is not lowered when one falls:
# UPDATE_WORDS=1 cargo test -p lastbyte --test tidy words
";

fn file() -> std::path::PathBuf {
    root().join("tests/words.txt")
}

/// The allowed counts.
fn allowed() -> Counts {
    let text = fs::read_to_string(file()).expect("tests/words.txt");
    let mut counts = Counts::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split('\t').collect();
        let [area, word, allowed] = fields[..] else {
            panic!("tests/words.txt: not an area, a word and a count: {line}");
        };
        let area = AREAS.iter().find(|known| **known == area);
        let word = WORDS.iter().find(|(known, _)| *known == word);
        let (area, (word, _)) = area.zip(word).unwrap_or_else(|| panic!("unknown: {line}"));
        counts.insert((word, area), allowed.parse().expect("a number"));
    }
    counts
}

fn save(counts: &Counts) {
    let mut text = HEADER.to_owned();
    for area in AREAS {
        for (word, _) in WORDS {
            let count = counts.get(&(word, area)).copied().unwrap_or_default();
            writeln!(text, "{area}\t{word}\t{count}").expect("memory");
        }
    }
    fs::write(file(), text).expect("writable");
}

#[test]
fn the_counts_of_words_not_to_use_must_not_rise() {
    let (counts, places) = counted();
    let mut allowed = allowed();
    if env::var_os("UPDATE_WORDS").is_some() {
        for (key, found) in &counts {
            let most = allowed.get(key).copied().unwrap_or(*found);
            allowed.insert(*key, most.min(*found));
        }
        save(&allowed);
    }
    let mut findings = String::new();
    for (key @ (word, area), found) in &counts {
        match allowed.get(key) {
            Some(most) if most == found => (),
            Some(most) if most > found => {
                let lower = "run UPDATE_WORDS=1 cargo test -p lastbyte --test tidy words";
                writeln!(
                    findings,
                    "{area}: \"{word}\" is down from {most} to {found}; {lower}"
                )
                .expect("memory");
            }
            most => {
                let most = most.copied().unwrap_or_default();
                writeln!(
                    findings,
                    "{area}: \"{word}\" is up from {most} to {found}; see docs/GLOSSARY.md for the word \
                     to use. It occurs in {:?}",
                    places.get(key).map_or(&[][..], Vec::as_slice)
                )
                .expect("memory");
            }
        }
    }
    assert!(findings.is_empty(), "\n{findings}");
}

#[test]
fn words_are_found_in_prose_in_names_and_across_lines() {
    let forms = &["told", "for ever"];
    for (text, expected) in [
        ("It is told.", 1),
        ("fn the_end_is_told_once() {", 1),
        ("/// It waits for\n/// ever, and is not toldered.", 1),
        ("Told, told", 2),
        ("untold", 0),
    ] {
        assert_eq!(count(&words(text), forms), expected, "{text}");
    }
}
