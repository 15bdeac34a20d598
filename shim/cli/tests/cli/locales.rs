//! Terminals with other character sets than UTF-8.

use std::process::{Command, Stdio};

use crate::cases::cases;
use crate::common::{lastbyte, peer, program, run};

cases![
    without_utf8_all_output_is_ascii,
    with_utf8_units_are_written_as_usual,
];

/// Tests that need `--peer`.
pub mod on_terminals {
    use super::*;

    cases![progress_is_drawn_in_characters_that_the_terminal_can_show];
}

/// A locale: the values of the variables.
type Locale = [(&'static str, &'static str); 3];

const WITHOUT_UTF8: [Locale; 4] = [
    [("LC_ALL", ""), ("LC_CTYPE", ""), ("LANG", "")],
    [("LC_ALL", ""), ("LC_CTYPE", ""), ("LANG", "C")],
    [
        ("LC_ALL", "POSIX"),
        ("LC_CTYPE", "C.UTF-8"),
        ("LANG", "C.UTF-8"),
    ],
    [
        ("LC_ALL", ""),
        ("LC_CTYPE", "de_DE.ISO-8859-1"),
        ("LANG", "C.UTF-8"),
    ],
];

const WITH_UTF8: [Locale; 2] = [
    [("LC_ALL", ""), ("LC_CTYPE", ""), ("LANG", "C.UTF-8")],
    [
        ("LC_ALL", "de_DE.utf8@euro"),
        ("LC_CTYPE", ""),
        ("LANG", "C"),
    ],
];

/// A run that prints a time in microseconds.
const WITH_MICROSECONDS: [&str; 5] = ["sim", "--profile", "lan", "--seed", "1"];

fn without_utf8_all_output_is_ascii() {
    for locale in WITHOUT_UTF8 {
        for args in [
            &WITH_MICROSECONDS[..],
            &["sim", "--profile", "lan", "--seed", "1", "--log"],
            &["demo"],
            &["doctor"],
            &["send", "--help"],
            &[
                "send",
                "--tap",
                "n\u{f6}",
                "--addr",
                "10.0.0.2/24",
                "n\u{f6}:5000",
            ],
        ] {
            let mut command = lastbyte(args);
            command.envs(locale);
            let done = run(command);
            assert!(
                done.stdout.is_ascii() && done.stderr.is_ascii(),
                "{locale:?}, {done:#?}"
            );
        }
    }
}

fn with_utf8_units_are_written_as_usual() {
    for locale in WITH_UTF8 {
        let mut command = lastbyte(&WITH_MICROSECONDS);
        command.envs(locale);
        let done = run(command).ended_with(0, &[]);
        assert!(done.stdout.contains("\u{b5}s"), "{locale:?}, {done:#?}");
    }
}

fn progress_is_drawn_in_characters_that_the_terminal_can_show() {
    let is_drawn = |locale: Locale, input: &str| {
        // Python's terminal: its output arrives on stdout.
        let mut command = Command::new("python3");
        command
            .args(["-c", "import pty, sys; pty.spawn(sys.argv[1:])", program()])
            .args([
                "send",
                "--peer",
                &format!("sleep 0.5; {}", peer("all")),
                "10.77.0.1:5000",
            ])
            .arg(input)
            .envs(locale)
            .env("TERM", "xterm")
            .stdin(Stdio::piped());
        let shown = run(command).stdout;
        assert!(shown.contains("finished"), "{shown}");
        shown
    };
    for input in ["Cargo.toml", "/dev/null"] {
        // With LC_ALL: Python would change the others.
        let ascii = is_drawn(WITHOUT_UTF8[2], input);
        assert!(ascii.is_ascii() && ascii.contains("\x1b["), "{ascii}");
        let utf8 = is_drawn(WITH_UTF8[0], input);
        assert!(!utf8.is_ascii(), "{utf8}");
    }
}
