//! The content of a beat: text, bytes in hexadecimal digits, or a file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::args::ConnectionArgs;
use super::exit::Failure;
use super::patience::patiently;
use super::{files, stdio};
use lastbyte_host::signals::Signals;

/// The largest beat, in bytes: a file without end is a mistake.
const LARGEST: u64 = 16 << 20;

/// The message for a beat without bytes.
const EMPTY: &str = "a beat needs at least one byte, otherwise it probes nothing";

/// The content of each beat of `lastbyte heartbeat`.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct MessageArgs {
    /// What each beat sends, exactly (in bash, $'alive\n' ends in a line feed)
    #[arg(long, value_name = "TEXT", value_parser = OsStringValueParser::new().try_map(not_empty))]
    pub message: Option<OsString>,
    /// The same as bytes in hexadecimal: two digits each, as in 'c0 00' or
    /// c0:00
    #[arg(long, value_name = "HEX", value_parser = parse_hex)]
    pub message_hex: Option<Bytes>,
    /// The same from a file, which is read once; - is standard input
    #[arg(long, value_name = "FILE")]
    pub message_file: Option<PathBuf>,
}

/// The bytes from one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl MessageArgs {
    /// The bytes of a beat.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there are no bytes, or the file cannot be read.
    pub fn read(
        self,
        connection: &ConnectionArgs,
        signals: &mut Signals,
    ) -> Result<Vec<u8>, Failure> {
        let path = match self {
            Self {
                message: Some(text),
                ..
            } => return Ok(text.into_vec()),
            Self {
                message_hex: Some(Bytes(bytes)),
                ..
            } => return Ok(bytes),
            Self { message_file, .. } => message_file.unwrap_or_default(),
        };
        let bytes = read_file(path, connection, signals)?;
        match bytes.is_empty() {
            true => Err(Failure::usage(format!("--message-file: {EMPTY}"))),
            false => Ok(bytes),
        }
    }
}

/// Reads a file that may be a pipe.
fn read_file(
    path: PathBuf,
    connection: &ConnectionArgs,
    signals: &mut Signals,
) -> Result<Vec<u8>, Failure> {
    let what = format!("--message-file {}", path.display());
    let read = patiently(signals, &what, move || {
        let file = open(&path)?;
        let mut bytes = Vec::new();
        (&file).take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok((file, bytes))
    })?;
    let (file, bytes) =
        read.map_err(|error: io::Error| Failure::other(format!("{what}: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::usage(format!(
            "{what}: more than {} MiB; a beat is sent as a whole, again and again",
            LARGEST >> 20
        )));
    }
    if let Some(capture) = &connection.pcap {
        let read = [("the message file", &file)];
        files::spare("--pcap", capture, connection.json, &read)?;
    }
    Ok(bytes)
}

fn open(path: &Path) -> io::Result<File> {
    if path != Path::new("-") {
        return File::open(path);
    }
    if !stdio::has_stdin() {
        return Err(io::Error::other("standard input is closed"));
    }
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

fn not_empty(text: OsString) -> Result<OsString, &'static str> {
    match text.is_empty() {
        true => Err(EMPTY),
        false => Ok(text),
    }
}

/// Parses pairs of hexadecimal digits, with or without spaces or colons between them.
fn parse_hex(text: &str) -> Result<Bytes, String> {
    let digits: String = text
        .strip_prefix("0x")
        .unwrap_or(text)
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .collect();
    if let Some(wrong) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(format!(
            "{wrong:?} is not a hexadecimal digit; write bytes as in 'c0 00'"
        ));
    }
    match hex::decode(&digits) {
        Ok(bytes) if bytes.is_empty() => Err(EMPTY.to_owned()),
        Ok(bytes) => Ok(Bytes(bytes)),
        Err(_) => Err(format!(
            "these are {} digits, and every byte needs two, as in 'c0 00'",
            digits.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pairs_of_digits() {
        for text in ["c000ff", "C0 00 FF", "c0:00:ff", "0xc000ff", " c0\t00\nff "] {
            assert_eq!(parse_hex(text), Ok(Bytes(vec![0xc0, 0, 0xff])), "{text}");
        }
        for (text, word) in [
            ("", "at least one byte"),
            (" : ", "at least one byte"),
            ("c", "two"),
            ("c00", "3 digits"),
            ("cg", "'g'"),
            ("c0 0xff", "'x'"),
            ("caf\u{e9}", "'\u{e9}'"),
        ] {
            let wrong = parse_hex(text).expect_err(text);
            assert!(wrong.contains(word), "{text}: {wrong}");
        }
    }
}
