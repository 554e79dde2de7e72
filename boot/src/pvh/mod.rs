//! The PVH entry: builds what the rust-osdev loader would have built, then enters the kernel.

mod entry;
mod paging;
mod refuse;

use core::arch::asm;
use core::ops::Range;
use core::slice;

use bootloader_api::info::{MemoryRegion, MemoryRegionKind, Optional};
use bootloader_api::{BootInfo, BootloaderConfig};
use pvh::start_info::reader::{IdentityMap, StartInfoReader};
use pvh::start_info::{MemmapTableEntry, MemmapType, ModlistEntry, StartInfo};
use spin::Once;
use x86_64::structures::paging::PageTableFlags as Flags;

use self::entry::{IDENTITY_MAPPED, KERNEL_BASE};
use self::paging::{AddressSpace, Bump, OutOfFrames, tables_bound};
use self::refuse::refuse;
use crate::layout::{self, Layout, Sizes};
use crate::{Facts, PAGE_SIZE, carve, window};

type Reader = StartInfoReader<'static, IdentityMap>;

static FACTS: Once<Facts> = Once::new();

/// What this loader knows beside the `BootInfo`; `None` if another loader started the kernel.
pub fn facts() -> Option<&'static Facts> {
    FACTS.get()
}

/// Symbols of the kernel's linker script; only their addresses mean something.
mod image {
    unsafe extern "C" {
        pub(super) static __kernel_start: u8;
        pub(super) static __text_start: u8;
        pub(super) static __data_start: u8;
        pub(super) static __kernel_end: u8;
        pub(super) static __bootloader_config: [u8; 133];
    }
}

unsafe extern "C" {
    // Sets up SSE and goes on to the `_start` of `entry_point!`, which takes `&'static mut BootInfo`.
    fn kernel_entry() -> !;
}

/// The part of the address space that loaders call RAM, or that the kernel will read as if it were:
/// ends with the highest entry that is not plainly reserved, and covers at least 4 GiB for the
/// devices there. A reserved hole far above (AMD's at 1 TiB) does not count.
fn physical_memory_end(map: &[MemmapTableEntry]) -> u64 {
    map.iter()
        .filter(|entry| {
            matches!(
                entry.ty(),
                MemmapType::Ram | MemmapType::Acpi | MemmapType::Nvs
            )
        })
        .filter_map(|entry| entry.addr.checked_add(entry.size))
        .max()
        .unwrap_or(0)
        .max(IDENTITY_MAPPED)
        .next_multiple_of(1 << 21)
}

fn kind(entry: &MemmapTableEntry) -> MemoryRegionKind {
    match entry.ty() {
        MemmapType::Ram => MemoryRegionKind::Usable,
        _ => MemoryRegionKind::UnknownBios(entry.ty),
    }
}

fn bytes_of<T: ?Sized>(value: &T) -> Range<u64> {
    let start = core::ptr::from_ref(value).addr() as u64;
    start..start + size_of_val(value) as u64
}

/// Every byte range that the page tables and other new structures must stay clear of.
fn blocked(reader: &Reader, image: Range<u64>) -> impl Iterator<Item = Range<u64>> + Clone {
    let raw: &'static StartInfo = reader.raw();
    let modules = reader.modlist().count() as u64 * size_of::<ModlistEntry>() as u64;
    let fixed = [
        // Real-mode structures of the firmware, and page 0.
        0..0x10_0000,
        image,
        bytes_of(raw),
        bytes_of(reader.memmap()),
        bytes_of(
            reader
                .cmdline()
                .map_or(&[][..], |text| text.to_bytes_with_nul()),
        ),
        raw.modlist_paddr..raw.modlist_paddr.saturating_add(modules),
    ];
    let reserved = reader
        .memmap()
        .iter()
        .filter(|entry| entry.ty() != MemmapType::Ram)
        .map(|entry| entry.addr..entry.addr.saturating_add(entry.size));
    fixed.into_iter().chain(reserved)
}

/// # Safety
///
/// Called once, by the entry code, with the physical address it was given; the boot page tables
/// map the first 4 GiB one to one.
#[unsafe(no_mangle)]
unsafe extern "C" fn pvh_start(start_info: u32) -> ! {
    // SAFETY: the loader promises a start info structure there, and it is mapped.
    let Some(reader) = (unsafe { StartInfoReader::from_paddr_identity(start_info) }) else {
        refuse(format_args!("the loader gave no PVH start info"));
    };
    if reader.memmap().is_empty() {
        refuse(format_args!(
            "the loader gave no memory map (PVH version 0)"
        ));
    }
    if reader.raw().nr_modules > 0 {
        refuse(format_args!(
            "boot modules are not supported: leave out -initrd"
        ));
    }
    // SAFETY: the linker script defines the section with exactly this length.
    let config = unsafe { &image::__bootloader_config };
    let config = match BootloaderConfig::deserialize(config) {
        Ok(config) => config,
        Err(why) => refuse(format_args!("the kernel's BootloaderConfig: {why}")),
    };
    // SAFETY: as the caller promises.
    unsafe { enter(&reader, &config) }
}

/// The image's physical addresses.
fn image_physical() -> Range<u64> {
    let start = (&raw const image::__kernel_start).addr() as u64;
    let end = (&raw const image::__kernel_end).addr() as u64;
    start - KERNEL_BASE..end - KERNEL_BASE
}

/// Offsets of what the `boot_info` mapping holds: first the `BootInfo`, then its regions, then the
/// command line.
struct Block {
    regions: u64,
    region_count: usize,
    cmdline: u64,
    bytes: u64,
}

impl Block {
    fn new(regions: usize, cmdline: usize) -> Self {
        let region_count = carve::bound(regions, 2);
        let regions =
            (size_of::<BootInfo>() as u64).next_multiple_of(align_of::<MemoryRegion>() as u64);
        let cmdline_at = regions + (region_count * size_of::<MemoryRegion>()) as u64;
        Self {
            regions,
            region_count,
            cmdline: cmdline_at,
            bytes: (cmdline_at + cmdline as u64).next_multiple_of(PAGE_SIZE),
        }
    }
}

/// # Safety
///
/// As [`pvh_start`].
unsafe fn enter(reader: &Reader, config: &BootloaderConfig) -> ! {
    let map = reader.memmap();
    let cmdline = reader.cmdline().map_or(&[][..], |text| text.to_bytes());
    let image = image_physical();
    let block = Block::new(map.len(), cmdline.len());
    let sizes = Sizes {
        physical_memory: physical_memory_end(map),
        boot_info: block.bytes,
    };
    let kernel = image.start + KERNEL_BASE..image.end + KERNEL_BASE;
    let layout = match layout::place(config, sizes, kernel) {
        Ok(layout) => layout,
        Err(why) => refuse(format_args!("unsupported BootloaderConfig: {why}")),
    };

    let gib_pages = has_gib_pages();
    let stack_bytes = layout.stack.end - layout.stack.start;
    let small = (image.end - image.start + stack_bytes + block.bytes).div_ceil(PAGE_SIZE);
    let need = tables_bound(sizes.physical_memory, small, gib_pages) * PAGE_SIZE
        + stack_bytes
        + block.bytes;
    let usable = map
        .iter()
        .filter(|entry| entry.ty() == MemmapType::Ram)
        .map(|entry| entry.addr..entry.addr.saturating_add(entry.size));
    let Some(window) = window::find(
        usable,
        blocked(reader, image.clone()),
        need,
        IDENTITY_MAPPED,
    ) else {
        refuse(format_args!(
            "no {} KiB of usable memory below 4 GiB for page tables and the stack: give the machine more memory",
            need / 1024
        ));
    };
    let mut frames = Bump::new(window);
    // SAFETY: the window is unused RAM below 4 GiB, mapped one to one.
    let built = unsafe { build(&layout, &image, &block, sizes, &mut frames, gib_pages) };
    let Ok((root, boot_block)) = built else {
        refuse(format_args!(
            "page tables outgrew the memory set aside for them"
        ));
    };

    let mut taken = [image.clone(), frames.used()];
    taken.sort_unstable_by_key(|range| range.start);
    let regions_start = (boot_block + block.regions) as *mut MemoryRegion;
    let mut count = 0;
    for entry in map {
        let mut region = MemoryRegion::empty();
        region.start = entry.addr;
        region.end = entry.addr.wrapping_add(entry.size);
        region.kind = kind(entry);
        for part in carve::carve(region, &taken) {
            // SAFETY: `carve::bound` is the most parts there can be, and the block holds as many.
            let slot = unsafe { regions_start.add(count) };
            // SAFETY: inside the block, which nothing else uses.
            unsafe { slot.write(part) };
            count += 1;
        }
    }
    let cmdline_at = (boot_block + block.cmdline) as *mut u8;
    // SAFETY: the block has room for the text at this place, and the source is elsewhere.
    unsafe { cmdline_at.copy_from_nonoverlapping(cmdline.as_ptr(), cmdline.len()) };

    // From here on: addresses as the kernel will see them.
    let regions_at = (layout.boot_info + block.regions) as *mut MemoryRegion;
    debug_assert!(count <= block.region_count);
    // SAFETY: `count` regions are initialised there; the address is valid once the new page tables
    // are active, before which nobody follows it.
    let regions: &'static mut [MemoryRegion] =
        unsafe { slice::from_raw_parts_mut(regions_at, count) };
    let cmdline_at = (layout.boot_info + block.cmdline) as *const u8;
    // SAFETY: likewise.
    let cmdline: &'static [u8] = unsafe { slice::from_raw_parts(cmdline_at, cmdline.len()) };
    FACTS.call_once(|| Facts { cmdline });

    let mut info = BootInfo::new(regions.into());
    info.physical_memory_offset = layout.physical_memory.into();
    info.rsdp_addr = match reader.raw().rsdp_paddr {
        0 => Optional::None,
        address => Optional::Some(address),
    };
    info.kernel_addr = image.start;
    info.kernel_len = image.end - image.start;
    info.kernel_image_offset = image.start + KERNEL_BASE;
    info.kernel_stack_bottom = layout.stack.start;
    info.kernel_stack_len = stack_bytes;
    let info_at = boot_block as *mut BootInfo;
    // SAFETY: the block starts page-aligned with room for it.
    unsafe { info_at.write(info) };

    // SAFETY: the new tables map this code where it runs, the stack and the boot information.
    unsafe { jump(root, layout.stack.end, layout.boot_info) }
}

/// Maps the image, the stack, the boot block and the direct map; returns the physical addresses of
/// the top-level table and of the boot block.
///
/// # Safety
///
/// The frames are unused memory, mapped one to one.
unsafe fn build(
    layout: &Layout,
    image: &Range<u64>,
    block: &Block,
    sizes: Sizes,
    frames: &mut Bump,
    gib_pages: bool,
) -> Result<(u64, u64), OutOfFrames> {
    let stack_bytes = layout.stack.end - layout.stack.start;
    let stack = frames.take(stack_bytes).ok_or(OutOfFrames)?.start;
    let boot_block = frames.take(block.bytes).ok_or(OutOfFrames)?.start;
    // SAFETY: the caller promises unused frames that are mapped one to one.
    let mut space = unsafe { AddressSpace::new(frames, gib_pages)? };
    let data = Flags::PRESENT | Flags::WRITABLE | Flags::NO_EXECUTE;
    let text = (&raw const image::__text_start).addr() as u64 - KERNEL_BASE;
    let writable = (&raw const image::__data_start).addr() as u64 - KERNEL_BASE;
    let pieces = [
        // The image: read-only, executable, writable; never two of the latter at once.
        (
            image.start + KERNEL_BASE,
            image.start,
            text - image.start,
            Flags::PRESENT | Flags::NO_EXECUTE,
        ),
        (text + KERNEL_BASE, text, writable - text, Flags::PRESENT),
        (writable + KERNEL_BASE, writable, image.end - writable, data),
        (layout.stack.start, stack, stack_bytes, data),
        (layout.boot_info, boot_block, block.bytes, data),
    ];
    for (virt, phys, bytes, flags) in pieces {
        // SAFETY: the image runs there, the other pieces are fresh memory of the window.
        unsafe { space.map(virt, phys, bytes, flags)? };
    }
    if let Some(offset) = layout.physical_memory {
        // SAFETY: a second view of all memory; the kernel takes from it only what the map calls
        // usable.
        unsafe { space.map(offset, 0, sizes.physical_memory, data)? };
    }
    Ok((space.root().as_u64(), boot_block))
}

/// CPUID leaf 0x8000_0001, EDX bit 26: pages of 1 GiB (AMD APM volume 3, appendix E).
fn has_gib_pages() -> bool {
    use core::arch::x86_64::__cpuid;
    __cpuid(0x8000_0000).eax >= 0x8000_0001 && __cpuid(0x8000_0001).edx & (1 << 26) != 0
}

/// # Safety
///
/// `root` is a page table that maps the running code where it is, `stack` as the end of a stack, and
/// an initialised `BootInfo` at `info`.
unsafe fn jump(root: u64, stack: u64, info: u64) -> ! {
    // SAFETY: as the caller promises; `call` leaves the stack 8 modulo 16, as the ABI has it at a
    // function's first instruction.
    unsafe {
        asm!(
            "mov cr3, {root}",
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "call {entry}",
            "ud2",
            root = in(reg) root,
            stack = in(reg) stack,
            entry = sym kernel_entry,
            in("rdi") info,
            options(noreturn)
        )
    }
}
