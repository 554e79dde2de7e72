//! Segments, the task state with its interrupt stacks, and the interrupt table.

use alloc::boxed::Box;
use core::cell::UnsafeCell;

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, FS, GS, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::InterruptDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

use super::percpu::Cpu;
use super::stack::{INTERRUPT_BYTES, Ist, Stacks};
use super::traps;

/// The tables that a CPU points into.
struct Tables {
    tss: TaskStateSegment,
    gdt: GlobalDescriptorTable,
}

#[repr(C, align(4096))]
struct EarlyStack(UnsafeCell<[u8; INTERRUPT_BYTES]>);

// SAFETY: only the CPU that boots writes there, as its interrupt stack.
unsafe impl Sync for EarlyStack {}

/// All interrupt stacks of the boot CPU until there is memory for real ones. Enough for one report.
static EARLY_STACK: EarlyStack = EarlyStack(UnsafeCell::new([0; INTERRUPT_BYTES]));
static EARLY_TSS: Once<TaskStateSegment> = Once::new();
static EARLY_GDT: Once<GlobalDescriptorTable> = Once::new();
static IDT: Once<InterruptDescriptorTable> = Once::new();

fn ist_of(vector: u8) -> Ist {
    match vector {
        2 => Ist::Nmi,
        8 | 18 => Ist::Fatal,
        14 => Ist::PageFault,
        0..32 => Ist::Exception,
        32.. => Ist::Interrupt,
    }
}

/// The segments, always in this order: code, data, task state.
fn segments(tss: &'static TaskStateSegment) -> GlobalDescriptorTable {
    let mut gdt = GlobalDescriptorTable::new();
    gdt.append(Descriptor::kernel_code_segment());
    gdt.append(Descriptor::kernel_data_segment());
    gdt.append(Descriptor::tss_segment(tss));
    gdt
}

/// Makes this CPU use a table of [`segments`]. Resets the GS base.
fn use_segments(gdt: &'static GlobalDescriptorTable) {
    use x86_64::PrivilegeLevel::Ring0;
    use x86_64::structures::gdt::SegmentSelector;
    gdt.load();
    // SAFETY: entry 1 is 64-bit code.
    unsafe { CS::set_reg(SegmentSelector::new(1, Ring0)) };
    for set in [
        SS::set_reg,
        DS::set_reg,
        ES::set_reg,
        FS::set_reg,
        GS::set_reg,
    ] {
        // SAFETY: entry 2 is data, and no FS base is in use; the caller restores that of GS.
        unsafe { set(SegmentSelector::new(2, Ring0)) };
    }
    // SAFETY: entry 3 is a task state that is never moved or freed.
    unsafe { load_tss(SegmentSelector::new(3, Ring0)) };
}

/// Replaces the loader's descriptor tables on the CPU that boots. Needs no heap.
pub(crate) fn load_early() {
    let tss = EARLY_TSS.call_once(|| {
        let mut tss = TaskStateSegment::new();
        let top = VirtAddr::from_ptr(EARLY_STACK.0.get()) + INTERRUPT_BYTES as u64;
        tss.interrupt_stack_table = [top; 7];
        tss
    });
    use_segments(EARLY_GDT.call_once(|| segments(tss)));
    IDT.call_once(interrupt_table).load();
}

/// Gives the running CPU its own tables, with the stacks of `cpu`, and makes `cpu` its own.
pub(crate) fn load(cpu: &'static Cpu, stacks: &Stacks) {
    let mut tss = TaskStateSegment::new();
    let mut tops = tss.interrupt_stack_table;
    for ist in Ist::ALL {
        tops[ist as usize] = VirtAddr::new(stacks.interrupt(ist).end);
    }
    tss.interrupt_stack_table = tops;
    let tables = Box::leak(Box::new(Tables {
        tss,
        gdt: GlobalDescriptorTable::new(),
    }));
    let Tables { tss, gdt } = tables;
    *gdt = segments(tss);
    x86_64::instructions::interrupts::without_interrupts(|| {
        use_segments(gdt);
        cpu.adopt();
    });
    IDT.call_once(interrupt_table).load();
}

const _: () = assert!(
    size_of::<InterruptDescriptorTable>() == 256 * size_of::<u128>()
        && align_of::<InterruptDescriptorTable>() >= align_of::<u128>()
);

fn interrupt_table() -> InterruptDescriptorTable {
    let mut idt = InterruptDescriptorTable::new();
    let entries = (&raw mut idt).cast::<u128>();
    for vector in 0..=u8::MAX {
        let gate = gate(traps::stub(vector), ist_of(vector));
        // SAFETY: the table is an array of 256 gates of 16 bytes (Intel SDM volume 3, section
        // 7.14.1), so this is inside.
        let entry = unsafe { entries.add(usize::from(vector)) };
        // SAFETY: as above, and `idt` is only reached through this pointer here.
        unsafe { entry.write(gate) };
    }
    idt
}

/// A 64-bit interrupt gate: present, ring 0, interrupts masked on entry.
fn gate(handler: VirtAddr, ist: Ist) -> u128 {
    const PRESENT_INTERRUPT_GATE: u128 = 0x8e00;
    let handler = u128::from(handler.as_u64());
    let selector = u128::from(CS::get_reg().0);
    // The field counts from 1; 0 means "no switch".
    let ist = u128::from(ist as u16 + 1);
    (handler & 0xffff)
        | selector << 16
        | (PRESENT_INTERRUPT_GATE | ist) << 32
        | (handler >> 16) << 48
}
