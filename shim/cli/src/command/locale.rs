//! The characters that the user's terminal can show.

use std::borrow::Cow;
use std::env;
use std::io::{self, Write};

/// Whether the locale has the character set UTF-8 (POSIX, XBD 8.2: the first of these
/// variables that has a value decides; without one it is the C locale).
#[must_use]
pub fn is_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].map(env::var_os);
    let deciding = set.into_iter().flatten().find(|value| !value.is_empty());
    deciding.is_some_and(|name| names_utf8(&name.to_string_lossy()))
}

/// Whether a locale, such as `de_DE.UTF-8@euro`, has UTF-8.
fn names_utf8(locale: &str) -> bool {
    let charset = locale.split_once('.').map_or("", |(_, charset)| charset);
    let (charset, _) = charset.split_once('@').unwrap_or((charset, ""));
    ["utf-8", "utf8"].contains(&charset.to_ascii_lowercase().as_str())
}

/// The text as it can be shown: unchanged, or in ASCII.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    match is_utf8() {
        true => text.into(),
        false => in_ascii(text),
    }
}

fn in_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let replaced = text.chars().map(|c| match c {
        // The two characters for micro, as in 5 us.
        '\u{b5}' | '\u{3bc}' => 'u',
        c if c.is_ascii() => c,
        _ => '?',
    });
    replaced.collect()
}

/// Prints the text on stdout as it can be shown, with colours for a terminal.
///
/// # Errors
///
/// stdout cannot be written.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(shown(text).as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_is_recognised_in_the_name_of_a_locale() {
        for utf8 in [
            "C.UTF-8",
            "C.utf8",
            "de_DE.UTF-8",
            "de_DE.utf8@euro",
            "en_US.Utf-8",
        ] {
            assert!(names_utf8(utf8), "{utf8}");
        }
        for other in [
            "C",
            "POSIX",
            "de_DE",
            "de_DE.ISO-8859-1",
            "ja_JP.eucJP",
            "utf8",
            "x@utf8",
        ] {
            assert!(!names_utf8(other), "{other}");
        }
    }

    #[test]
    fn other_characters_are_replaced_by_ascii() {
        assert_eq!(in_ascii("5\u{b5}s, 7 \u{3bc}s"), "5us, 7 us");
        assert_eq!(in_ascii("na\u{ef}ve \u{2588}"), "na?ve ?");
        assert!(matches!(in_ascii("plain"), Cow::Borrowed("plain")));
    }
}
