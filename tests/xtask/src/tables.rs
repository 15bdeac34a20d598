//! The tables of `docs/MEASUREMENTS.md` and of the README that the stages write. Each is between
//! two marks, and people write the text around it.

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

/// The document with another table.
pub fn replace(document: &str, name: &str, new: &str) -> Result<String> {
    let (begin, end) = marks(name);
    let old = format!("{begin}{}{end}", table(document, name)?);
    Ok(document.replacen(&old, &format!("{begin}{new}{end}"), 1))
}

/// How a table of the document stands to one that was just measured.
#[derive(Debug, PartialEq, Eq)]
pub enum Comparison {
    Same,
    /// The document's was measured with another compiler.
    OtherCompiler,
    /// Lines that only one of the two has.
    Different(Vec<String>),
}

/// Compares a table of the document with one that was just measured, each with the line
/// "Rust VERSION" in it.
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

/// The line that says which compiler a table was measured with.
pub fn compiler_line(compiler: &str) -> String {
    format!("Rust {compiler}")
}

/// A table in the form in which a program prints it, without what only its user needs: where
/// it wrote files, and how long it took.
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
    fn a_figure_that_moved_is_shown() {
        let old = "Rust 1.95.0\n| flash | 10 |\n| stack | 5 |\n";
        let new = "Rust 1.95.0\n| flash | 11 |\n| stack | 5 |\n";
        assert_eq!(compare(old, old, "1.95.0"), Comparison::Same);
        let lines = vec!["- | flash | 10 |".to_owned(), "+ | flash | 11 |".to_owned()];
        assert_eq!(compare(old, new, "1.95.0"), Comparison::Different(lines));
    }

    #[test]
    fn figures_of_another_compiler_are_not_compared() {
        let old = "Rust 1.95.0\n| flash | 10 |\n";
        let new = "Rust 1.95.1\n| flash | 11 |\n";
        assert_eq!(compare(old, new, "1.95.1"), Comparison::OtherCompiler);
        // 1.9 is not the beginning of 1.95.0.
        assert_eq!(compare(old, new, "1.9"), Comparison::OtherCompiler);
    }

    #[test]
    fn what_a_benchmark_says_of_its_run_stays_out() {
        let output = "\nhead\n\n  1 2\nevery cell: x/y.tsv\ndrawn into z.svg\n\n12 s in all\n";
        let expected = "on a machine\n\n```text\nhead\n\n  1 2\n```\n";
        assert_eq!(printed(output, "on a machine"), expected);
    }
}
