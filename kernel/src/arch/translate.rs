//! From virtual to physical addresses, and back.
//!
//! Inside the direct map the answer is a subtraction. Everywhere else (the kernel image, stacks) it
//! is what the page tables say.

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{PageTable, PageTableFlags};

/// Where the loader mapped physical address 0, and how far the direct map reaches.
static OFFSET: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

/// Announces the direct map: `bytes` of physical memory from 0 on, at `offset`.
///
/// # Safety
///
/// The loader has mapped it so, and it stays.
pub(crate) unsafe fn set_direct_map(offset: u64, bytes: u64) {
    OFFSET.store(offset, Ordering::Relaxed);
    END.store(offset + bytes, Ordering::Relaxed);
}

/// Physical address where the direct map ends.
pub(crate) fn direct_map_end() -> u64 {
    END.load(Ordering::Relaxed) - OFFSET.load(Ordering::Relaxed)
}

/// The direct map's view of a physical address.
pub(crate) fn phys_to_virt(phys: u64) -> usize {
    // A pointer is as wide as the address space on this machine.
    #[allow(clippy::cast_possible_truncation)]
    let virt = (phys + OFFSET.load(Ordering::Relaxed)) as usize;
    virt
}

/// The physical address that a virtual one of the direct map stands for.
pub(crate) fn direct(virt: u64) -> Option<u64> {
    let offset = OFFSET.load(Ordering::Relaxed);
    (offset..END.load(Ordering::Relaxed))
        .contains(&virt)
        .then(|| virt - offset)
}

/// The physical address behind a virtual one; `None` if nothing is mapped there.
pub(crate) fn virt_to_phys(virt: usize) -> Option<u64> {
    let virt = virt as u64;
    direct(virt).or_else(|| walk(virt).map(|mapping| mapping.phys))
}

/// One translation, as the page tables have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The physical address.
    pub(crate) phys: u64,
    /// Bytes that the entry covers: 4 KiB, 2 MiB or 1 GiB.
    pub(crate) page: u64,
    /// Every level allows writing.
    pub(crate) writable: bool,
    /// Every level allows execution.
    pub(crate) executable: bool,
}

/// Walks the active page tables (Intel SDM volume 3, section 5.5: 4-level paging).
pub(crate) fn walk(virt: u64) -> Option<Mapping> {
    let virt = VirtAddr::try_new(virt).ok()?;
    let mut table = root();
    let (mut writable, mut executable) = (true, true);
    let indices = [
        (virt.p4_index(), 1 << 39),
        (virt.p3_index(), 1 << 30),
        (virt.p2_index(), 1 << 21),
        (virt.p1_index(), 1 << 12),
    ];
    for (level, (index, page)) in indices.into_iter().enumerate() {
        let at = phys_to_virt(table) as *const PageTable;
        // SAFETY: a present table is a frame of RAM, which the direct map covers; entries of live
        // tables are only read.
        let entry = unsafe { &(&*at)[index] };
        let flags = entry.flags();
        if !flags.contains(PageTableFlags::PRESENT) {
            return None;
        }
        writable &= flags.contains(PageTableFlags::WRITABLE);
        executable &= !flags.contains(PageTableFlags::NO_EXECUTE);
        let leaf = level == 3 || flags.contains(PageTableFlags::HUGE_PAGE);
        if leaf {
            // Bits below the page size are flags (PAT) in a large entry.
            let base = entry.addr().as_u64() & !(page - 1);
            return Some(Mapping {
                phys: base + (virt.as_u64() & (page - 1)),
                page,
                writable,
                executable,
            });
        }
        table = entry.addr().as_u64();
    }
    None
}

/// The highest physical address that this CPU can put out (Intel SDM volume 2A, CPUID leaf
/// 80000008H).
pub(crate) fn last_physical() -> u64 {
    let bits = core::arch::x86_64::__cpuid(0x8000_0008).eax & 0xff;
    u64::MAX >> (64 - bits.clamp(36, 52))
}

/// Physical address of the active top-level table.
pub(crate) fn root() -> u64 {
    Cr3::read().0.start_address().as_u64()
}
