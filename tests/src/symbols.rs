//! From addresses to functions and lines.

use std::fs;
use std::ops::Range;
use std::path::Path;

use addr2line::Loader;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSegment};

use crate::{Context, Problem, Result, Workspace};

/// The line tables of one kernel.
pub struct Symbols {
    loader: Loader,
    /// Where the code is. The tables also have the functions that the linker dropped, at addresses near zero.
    loaded: Vec<Range<u64>>,
    workspace: Workspace,
}

impl Symbols {
    /// Opens the unstripped ELF.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn open(elf: &Path, workspace: &Workspace) -> Result<Self> {
        let loader = Loader::new(elf)
            .map_err(|error| Problem::new(format!("cannot read {}: {error}", elf.display())))?;
        let file = fs::read(elf).context(format_args!("cannot read {}", elf.display()))?;
        let parsed = ElfFile64::<LittleEndian>::parse(&*file).context(elf.display())?;
        let range = |start: u64, size| start..start.saturating_add(size);
        let loaded = parsed
            .segments()
            .filter(|segment| segment.permissions().executable())
            .map(|segment| range(segment.address(), segment.size()))
            .collect();
        Ok(Self {
            loader,
            loaded,
            workspace: workspace.clone(),
        })
    }

    /// The functions at `address`, the innermost inlined one first: `function at file:line`. Never empty.
    #[must_use]
    pub fn describe(&self, address: u64) -> Vec<String> {
        if !self.loaded.iter().any(|range| range.contains(&address)) {
            return vec!["(outside the kernel)".into()];
        }
        let mut found = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let function = frame
                    .function
                    .and_then(|name| Some(name.demangle().ok()?.into_owned()));
                let place = frame.location.and_then(|place| {
                    Some(format!(
                        "{}:{}",
                        self.shorten(place.file?),
                        place.line.unwrap_or(0)
                    ))
                });
                found.push((function, place));
            }
        }
        // Line tables alone have names without their paths; the symbol of the function that all the others were
        // inlined into has it whole.
        if let Some(symbol) = self.loader.find_symbol(address) {
            let symbol = Some(addr2line::demangle_auto(symbol.into(), None).into_owned());
            match found.last_mut() {
                Some((function, _)) => *function = symbol,
                None => found.push((symbol, None)),
            }
        }
        let lines: Vec<_> = found
            .into_iter()
            .map(|(function, place)| {
                let function = function.as_deref().map_or("(no name)", without_hash);
                place.map_or_else(
                    || function.to_owned(),
                    |place| format!("{function} at {place}"),
                )
            })
            .collect();
        if lines.is_empty() {
            vec!["(no symbol)".into()]
        } else {
            lines
        }
    }

    /// [`describe`](Self::describe) for a return address: the call is the instruction before it, which may be
    /// another line, and at the end of a function that never returns another function.
    #[must_use]
    pub fn describe_return(&self, address: u64) -> Vec<String> {
        self.describe(address.saturating_sub(1))
    }

    /// As it is written from the root of whatever package it belongs to.
    fn shorten<'a>(&self, file: &'a str) -> &'a str {
        let file = self.workspace.relative(file);
        let from = |parent: &str| Some(file.split_once(parent)?.1);
        let of_std = || from("/library/").filter(|_| file.starts_with("/rustc/"));
        let of_registry = || {
            from("/registry/src/")?
                .split_once('/')
                .map(|(_, rest)| rest)
        };
        of_std().or_else(of_registry).unwrap_or(file)
    }
}

/// Writes addresses as places in the source; without symbols, as addresses.
#[derive(Clone, Copy)]
pub struct Trace<'a> {
    /// The line tables, if they could be read.
    pub symbols: Option<&'a Symbols>,
}

impl Trace<'_> {
    /// One address: with its innermost function, and what that was inlined into on lines of their own.
    #[must_use]
    pub fn place(self, address: u64) -> String {
        Self::lines(
            address,
            self.symbols.map(|symbols| symbols.describe(address)),
        )
    }

    /// Return addresses, one numbered frame per line. Recursion is told once.
    #[must_use]
    pub fn calls(self, addresses: &[u64]) -> String {
        let mut text = String::new();
        let mut number = 0;
        for same in addresses.chunk_by(|a, b| a == b) {
            let functions = self.symbols.map(|symbols| symbols.describe_return(same[0]));
            text += &format!("  {number:>2}: {}\n", Self::lines(same[0], functions));
            if same.len() > 1 {
                text += &format!("      and the same {} times more\n", same.len() - 1);
            }
            number += same.len();
        }
        text
    }

    fn lines(address: u64, functions: Option<Vec<String>>) -> String {
        let functions = functions.map(|functions| functions.join("\n      inlined into       "));
        format!("{address:#018x} {}", functions.unwrap_or_default())
            .trim_end()
            .to_owned()
    }
}

/// Without the `::h0123456789abcdef` of the older mangling.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash))
            if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            path
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use object::ObjectSymbol;

    use super::*;

    #[inline(never)]
    fn a_function_to_find(n: u64) -> u64 {
        std::hint::black_box(n) + 1
    }

    #[test]
    fn a_function_is_found_in_this_program() {
        assert_eq!(a_function_to_find(1), 2);
        let this = std::env::current_exe().unwrap();
        let file = fs::read(&this).unwrap();
        let elf = ElfFile64::<LittleEndian>::parse(&*file).unwrap();
        let symbol = elf.symbols().find(|symbol| {
            symbol
                .name()
                .is_ok_and(|name| name.contains("a_function_to_find"))
        });
        let address = symbol.unwrap().address();
        let symbols = Symbols::open(&this, &Workspace::find()).unwrap();
        let found = symbols.describe(address).pop().unwrap();
        assert!(
            found.starts_with(
                "twinframe_tests::symbols::tests::a_function_to_find at tests/src/symbols.rs:"
            ),
            "{found}"
        );
        assert_eq!(symbols.describe_return(address + 1).pop().unwrap(), found);
        assert_eq!(symbols.describe(1), ["(outside the kernel)"]);
    }

    #[test]
    fn hashes_are_dropped() {
        assert_eq!(
            without_hash("core::panicking::panic::h0123456789abcdef"),
            "core::panicking::panic"
        );
        assert_eq!(without_hash("a::hello"), "a::hello");
    }
}
