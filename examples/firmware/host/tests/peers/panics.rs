//! Which of our code can panic in a firmware: only its start-up, its fault handlers, and
//! the code that breaks it on purpose.
//!
//! A panic reports its place in the source, so the firmware contains the name of the
//! file. A file whose name is not in the firmware has no panic that the compiler could
//! not rule out.

use crate::boards::Board;
use object::endian::Endianness;
use object::read::elf::ElfFile32;
use object::{Object, ObjectSection};
use std::path::{Path, PathBuf};

/// Where a firmware may panic: before anything runs, after a fault, and in `check=`.
const MAY_PANIC: [&str; 4] = ["main.rs", "chip.rs", "fault.rs", "check.rs"];

/// Fails if the firmware contains the name of one of our files.
pub fn our_code_does_not_panic(board: &Board) {
    let elf = std::fs::read(board.firmware().unwrap()).unwrap();
    let elf = ElfFile32::<Endianness>::parse(elf.as_slice()).unwrap();
    let constants: Vec<u8> = elf
        .sections()
        .filter(|section| section.name().is_ok_and(|name| name.starts_with(".rodata")))
        .flat_map(|section| section.data().unwrap())
        .copied()
        .collect();
    let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let root = firmware.parent().and_then(Path::parent).unwrap();
    let mut named = Vec::new();
    for directory in [root.join("src"), firmware.join("app/src")] {
        let directory = format!("{}/", directory.display());
        if positions(&constants, &directory).next().is_some() {
            named.push(directory);
        }
    }
    let semihost = firmware.join("semihost/src");
    for file in sources(&semihost) {
        let name = semihost.join(file).display().to_string();
        if positions(&constants, &name).next().is_some() {
            named.push(name);
        }
    }
    // Files of the built package have their path in it.
    for file in sources(&firmware.join(board.name()).join("src")) {
        let name = format!("src/{}", file.display());
        let is_ours = |&at: &usize| at == 0 || constants[at - 1] != b'/';
        if positions(&constants, &name).any(|at| is_ours(&at)) {
            named.push(name);
        }
    }
    assert!(named.is_empty(), "these can panic: {named:?}");
    // The firmware does contain the names of files that may panic; otherwise this search
    // would not work.
    for name in [
        "src/main.rs".to_owned(),
        semihost.join("check.rs").display().to_string(),
    ] {
        let is_named = positions(&constants, &name).next().is_some();
        assert!(is_named, "no panic names its place in {name}");
    }
}

fn positions<'a>(constants: &'a [u8], name: &'a str) -> impl Iterator<Item = usize> + 'a {
    constants
        .windows(name.len())
        .enumerate()
        .filter(move |(_, window)| *window == name.as_bytes())
        .map(|(at, _)| at)
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| PathBuf::from(entry.unwrap().file_name()))
        .filter(|name| !MAY_PANIC.iter().any(|may| name == Path::new(may)))
        .collect()
}
