//! The tests inside a kernel, read from its ELF.
//!
//! The kernel collects its tests in one section, an array of 48-byte descriptors (little-endian):
//!
//! | offset | what |
//! |-------:|------|
//! | 0, 8   | address and length of the name, `suite::test` |
//! | 16, 24 | address and length of the machines it is for, separated by spaces |
//! | 32     | kind: 0 a test; 1 a proof, which fails on purpose and runs only when named; 2 one that does so at once; 3 a test that runs behind the others |
//! | 40     | the function |
//!
//! The kernel is linked at fixed addresses, so they need no relocation: the segments say where in the file they are.

use std::fs;
use std::path::Path;

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSegment};

use crate::machine::Machine;
use crate::{Context, Problem, Result};

/// The section with the descriptors.
const SECTION: &str = "linkme_KERNEL_TESTS";

/// The size of a descriptor.
const ENTRY: usize = 48;

/// One in-kernel test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelTest {
    /// `suite::test`.
    pub name: String,
    /// The machines on which it must run and pass, or fail as a proof does.
    pub machines: Vec<&'static Machine>,
    /// Whether it fails on purpose, to prove that the runner notices.
    pub is_proof: bool,
}

impl KernelTest {
    /// The part of the name before `::`.
    #[must_use]
    pub fn suite(&self) -> &str {
        self.name
            .split_once("::")
            .map_or(&self.name, |(suite, _)| suite)
    }
}

/// Reads the list from the kernel at `path`, in the order of the names.
///
/// # Errors
///
/// The file is not a kernel of ours, or a test names a machine that is not in the table.
pub fn read(path: &Path) -> Result<Vec<KernelTest>> {
    let file = fs::read(path).context(format_args!("cannot read {}", path.display()))?;
    parse(&file).context(format_args!(
        "cannot read the list of tests in {}",
        path.display()
    ))
}

fn parse(file: &[u8]) -> Result<Vec<KernelTest>> {
    let elf = ElfFile64::<LittleEndian>::parse(file).context("not an ELF")?;
    let section = elf
        .section_by_name(SECTION)
        .ok_or_else(|| Problem::new(format!("no section {SECTION}")))?;
    let table = section.data().context(SECTION)?;
    let (entries, []) = table.as_chunks::<ENTRY>() else {
        return Err(Problem::new(format!(
            "{SECTION} is not a whole number of {ENTRY}-byte entries"
        )));
    };
    let mut tests = entries
        .iter()
        .map(|entry| descriptor(&elf, entry))
        .collect::<Result<Vec<_>>>()?;
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    match tests.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(Problem::new(format!(
            "two tests are called {}",
            pair[0].name
        ))),
        None => Ok(tests),
    }
}

fn descriptor(elf: &ElfFile64<'_, LittleEndian>, entry: &[u8; ENTRY]) -> Result<KernelTest> {
    let name = text(elf, word(entry, 0), word(entry, 8))?;
    if !name.contains("::") {
        return Err(Problem::new(format!("test {name:?} has no suite")));
    }
    let machines = text(elf, word(entry, 16), word(entry, 24))?
        .split_whitespace()
        .map(|machine| {
            Machine::named(machine).ok_or_else(|| {
                Problem::new(format!(
                    "{name} is for a machine that nobody knows, {machine:?}"
                ))
            })
        })
        .collect::<Result<Vec<_>>>()?;
    if machines.is_empty() {
        return Err(Problem::new(format!("{name} is for no machine")));
    }
    let is_proof = match entry[32] {
        0 | 3 => false,
        1 | 2 => true,
        kind => {
            return Err(Problem::new(format!(
                "{name} is of a kind that nobody knows, {kind}"
            )));
        }
    };
    Ok(KernelTest {
        name,
        machines,
        is_proof,
    })
}

fn word(entry: &[u8; ENTRY], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| entry[at + byte]))
}

/// The string at `address` in the running kernel.
fn text(elf: &ElfFile64<'_, LittleEndian>, address: u64, len: u64) -> Result<String> {
    elf.segments()
        .find_map(|segment| segment.data_range(address, len).ok().flatten())
        .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
        .ok_or_else(|| Problem::new(format!("no string of {len} bytes at {address:#x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_tests_is_not_a_kernel() {
        let this = std::env::current_exe().unwrap();
        let why = read(&this).unwrap_err().to_string();
        assert!(why.contains("no section linkme_KERNEL_TESTS"), "{why}");
        let why = read(Path::new("/etc/passwd")).unwrap_err().to_string();
        assert!(why.contains("not an ELF"), "{why}");
    }

    #[test]
    fn the_suite_is_the_first_part_of_the_name() {
        let test = |name: &str| KernelTest {
            name: name.into(),
            machines: vec![],
            is_proof: false,
        };
        assert_eq!(test("pages::order_zero").suite(), "pages");
        assert_eq!(test("pages::zones::split").suite(), "pages");
    }
}
