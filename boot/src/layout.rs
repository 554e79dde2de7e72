//! Where the kernel's mappings go: what a `BootloaderConfig` asks for, as addresses.

use bootloader_api::BootloaderConfig;
use bootloader_api::config::Mapping;
use core::fmt;
use core::ops::Range;

use crate::PAGE_SIZE;

/// Bytes covered by one entry of the top-level page table.
const SLOT: u64 = 1 << 39;
/// Entries of the top-level page table.
const SLOTS: usize = 512;
/// The direct map uses pages of up to 1 GiB; virtual and physical addresses agree modulo this.
const DIRECT_MAP_ALIGN: u64 = 1 << 30;
/// The first address of the upper half. Dynamic mappings start here unless the kernel says
/// otherwise: the lower half is for user space.
const UPPER_HALF: u64 = 0xffff_8000_0000_0000;

/// A setting of `BootloaderConfig` that this loader cannot honour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// `kernel_base` is fixed, but the kernel is linked at a fixed address of its own.
    KernelBase,
    /// `page_table_recursive` is set.
    Recursive,
    /// `aslr` is set.
    Aslr,
    /// `framebuffer` has a fixed address, but PVH gives no frame buffer.
    Framebuffer,
    /// `ramdisk_memory` has a fixed address.
    Ramdisk,
    /// `kernel_stack_size` is 0 or beyond 1 GiB.
    StackSize(u64),
    /// The named fixed mapping is misaligned, not canonical, or overlaps another mapping.
    Address(&'static str, u64),
    /// The dynamic range has no room for the named mapping.
    NoRoom(&'static str),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelBase => f.write_str("mappings.kernel_base: the kernel is not relocatable"),
            Self::Recursive => f.write_str("mappings.page_table_recursive is not supported"),
            Self::Aslr => f.write_str("mappings.aslr is not supported"),
            Self::Framebuffer => f.write_str("mappings.framebuffer: there is no frame buffer"),
            Self::Ramdisk => f.write_str("mappings.ramdisk_memory must be dynamic"),
            Self::StackSize(bytes) => write!(f, "kernel_stack_size of {bytes} bytes"),
            Self::Address(what, address) => {
                write!(f, "mappings.{what}: {address:#x} is misaligned or taken")
            }
            Self::NoRoom(what) => write!(f, "mappings.{what}: no room in the dynamic range"),
        }
    }
}

/// The sizes that a layout has to hold, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Physical address space to map, from 0.
    pub physical_memory: u64,
    /// The `BootInfo` and what it points to.
    pub boot_info: u64,
}

/// Virtual addresses of everything the loader maps beside the kernel image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Start of the direct map, if the kernel asked for one.
    pub physical_memory: Option<u64>,
    /// The unmapped guard page below the stack.
    pub stack_guard: u64,
    /// The stack, lowest to highest address.
    pub stack: Range<u64>,
    /// Start of the boot information.
    pub boot_info: u64,
}

/// Places all mappings, or says which setting stands in the way. `kernel` is the address range of
/// the linked image.
pub fn place(
    config: &BootloaderConfig,
    sizes: Sizes,
    kernel: Range<u64>,
) -> Result<Layout, Unsupported> {
    let mappings = &config.mappings;
    if mappings.kernel_base != Mapping::Dynamic {
        return Err(Unsupported::KernelBase);
    }
    if mappings.page_table_recursive.is_some() {
        return Err(Unsupported::Recursive);
    }
    if mappings.aslr {
        return Err(Unsupported::Aslr);
    }
    if mappings.framebuffer != Mapping::Dynamic {
        return Err(Unsupported::Framebuffer);
    }
    if mappings.ramdisk_memory != Mapping::Dynamic {
        return Err(Unsupported::Ramdisk);
    }
    let stack_size = config.kernel_stack_size;
    if stack_size == 0 || stack_size > 1 << 30 {
        return Err(Unsupported::StackSize(stack_size));
    }
    let stack_size = stack_size.next_multiple_of(PAGE_SIZE);

    let mut space = Space::new(
        mappings.dynamic_range_start.unwrap_or(UPPER_HALF),
        mappings
            .dynamic_range_end
            .unwrap_or(u64::MAX - PAGE_SIZE + 1),
    );
    space.mark(&kernel);
    let requests = [
        // The stack comes with its guard page, the lowest one.
        (
            "kernel_stack",
            Some(mappings.kernel_stack),
            PAGE_SIZE + stack_size,
            PAGE_SIZE,
        ),
        (
            "boot_info",
            Some(mappings.boot_info),
            sizes.boot_info,
            PAGE_SIZE,
        ),
        (
            "physical_memory",
            mappings.physical_memory,
            sizes.physical_memory,
            DIRECT_MAP_ALIGN,
        ),
    ];
    let mut placed = [None; 3];
    // Fixed addresses first: a dynamic one can step aside, they cannot.
    for fixed in [true, false] {
        for (slot, &(name, mapping, bytes, align)) in placed.iter_mut().zip(&requests) {
            match mapping {
                Some(Mapping::FixedAddress(address)) if fixed => {
                    *slot = Some(space.fix(name, address, bytes, align, &kernel)?);
                }
                Some(Mapping::Dynamic) if !fixed => *slot = Some(space.find(name, bytes)?),
                _ => {}
            }
        }
    }
    let [Some(stack_guard), Some(boot_info), physical_memory] = placed else {
        unreachable!("the stack and the boot information are always placed");
    };
    let stack_start = stack_guard + PAGE_SIZE;
    Ok(Layout {
        physical_memory,
        stack_guard,
        stack: stack_start..stack_start + stack_size,
        boot_info,
    })
}

/// The virtual address space, in steps of one top-level entry.
struct Space {
    used: [bool; SLOTS],
    fixed: [Range<u64>; 3],
    dynamic: Range<u64>,
}

impl Space {
    fn new(start: u64, end: u64) -> Self {
        Self {
            used: [false; SLOTS],
            fixed: [const { 0..0 }; 3],
            dynamic: start..end,
        }
    }

    fn slot(address: u64) -> usize {
        // Nine bits: always below 512.
        #[allow(clippy::cast_possible_truncation)]
        let slot = ((address >> 39) & 0x1ff) as usize;
        slot
    }

    fn mark(&mut self, range: &Range<u64>) {
        self.used[Self::slot(range.start)..=Self::slot(range.end - 1)].fill(true);
    }

    fn fix(
        &mut self,
        name: &'static str,
        address: u64,
        bytes: u64,
        align: u64,
        kernel: &Range<u64>,
    ) -> Result<u64, Unsupported> {
        let refused = Unsupported::Address(name, address);
        let end = address.checked_add(bytes).ok_or(refused)?;
        let range = address..end;
        let overlaps = |other: &Range<u64>| other.start < end && address < other.end;
        let free = self.fixed.iter().position(Range::is_empty).ok_or(refused)?;
        if address == 0
            || !address.is_multiple_of(align)
            || !canonical(address)
            || !canonical(end - 1)
            || (address < UPPER_HALF) != (end - 1 < UPPER_HALF)
            || overlaps(kernel)
            || self.fixed.iter().any(overlaps)
        {
            return Err(refused);
        }
        self.mark(&range);
        self.fixed[free] = range;
        Ok(address)
    }

    /// The lowest run of unused top-level entries inside the dynamic range.
    fn find(&mut self, name: &'static str, bytes: u64) -> Result<u64, Unsupported> {
        let count = bytes.div_ceil(SLOT);
        let mut start = self.dynamic.start.checked_next_multiple_of(SLOT);
        while let Some(address) = start {
            let Some(last) = address.checked_add(count * SLOT - 1) else {
                break;
            };
            if address + (bytes - 1) >= self.dynamic.end {
                break;
            }
            let run = Self::slot(address)..=Self::slot(last);
            let usable = address != 0
                && canonical(address)
                && canonical(last)
                && (address < UPPER_HALF) == (last < UPPER_HALF)
                && self.used[run].iter().all(|used| !used);
            if usable {
                self.mark(&(address..last));
                return Ok(address);
            }
            start = address.checked_add(SLOT);
        }
        Err(Unsupported::NoRoom(name))
    }
}

/// Bits 63 to 47 are equal (Intel SDM volume 1, section 3.3.7.1).
const fn canonical(address: u64) -> bool {
    let top = address >> 47;
    top == 0 || top == 0x1_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Range<u64> = 0xffff_ffff_8020_0000..0xffff_ffff_8040_0000;
    const SIZES: Sizes = Sizes {
        physical_memory: 1 << 32,
        boot_info: 0x2000,
    };

    fn config() -> BootloaderConfig {
        let mut config = BootloaderConfig::new_default();
        config.mappings.physical_memory = Some(Mapping::Dynamic);
        config
    }

    #[test]
    fn defaults_go_to_the_upper_half() {
        let layout = place(&config(), SIZES, KERNEL).unwrap();
        assert!(layout.physical_memory.unwrap() >= UPPER_HALF);
        assert_eq!(layout.stack.start, layout.stack_guard + PAGE_SIZE);
        assert_eq!(layout.stack.end - layout.stack.start, 80 * 1024);
        let mut slots = [
            layout.physical_memory.unwrap(),
            layout.stack_guard,
            layout.boot_info,
            KERNEL.start,
        ]
        .map(Space::slot);
        slots.sort_unstable();
        assert!(slots.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn fixed_addresses_are_honoured() {
        let mut config = config();
        config.mappings.physical_memory = Some(Mapping::FixedAddress(0xffff_9000_0000_0000));
        config.mappings.kernel_stack = Mapping::FixedAddress(0xf_0000_0000);
        config.mappings.boot_info = Mapping::FixedAddress(0x1000);
        config.kernel_stack_size = 5000;
        let layout = place(&config, SIZES, KERNEL).unwrap();
        assert_eq!(layout.physical_memory, Some(0xffff_9000_0000_0000));
        assert_eq!(layout.stack_guard, 0xf_0000_0000);
        assert_eq!(layout.stack, 0xf_0000_1000..0xf_0000_3000);
        assert_eq!(layout.boot_info, 0x1000);
    }

    #[test]
    fn the_dynamic_range_is_honoured() {
        let mut config = config();
        config.mappings.dynamic_range_start = Some(0x7000_0000_0000);
        config.mappings.dynamic_range_end = Some(0x7400_0000_0000);
        let layout = place(&config, SIZES, KERNEL).unwrap();
        for address in [
            layout.stack_guard,
            layout.boot_info,
            layout.physical_memory.unwrap(),
        ] {
            assert!((0x7000_0000_0000..0x7400_0000_0000).contains(&address));
        }
        config.mappings.dynamic_range_end = Some(0x7100_0000_0000);
        assert_eq!(
            place(&config, SIZES, KERNEL),
            Err(Unsupported::NoRoom("physical_memory"))
        );
    }

    #[test]
    fn a_large_direct_map_spans_several_slots() {
        let sizes = Sizes {
            physical_memory: 5 << 40,
            ..SIZES
        };
        let layout = place(&config(), sizes, KERNEL).unwrap();
        let start = layout.physical_memory.unwrap();
        assert!(canonical(start + sizes.physical_memory - 1));
        let too_much = Sizes {
            physical_memory: 1 << 47,
            ..SIZES
        };
        assert_eq!(
            place(&config(), too_much, KERNEL),
            Err(Unsupported::NoRoom("physical_memory"))
        );
    }

    #[test]
    fn no_direct_map_unless_asked_for() {
        let layout = place(&BootloaderConfig::new_default(), SIZES, KERNEL).unwrap();
        assert_eq!(layout.physical_memory, None);
    }

    #[test]
    fn unsupported_settings_are_named() {
        let refused = |change: fn(&mut BootloaderConfig)| {
            let mut config = config();
            change(&mut config);
            place(&config, SIZES, KERNEL).unwrap_err()
        };
        assert_eq!(
            refused(|c| c.mappings.kernel_base = Mapping::FixedAddress(0x20_0000)),
            Unsupported::KernelBase
        );
        assert_eq!(
            refused(|c| c.mappings.page_table_recursive = Some(Mapping::Dynamic)),
            Unsupported::Recursive
        );
        assert_eq!(refused(|c| c.mappings.aslr = true), Unsupported::Aslr);
        assert_eq!(
            refused(|c| c.mappings.framebuffer = Mapping::FixedAddress(0x1000)),
            Unsupported::Framebuffer
        );
        assert_eq!(
            refused(|c| c.mappings.ramdisk_memory = Mapping::FixedAddress(0x1000)),
            Unsupported::Ramdisk
        );
        assert_eq!(
            refused(|c| c.kernel_stack_size = 0),
            Unsupported::StackSize(0)
        );
        assert_eq!(
            refused(|c| c.mappings.boot_info = Mapping::FixedAddress(0x1001)),
            Unsupported::Address("boot_info", 0x1001)
        );
        assert_eq!(
            refused(|c| c.mappings.boot_info = Mapping::FixedAddress(0xffff_ffff_8030_0000)),
            Unsupported::Address("boot_info", 0xffff_ffff_8030_0000)
        );
        assert_eq!(
            refused(|c| c.mappings.kernel_stack = Mapping::FixedAddress(0x8000_0000_0000)),
            Unsupported::Address("kernel_stack", 0x8000_0000_0000)
        );
        assert_eq!(
            refused(|c| c.mappings.physical_memory = Some(Mapping::FixedAddress(1 << 21))),
            Unsupported::Address("physical_memory", 1 << 21)
        );
    }
}
