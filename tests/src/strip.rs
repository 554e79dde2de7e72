//! Takes the debug sections out of an ELF and leaves everything that boots where it is.
//!
//! Loaders that keep the whole file in memory (the rust-osdev `bootloader` does) should not have to carry line
//! tables, and they find `.bootloader-config` by its section's name; so the section headers stay, and `strip` from
//! binutils, which is not everywhere, is not needed. The new file is
//!
//! ```text
//! the old file up to the end of the last byte that is loaded | symbol and string tables | section headers
//! ```
//!
//! so that no segment, note or program header moves. Symbols name their sections by index: those are renumbered.

use std::fs;
use std::io;
use std::mem::size_of;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use object::elf::{self, FileHeader64, SectionHeader64, Sym64};
use object::pod::{bytes_of, from_bytes, from_bytes_mut, slice_from_bytes};
use object::{LittleEndian as LE, U16, U32, U64};

use crate::{Context, Problem, Result};

type Header = FileHeader64<LE>;
type Section = SectionHeader64<LE>;
type Symbol = Sym64<LE>;

/// Writes `from` without its debug sections to `to`, which is left alone when it is the same already.
///
/// # Errors
///
/// `from` is not a little-endian 64-bit ELF, or a file cannot be read or written.
pub fn file(from: &Path, to: &Path) -> Result<()> {
    let linked = fs::read(from).context(format_args!("cannot read {}", from.display()))?;
    let image = bytes(&linked).ok_or_else(|| {
        Problem::new(format!(
            "{}: not an ELF that can be stripped (64-bit, little-endian, intact)",
            from.display()
        ))
    })?;
    if fs::read(to).is_ok_and(|old| old == image) {
        return Ok(());
    }
    write_into_place(to, &image).map_err(|error| Problem::writing(to, &error))
}

/// Renamed into place: a QEMU that starts at this moment reads the old image or the new one. Others, in this program
/// too, may be writing the same file.
fn write_into_place(to: &Path, image: &[u8]) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let (program, number) = (process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed));
    let unfinished = to.with_extension(format!("{program}.{number}.part"));
    fs::write(&unfinished, image)
        .and_then(|()| fs::rename(&unfinished, to))
        // Half a file would only take up the room that was missing.
        .inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

/// The stripped file, or `None` for something that is not an intact ELF.
fn bytes(linked: &[u8]) -> Option<Vec<u8>> {
    let (header, _) = from_bytes::<Header>(linked).ok()?;
    let is_ours = header.e_ident.magic == elf::ELFMAG
        && header.e_ident.class == elf::ELFCLASS64
        && header.e_ident.data == elf::ELFDATA2LSB
        && usize::from(header.e_shentsize.get(LE)) == size_of::<Section>();
    if !is_ours {
        return None;
    }
    let count = usize::from(header.e_shnum.get(LE));
    let table = linked.get(usize::try_from(header.e_shoff.get(LE)).ok()?..)?;
    let (sections, _) = slice_from_bytes::<Section>(table, count).ok()?;
    let names = contents(
        linked,
        sections.get(usize::from(header.e_shstrndx.get(LE).0))?,
    )?;

    let kept: Vec<usize> = (0..count)
        .filter(|&index| !is_debug(&sections[index], names))
        .collect();
    let renumbered = |old: usize| kept.binary_search(&old).unwrap_or(0);

    let mut out = linked
        .get(..end_of_loaded(header, linked, sections)?)?
        .to_vec();
    let mut headers = Vec::with_capacity(kept.len());
    for &index in &kept {
        let mut section = sections[index];
        section.sh_link = U32::new(
            LE,
            u32::try_from(renumbered(section.sh_link.get(LE) as usize)).ok()?,
        );
        if section.sh_flags.get(LE).contains(elf::SHF_INFO_LINK) {
            section.sh_info = U32::new(
                LE,
                u32::try_from(renumbered(section.sh_info.get(LE) as usize)).ok()?,
            );
        }
        if index != 0 && !is_loaded(&section) {
            let mut moved = contents(linked, &section)?.to_vec();
            if section.sh_type.get(LE) == elf::SHT_SYMTAB {
                renumber_symbols(&mut moved, renumbered)?;
            }
            align(
                &mut out,
                usize::try_from(section.sh_addralign.get(LE)).ok()?,
            );
            section.sh_offset = U64::new(LE, out.len() as u64);
            out.extend(moved);
        }
        headers.push(section);
    }
    align(&mut out, 8);
    let mut header = *header;
    header.e_shoff = U64::new(LE, out.len() as u64);
    header.e_shnum = U16::new(LE, u16::try_from(kept.len()).ok()?);
    header.e_shstrndx.set(
        LE,
        section_index(renumbered(usize::from(header.e_shstrndx.get(LE).0)))?,
    );
    for section in &headers {
        out.extend(bytes_of(section));
    }
    out[..size_of::<Header>()].copy_from_slice(bytes_of(&header));
    Some(out)
}

/// The end, in the file, of what the program headers and the loaded sections need.
fn end_of_loaded(header: &Header, linked: &[u8], sections: &[Section]) -> Option<usize> {
    let segments = linked.get(usize::try_from(header.e_phoff.get(LE)).ok()?..)?;
    let count = usize::from(header.e_phnum.get(LE));
    let (segments, _) = slice_from_bytes::<elf::ProgramHeader64<LE>>(segments, count).ok()?;
    let table = header.e_phoff.get(LE) + size_of_val(segments) as u64;
    let of_segments = segments.iter().map(|segment| {
        segment
            .p_offset
            .get(LE)
            .saturating_add(segment.p_filesz.get(LE))
    });
    let of_sections = sections
        .iter()
        .filter(|section| is_loaded(section) && section.sh_type.get(LE) != elf::SHT_NOBITS)
        .map(|section| {
            section
                .sh_offset
                .get(LE)
                .saturating_add(section.sh_size.get(LE))
        });
    let end = of_segments
        .chain(of_sections)
        .fold(table.max(size_of::<Header>() as u64), u64::max);
    usize::try_from(end).ok()
}

fn is_loaded(section: &Section) -> bool {
    section.sh_flags.get(LE).contains(elf::SHF_ALLOC)
}

/// Debug information: named so, with its relocations, and never loaded.
fn is_debug(section: &Section, names: &[u8]) -> bool {
    let name = names
        .get(section.sh_name.get(LE) as usize..)
        .unwrap_or_default();
    let debug = [".debug_", ".zdebug_", ".rela.debug_", ".gdb_index"];
    !is_loaded(section)
        && debug
            .iter()
            .any(|prefix| name.starts_with(prefix.as_bytes()))
}

fn contents<'a>(linked: &'a [u8], section: &Section) -> Option<&'a [u8]> {
    if section.sh_type.get(LE) == elf::SHT_NOBITS {
        return Some(&[]);
    }
    let start = usize::try_from(section.sh_offset.get(LE)).ok()?;
    let size = usize::try_from(section.sh_size.get(LE)).ok()?;
    linked.get(start..start.checked_add(size)?)
}

/// Symbols of a dropped section would name section 0, that is, become undefined: such a symbol belongs to debug
/// information, and nothing else refers to it.
fn renumber_symbols(table: &mut [u8], renumbered: impl Fn(usize) -> usize) -> Option<()> {
    for entry in table.as_chunks_mut::<{ size_of::<Symbol>() }>().0 {
        let (symbol, _) = from_bytes_mut::<Symbol>(entry).ok()?;
        let index = symbol.st_shndx.get(LE);
        if !index.is_reserved() {
            symbol
                .st_shndx
                .set(LE, section_index(renumbered(usize::from(index.0)))?);
        }
    }
    Some(())
}

fn section_index(index: usize) -> Option<elf::SymbolSection> {
    u16::try_from(index).ok().map(elf::SymbolSection)
}

fn align(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to.max(1)), 0);
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use object::read::elf::ElfFile64;
    use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};

    use super::*;

    /// A large ELF with everything in it: this test.
    fn this_program() -> Vec<u8> {
        fs::read(env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn what_is_loaded_stays_where_it_is() {
        let (linked, image) = (this_program(), bytes(&this_program()).unwrap());
        assert!(image.len() < linked.len());
        let (before, after) = (
            ElfFile64::<LE>::parse(&*linked).unwrap(),
            ElfFile64::<LE>::parse(&*image).unwrap(),
        );
        let segments = |elf: &ElfFile64<'_, LE>| -> Vec<_> {
            elf.segments()
                .map(|s| (s.address(), s.file_range(), s.data().unwrap().to_vec()))
                .collect()
        };
        // The first segment holds the file header, which says where the section headers are.
        assert_eq!(segments(&before)[0].1, segments(&after)[0].1);
        assert_eq!(segments(&before)[1..], segments(&after)[1..]);
        let program_headers = 0x40..0x40 + 0x38 * before.segments().count();
        assert_eq!(linked[program_headers.clone()], image[program_headers]);
    }

    #[test]
    fn sections_and_symbols_keep_their_names_and_contents() {
        let (linked, image) = (this_program(), bytes(&this_program()).unwrap());
        let (before, after) = (
            ElfFile64::<LE>::parse(&*linked).unwrap(),
            ElfFile64::<LE>::parse(&*image).unwrap(),
        );
        assert!(before.section_by_name(".debug_info").is_some());
        let sections = |elf: &ElfFile64<'_, LE>| -> Vec<_> {
            elf.sections()
                .map(|s| (s.name().unwrap().to_owned(), s.address(), s.size()))
                // This one is loaded.
                .filter(|(name, ..)| !name.starts_with(".debug_") || name == ".debug_gdb_scripts")
                .collect()
        };
        assert_eq!(sections(&before), sections(&after));
        assert_eq!(after.sections().count(), sections(&after).len());
        let symbols = |elf: &ElfFile64<'_, LE>| -> Vec<_> {
            elf.symbols()
                .map(|symbol| {
                    let section = symbol
                        .section_index()
                        .map(|index| elf.section_by_index(index).unwrap());
                    let section = section.map(|section| section.name().unwrap().to_owned());
                    (symbol.name().unwrap().to_owned(), symbol.address(), section)
                })
                .filter(|(.., section)| {
                    !section
                        .as_ref()
                        .is_some_and(|name| name.starts_with(".debug_"))
                })
                .collect()
        };
        assert!(symbols(&before).len() > 100);
        assert_eq!(symbols(&before), symbols(&after));
    }

    #[test]
    fn the_result_still_runs_and_is_not_written_twice() {
        let folder = env::temp_dir().join(format!("twinframe-strip-{}", process::id()));
        let stripped = folder.join("program");
        let this = env::current_exe().unwrap();
        file(&this, &stripped).unwrap();
        let written = fs::metadata(&stripped).unwrap().modified().unwrap();
        fs::set_permissions(&stripped, fs::Permissions::from_mode(0o755)).unwrap();
        let listed = Command::new(&stripped).arg("--list").output().unwrap();
        file(&this, &stripped).unwrap();
        assert_eq!(
            fs::metadata(&stripped).unwrap().modified().unwrap(),
            written
        );
        fs::remove_dir_all(&folder).unwrap();
        assert!(String::from_utf8_lossy(&listed.stdout).contains("strip::tests::"));
    }

    #[test]
    fn several_may_write_the_same_file_at_once() {
        let folder = env::temp_dir().join(format!("twinframe-at-once-{}", process::id()));
        let image = vec![7; 1 << 20];
        let to = folder.join("image");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| write_into_place(&to, &image).unwrap());
            }
        });
        assert_eq!(fs::read(&to).unwrap(), image);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_no_intact_elf_is_refused() {
        let mut linked = this_program();
        assert_eq!(bytes(b""), None);
        assert_eq!(bytes(b"#!/bin/sh\nexit 0\n"), None);
        assert_eq!(bytes(&linked[..4096]), None);
        assert_eq!(bytes(&linked[..linked.len() - 64]), None);
        linked[0x20..0x28].fill(0xff); // the offset of the program headers
        assert_eq!(bytes(&linked), None);
    }
}
