//! The tables of `docs/MEASUREMENTS.md` and of the README that the stages write. Each is between
//! two marks; people write the text around it.

use anyhow::{Context as _, Result, ensure};

pub const DOCUMENT: &str = "docs/MEASUREMENTS.md";
pub const README: &str = "README.md";

fn marks(name: &str) -> (String, String) {
    (
        format!("<!-- measured: {name} -->\n"),
        format!("<!-- end of {name} -->\n"),
    )
}

/// What is between the marks of a table.
pub fn table<'a>(document: &'a str, name: &str) -> Result<&'a str> {
    let (begin, end) = marks(name);
    let missing = || {
        format!(
            "{DOCUMENT} has no table with the mark: {}",
            begin.trim_end()
        )
    };
    let (_, rest) = document.split_once(&begin).with_context(missing)?;
    let (table, rest) = rest.split_once(&end).with_context(missing)?;
    ensure!(!rest.contains(&begin), "the table {name} is there twice");
    Ok(table)
}

/// The document with this table replaced.
pub fn replace(document: &str, name: &str, new: &str) -> Result<String> {
    let (begin, end) = marks(name);
    let old = format!("{begin}{}{end}", table(document, name)?);
    Ok(document.replacen(&old, &format!("{begin}{new}{end}"), 1))
}

/// The comparison of a table in the document with one that was just measured.
#[derive(Debug, PartialEq, Eq)]
pub enum Comparison {
    Same,
    /// The table in the document was measured with another compiler.
    OtherCompiler,
    /// The lines that only one of the two has.
    Different(Vec<String>),
}

/// Compares a table of the document with one that was just measured. Each contains the
/// line "Rust VERSION".
pub fn compare(documented: &str, measured: &str, compiler: &str) -> Comparison {
    if documented == measured {
        return Comparison::Same;
    }
    let rust = compiler_line(compiler);
    if !documented.lines().any(|line| line == rust) {
        return Comparison::OtherCompiler;
    }
    let only_in = |one: &str, other: &str, sign: char| -> Vec<String> {
        let lines = one
            .lines()
            .filter(|line| !other.lines().any(|o| o == *line));
        lines.map(|line| format!("{sign} {line}")).collect()
    };
    let mut lines = only_in(documented, measured, '-');
    lines.extend(only_in(measured, documented, '+'));
    Comparison::Different(lines)
}

/// The line with the compiler with which a table was measured.
pub fn compiler_line(compiler: &str) -> String {
    format!("Rust {compiler}")
}

/// A table as a program prints it, without what only its user needs: the files that it
/// wrote, and its duration.
pub fn printed(output: &str, heading: &str) -> String {
    let is_noise = |line: &str| {
        line.starts_with("every cell: ")
            || line.starts_with("drawn into ")
            || line.ends_with(" s in all")
    };
    let lines: Vec<_> = output.lines().filter(|line| !is_noise(line)).collect();
    let body = lines.join("\n");
    format!("{heading}\n\n```text\n{}\n```\n", body.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a\n<!-- measured: cost -->\nRust 1.95.0\nold\n<!-- end of cost -->\nb\n";

    #[test]
    fn a_table_is_replaced_and_nothing_else() {
        assert_eq!(table(TEXT, "cost").unwrap(), "Rust 1.95.0\nold\n");
        let new = replace(TEXT, "cost", "new\n").unwrap();
        assert_eq!(
            new,
            "a\n<!-- measured: cost -->\nnew\n<!-- end of cost -->\nb\n"
        );
    }

    #[test]
    fn a_table_that_is_missing_or_twice_is_an_error() {
        assert!(table(TEXT, "calls").is_err());
        assert!(table("<!-- measured: cost -->\n", "cost").is_err());
        assert!(table(&TEXT.repeat(2), "cost").is_err());
    }

    #[test]
    fn a_changed_number_is_shown() {
        let old = "Rust 1.95.0\n| flash | 10 |\n| stack | 5 |\n";
        let new = "Rust 1.95.0\n| flash | 11 |\n| stack | 5 |\n";
        assert_eq!(compare(old, old, "1.95.0"), Comparison::Same);
        let lines = vec!["- | flash | 10 |".to_owned(), "+ | flash | 11 |".to_owned()];
        assert_eq!(compare(old, new, "1.95.0"), Comparison::Different(lines));
    }

    #[test]
    fn numbers_of_another_compiler_are_not_compared() {
        let old = "Rust 1.95.0\n| flash | 10 |\n";
        let new = "Rust 1.95.1\n| flash | 11 |\n";
        assert_eq!(compare(old, new, "1.95.1"), Comparison::OtherCompiler);
        // 1.9 must not match 1.95.0.
        assert_eq!(compare(old, new, "1.9"), Comparison::OtherCompiler);
    }

    #[test]
    fn messages_of_a_benchmark_about_its_run_are_left_out() {
        let output = "\nhead\n\n  1 2\nevery cell: x/y.tsv\ndrawn into z.svg\n\n12 s in all\n";
        let expected = "on a machine\n\n```text\nhead\n\n  1 2\n```\n";
        assert_eq!(printed(output, "on a machine"), expected);
    }
}
