//! Finds the panics in a linked program that certain sources cause.
//!
//! `judge PROGRAM DIRECTORY...` reads a program for ARM that was linked with
//! `--emit-relocs`, so that it has a relocation for every call, and with a panic handler
//! that uses the place of the panic. It has two methods:
//!
//! 1. *Places.* A panic contains its place in the source, which is in the program as
//!    text. None may be in one of the directories.
//! 2. *Calls.* The functions that end in the panic handler are found backwards from it,
//!    call by call. The debug information lists the functions through which each such
//!    call was inlined. The innermost one that does not belong to the standard library or
//!    to a collection is the cause; if there is none, the whole function is added to
//!    those that end in the handler. This finds an `unwrap` whose place is in `core`.
//!
//! It does not detect a call through a pointer, which has no relocation, and a function
//! that panics only for arguments of our code, if that function belongs to a package that
//! may panic (`--may-panic TEXT`, a part of the path).

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use addr2line::{Context, demangle_auto};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

/// The functions in which every panic ends: the handler, or its caller if the optimiser
/// has merged the two.
const HANDLERS: [&str; 2] = ["rust_begin_unwind", "core::panicking::panic_fmt"];

type Source<'d> = Context<EndianSlice<'d, LittleEndian>>;

/// A function that was inlined at a place.
struct Frame {
    name: String,
    file: String,
    line: u32,
}

/// The owners of sources.
#[derive(Default)]
struct Owners {
    ours: Vec<String>,
    may_panic: Vec<String>,
}

enum Owner {
    /// It must not panic.
    Us,
    /// It may.
    Others,
    /// It acts for its caller.
    Unknown,
}

impl Owners {
    fn of(&self, file: &str) -> Owner {
        if self
            .ours
            .iter()
            .any(|directory| file.starts_with(directory))
        {
            Owner::Us
        } else if self.may_panic.iter().any(|part| file.contains(part)) {
            Owner::Others
        } else {
            Owner::Unknown
        }
    }
}

/// A call: its address, its function, and its target.
struct Call {
    address: u64,
    caller: u64,
    callee: u64,
}

struct Program<'d> {
    file: object::File<'d>,
    functions: BTreeMap<u64, String>,
    calls: Vec<Call>,
}

/// The lowest bit of an address is the instruction set, not a part of the place.
const fn place(address: u64) -> u64 {
    address & !1
}

impl<'d> Program<'d> {
    fn read(data: &'d [u8]) -> Result<Self, Box<dyn Error>> {
        let file = object::File::parse(data)?;
        let functions: BTreeMap<u64, String> = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
            .filter_map(|symbol| Some((place(symbol.address()), symbol.name().ok()?.to_owned())))
            .collect();
        let mut calls = Vec::new();
        for section in file.sections().filter(|it| it.kind() == SectionKind::Text) {
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(symbol) = relocation.target() else {
                    continue;
                };
                // In a program, the offset of a relocation is an address.
                let caller = functions.range(..=offset).next_back();
                if let Some((&caller, _)) = caller {
                    calls.push(Call {
                        address: offset,
                        caller,
                        callee: place(file.symbol_by_index(symbol)?.address()),
                    });
                }
            }
        }
        Ok(Self {
            file,
            functions,
            calls,
        })
    }

    /// The debug information as it is in the program: it is already linked, although its
    /// relocations are still there.
    fn source(&self) -> Result<Source<'d>, Box<dyn Error>> {
        let dwarf = Dwarf::load(|id| {
            let section = self.file.section_by_name(id.name());
            let data = section.map_or(Ok(&[][..]), |section| section.data())?;
            Ok::<_, object::Error>(EndianSlice::new(data, LittleEndian))
        })?;
        Ok(Context::from_dwarf(dwarf)?)
    }

    /// Places in our sources that are in the program as text.
    fn places(&self, owners: &Owners) -> Result<BTreeSet<String>, Box<dyn Error>> {
        let mut places = BTreeSet::new();
        for section in self.file.sections() {
            if !matches!(
                section.kind(),
                SectionKind::ReadOnlyData | SectionKind::ReadOnlyString | SectionKind::Data
            ) {
                continue;
            }
            let data = section.data()?;
            for directory in &owners.ours {
                let found = data.windows(directory.len()).enumerate();
                for (at, _) in found.filter(|(_, text)| *text == directory.as_bytes()) {
                    let text = data[at..].iter().take_while(|byte| byte.is_ascii_graphic());
                    places.insert(text.map(|&byte| char::from(byte)).collect());
                }
            }
        }
        Ok(places)
    }
}

/// The functions through which the code at an address was inlined, innermost first.
fn frames(source: &Source<'_>, address: u64) -> Result<Vec<Frame>, Box<dyn Error>> {
    let mut frames = Vec::new();
    let mut found = source.find_frames(address).skip_all_loads()?;
    while let Some(frame) = found.next()? {
        let name = match &frame.function {
            Some(function) => {
                let name = function.raw_name()?;
                demangle_auto(Cow::Borrowed(&name), function.language).into_owned()
            }
            None => String::from("?"),
        };
        let location = frame.location.as_ref();
        frames.push(Frame {
            name,
            file: location
                .and_then(|it| it.file)
                .unwrap_or_default()
                .to_owned(),
            line: location.and_then(|it| it.line).unwrap_or_default(),
        });
    }
    Ok(frames)
}

/// The calls of ours that end in the handler, each described in one line, and the number
/// of all functions that end there.
fn blame(
    program: &Program<'_>,
    source: &Source<'_>,
    owners: &Owners,
) -> Result<(BTreeSet<String>, usize), Box<dyn Error>> {
    let handlers = program.functions.iter();
    let mut ending: BTreeSet<u64> = handlers
        .filter(|(_, name)| {
            // Without the hashes.
            let name = format!("{:#}", rustc_demangle::demangle(name));
            HANDLERS.iter().any(|handler| name.contains(handler))
        })
        .map(|(&address, _)| address)
        .collect();
    if ending.is_empty() {
        return Err(format!("none of {HANDLERS:?} is in the program").into());
    }
    let mut blamed = BTreeSet::new();
    loop {
        let before = ending.len();
        for call in &program.calls {
            if !ending.contains(&call.callee) || ending.contains(&call.caller) {
                continue;
            }
            let frames = frames(source, call.address)?;
            let culprit = frames
                .iter()
                .position(|frame| !matches!(owners.of(&frame.file), Owner::Unknown));
            match culprit.map(|at| frames.split_at(at)) {
                Some((inner, [frame, ..])) if matches!(owners.of(&frame.file), Owner::Us) => {
                    let mut line = format!("{} at {}:{}", frame.name, frame.file, frame.line);
                    for frame in inner.iter().rev() {
                        line.push_str("\n    through ");
                        line.push_str(&frame.name);
                    }
                    let callee = program.functions.get(&call.callee);
                    let callee = callee.map_or("?", String::as_str);
                    line.push_str(&format!("\n    to {:#}", rustc_demangle::demangle(callee)));
                    blamed.insert(line);
                }
                Some(_) => {}
                None => {
                    ending.insert(call.caller);
                }
            }
        }
        if ending.len() == before {
            return Ok((blamed, before));
        }
    }
}

fn judge() -> Result<bool, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().ok_or("which program?")?;
    let mut owners = Owners::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--may-panic" => owners
                .may_panic
                .push(arguments.next().ok_or("whose sources?")?),
            _ => owners.ours.push(argument),
        }
    }
    let data = fs::read(&path)?;
    let program = Program::read(&data)?;
    if program.calls.is_empty() {
        return Err("the program has no relocations: link it with --emit-relocs".into());
    }
    let source = program.source()?;
    let places = program.places(&owners)?;
    let (blamed, ending) = blame(&program, &source, &owners)?;
    println!(
        "{} functions, {} calls, {ending} functions end in the panic handler",
        program.functions.len(),
        program.calls.len()
    );
    for place in &places {
        println!("a panic names this place: {place}");
    }
    for call in &blamed {
        println!("a call may panic: {call}");
    }
    Ok(places.is_empty() && blamed.is_empty())
}

fn main() -> ExitCode {
    match judge() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("judge: {error}");
            ExitCode::from(2)
        }
    }
}
