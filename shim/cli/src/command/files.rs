//! The identity of files: no option may destroy what another one reads or writes.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::exit::Failure;

/// The identity of a file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileId {
    /// A regular file or a named pipe.
    Inode {
        /// The file system.
        device: u64,
        /// The file in it.
        inode: u64,
    },
    /// A block device: several nodes may lead to it.
    Block(u64),
}

impl FileId {
    /// The identity of an open file or of the target of a path. `None` for files that
    /// writing does not damage: terminals, `/dev/null`, sockets.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        if kind.is_block_device() {
            Some(Self::Block(metadata.rdev()))
        } else if kind.is_file() || kind.is_fifo() {
            Some(Self::Inode {
                device: metadata.dev(),
                inode: metadata.ino(),
            })
        } else {
            None
        }
    }

    /// The identity of the file of a descriptor.
    fn of_descriptor(descriptor: impl AsFd) -> Option<Self> {
        let file = descriptor.as_fd().try_clone_to_owned().map(File::from);
        Self::of(&file.ok()?.metadata().ok()?)
    }
}

/// Checks, before `flag` opens `path` for writing (`-` is stdout), that it is none of the files
/// that the command reads (`read`, with their descriptions) and not the target of its messages.
///
/// # Errors
///
/// [`Failure::Usage`]: it is one of them, whatever its name.
pub fn spare(
    flag: &str,
    path: &Path,
    prints_report: bool,
    read: &[(&str, &File)],
) -> Result<(), Failure> {
    let is_stdout = path == Path::new("-");
    // A file that does not exist is no other file. Other errors are reported when it is opened.
    let written = match is_stdout {
        true => FileId::of_descriptor(io::stdout()),
        false => fs::metadata(path).ok().as_ref().and_then(FileId::of),
    };
    let Some(written) = written else {
        return Ok(());
    };
    let path = path.display();
    for (what, file) in read {
        if FileId::of_descriptor(file) == Some(written) {
            return Err(Failure::usage(format!(
                "{flag} {path} would overwrite {what}: both are the same file. Give {flag} another name"
            )));
        }
    }
    let report = (prints_report && !is_stdout).then(|| FileId::of_descriptor(io::stdout()));
    let messages = FileId::of_descriptor(io::stderr());
    for (stream, id) in [("stdout", report.flatten()), ("stderr", messages)] {
        if id == Some(written) {
            return Err(Failure::usage(format!(
                "{flag} {path} is the file that {stream} goes to. Give {flag} another name"
            )));
        }
    }
    Ok(())
}

/// Creates the files of several options, or empties them. All are opened, and known
/// to be different, before any is emptied.
///
/// # Errors
///
/// [`Failure::Usage`] if two are the same file, or one is where stdout or stderr goes;
/// [`Failure::Other`] if one cannot be written.
pub fn create_all(outputs: &[(&str, &Path)]) -> Result<Vec<File>, Failure> {
    let mut opened = Vec::new();
    for (flag, path) in outputs {
        if let Err(failure) = add(&mut opened, flag, path) {
            for output in opened.iter().filter(|output: &&Output<'_>| output.is_new) {
                // By its own name, not that of a symbolic link. This is best effort: a
                // file that is left is empty.
                let _ = fs::canonicalize(output.path).and_then(fs::remove_file);
            }
            return Err(failure);
        }
    }
    let emptied = opened.into_iter().map(|Output { path, file, .. }| {
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            file.set_len(0)
                .map_err(|error| cannot_write(path, &error))?;
        }
        Ok(file)
    });
    emptied.collect()
}

/// A file that is open for writing and not yet emptied.
struct Output<'a> {
    flag: &'a str,
    path: &'a Path,
    file: File,
    is_new: bool,
}

fn add<'a>(opened: &mut Vec<Output<'a>>, flag: &'a str, path: &'a Path) -> Result<(), Failure> {
    spare(flag, path, true, &[])?;
    let is_new = !path.exists();
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| cannot_write(path, &error))?;
    let id = FileId::of_descriptor(&file);
    let is_same = |other: &&Output<'_>| id.is_some() && FileId::of_descriptor(&other.file) == id;
    if let Some(other) = opened.iter().find(is_same) {
        return Err(Failure::usage(format!(
            "{} {} and {flag} {} are the same file. Give one of them another name",
            other.flag,
            other.path.display(),
            path.display(),
        )));
    }
    opened.push(Output {
        flag,
        path,
        file,
        is_new,
    });
    Ok(())
}

/// The failure of a file that cannot be written.
#[must_use]
pub fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::other(format!("cannot write {}: {error}", path.display()))
}
