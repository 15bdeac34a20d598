//! Checks the shape of the repository, which the compiler and clippy do not check.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The maximum number of lines that are neither blank nor comments; documentation does not
/// count.
const LONGEST_SOURCE: usize = 500;
const LONGEST_TEST: usize = 500;

const TOP_LEVEL: [&str; 15] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "SECURITY.md",
    "ci.sh",
    "clippy.toml",
    "docs",
    "examples",
    "rust-toolchain.toml",
    "shim",
    "src",
    "tests",
];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `directory`, except those of builds and git.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default();
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

pub(crate) fn is_rust(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("rs"))
}

/// Whether people write and read this file.
fn is_written(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    match extension {
        Some(extension) => {
            ["rs", "toml", "md", "sh", "yml", "yaml", "x", "py", "c"].contains(&extension)
        }
        None => path.file_name() == Some(OsStr::new("run")),
    }
}

pub(crate) fn relative(path: &Path) -> &Path {
    path.strip_prefix(root()).unwrap()
}

/// The lines of a file that are code, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with("//"))
}

/// Fails with all findings at once, one in a line.
#[track_caller]
pub(crate) fn assert_none(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n{}", findings.join("\n"));
}

/// Every line of `files` that contains one of `needles`.
fn find(files: &[PathBuf], needles: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for path in files {
        let text = fs::read_to_string(path).unwrap();
        for (index, line) in text.lines().enumerate() {
            for needle in needles.iter().filter(|needle| line.contains(**needle)) {
                let file = relative(path).display();
                findings.push(format!("{file}:{}: {needle}", index + 1));
            }
        }
    }
    findings
}

#[test]
fn no_file_is_too_long() {
    let mut findings = Vec::new();
    for path in files_below(root()).iter().filter(|path| is_rust(path)) {
        let is_test = relative(path)
            .components()
            .any(|part| part.as_os_str() == "tests");
        let longest = if is_test {
            LONGEST_TEST
        } else {
            LONGEST_SOURCE
        };
        let lines = code(&fs::read_to_string(path).unwrap()).count();
        if lines > longest {
            let file = relative(path).display();
            findings.push(format!("{file}: {lines} lines of code, {longest} at most"));
        }
    }
    assert_none("split these", &findings);
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two halves, so that this file does not match.
    let needles = [
        concat!("to", "do!"),
        concat!("TO", "DO"),
        concat!("unimple", "mented!"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
    ];
    let mut files = files_below(root());
    files.retain(|path| is_written(path));
    assert_none("finish these", &find(&files, &needles));
}

/// Measurements take long and prove nothing; every other test runs.
#[test]
fn only_measurements_are_left_out_of_the_tests() {
    let ignored = concat!("#[ig", "nore");
    let measures = concat!("#[ig", "nore = \"measures");
    let mut findings = Vec::new();
    for path in files_below(root()).iter().filter(|path| is_rust(path)) {
        let text = fs::read_to_string(path).unwrap();
        for (number, line) in code(&text) {
            if line.contains(ignored) && !line.contains(measures) {
                findings.push(format!("{}:{number}", relative(path).display()));
            }
        }
    }
    assert_none("run these, or write what they measure", &findings);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let needles = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("C:", "\\"),
        concat!("\"/wo", "rk/"),
        concat!(" /wo", "rk/"),
    ];
    let mut files = files_below(root());
    files.retain(|path| is_written(path));
    assert_none("make these relative", &find(&files, &needles));
}

#[test]
fn the_top_level_holds_what_a_newcomer_expects() {
    let mut findings = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_known = TOP_LEVEL.contains(&name.as_str())
            || name.starts_with('.')
            || name.starts_with("LICENSE-")
            || name == "target";
        if !is_known {
            findings.push(name);
        }
    }
    assert_none("not agreed on", &findings);
}

#[test]
fn the_supported_compiler_is_the_same_everywhere() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let supported = value(&read("Cargo.toml"), "rust-version = ");
    assert_eq!(value(&read("clippy.toml"), "msrv = "), supported);
    let proof = read("tests/no-panic/Cargo.toml");
    assert_eq!(value(&proof, "rust-version = "), supported);
}
