//! What lies at an address, as far as it is known: for reports.

use core::fmt;

use x86_64::VirtAddr;

use crate::arch::traps::TrapFrame;
use crate::arch::{image, stack, translate};
use crate::console::println;
use crate::memory::{self, HEAP};

/// Below this, an address is a null pointer with an offset.
const NULL_END: u64 = 1 << 16;

/// An address, shown as what lies there. Takes no lock.
pub(crate) struct Place(pub(crate) u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0;
        if address < NULL_END {
            return f.write_str("a null pointer, or an offset from one");
        }
        if VirtAddr::try_new(address).is_err() {
            return f.write_str("not an address (not canonical)");
        }
        if let Some((overflown, _)) = stack::overflow(address) {
            return write!(f, "the guard page of {overflown}");
        }
        let parts = [
            (image::text(), "code"),
            (image::constants(), "constants"),
            (image::data(), "data"),
        ];
        if let Some((_, part)) = parts.iter().find(|(range, _)| range.contains(&address)) {
            return write!(f, "the kernel's {part}");
        }
        if let Some((cpu, name)) = stack::holding(address) {
            return match name {
                None => write!(f, "the kernel stack of CPU {cpu}"),
                Some(ist) => write!(f, "the {ist} stack of CPU {cpu}"),
            };
        }
        match translate::direct(address) {
            Some(phys) => physical(f, address, phys),
            None if translate::walk(address).is_some() => f.write_str("mapped by the kernel"),
            None => f.write_str("nothing that is mapped"),
        }
    }
}

fn physical(f: &mut fmt::Formatter<'_>, address: u64, phys: u64) -> fmt::Result {
    if let Some(known) = usize::try_from(address)
        .ok()
        .and_then(|addr| HEAP.about(addr))
    {
        return write!(f, "{known}");
    }
    match memory::kind_of(phys) {
        Some(kind) => write!(
            f,
            "{kind} memory that is not for allocation, at physical {phys:#x}"
        ),
        None => write!(f, "physical {phys:#x}, outside RAM"),
    }
}

/// Prints what the general registers lead to, where that is memory of the heap or a guard page.
pub(crate) fn print_pointers(frame: &TrapFrame) {
    for (name, value) in frame.general() {
        let in_heap = usize::try_from(value)
            .ok()
            .and_then(|addr| HEAP.about(addr))
            .is_some();
        if in_heap || stack::overflow(value).is_some() {
            println!("  {name} leads to {}", Place(value));
        }
    }
}
