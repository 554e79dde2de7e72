//! Waking the other CPUs: INIT, then STARTUP, one CPU at a time, each with a deadline (Intel SDM
//! volume 3, section 10.4; the MP specification's appendix B.4 has the delays).

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use twinframe::{AllocError, AllocResult};
use x86_64::PhysAddr;
use x86_64::instructions::interrupts;
use x86_64::structures::paging::{PageTable, PageTableFlags};

use super::percpu::{self, Cpu, MAX_CPUS};
use super::stack::Stacks;
use super::trampoline::{self, Start};
use super::{apic, descriptors, shootdown, timer, translate, work};
use crate::events::{self, Event};
use crate::memory::{self, HEAP};
use crate::nodes;

/// How long a CPU may take until it says that it is there, in milliseconds.
pub(crate) const PATIENCE: u32 = 500;

/// How long one may take that has begun to run, in milliseconds: only a busy host can keep it.
const PATIENCE_ON_ITS_WAY: u32 = 10_000;

/// How far the CPU that is being started has come.
static STAGE: AtomicU32 = AtomicU32::new(0);
const ASLEEP: u32 = 0;
const ALIVE: u32 = 1;

/// Switches on what only the boot CPU has so far: its own stacks and tables, APIC, timer.
pub(crate) fn init_boot_cpu() {
    let cpu = percpu::current();
    let stacks = Stacks::for_boot_cpu().expect("memory for the boot CPU's stacks");
    let stacks = cpu.stacks.call_once(|| stacks);
    descriptors::load(cpu, stacks);
    if !apic::enable() {
        log::warn!("this CPU has no local APIC: one CPU, no timer");
        return;
    }
    cpu.apic_id.store(apic::id(), Ordering::Relaxed);
    cpu.node.store(nodes::of_cpu(apic::id()), Ordering::Relaxed);
    mask_legacy_controller();
    timer::calibrate();
    timer::start();
    interrupts::enable();
}

/// The two 8259 controllers share vectors with exceptions until they are moved. Nothing uses them.
fn mask_legacy_controller() {
    for port in [0x21, 0xa1] {
        // SAFETY: the PC's interrupt mask registers; on a machine without them the write goes nowhere.
        unsafe { x86_64::instructions::port::PortWriteOnly::<u8>::new(port).write(0xff) };
    }
}

/// Page tables with which a CPU can go from real mode to the kernel: the kernel's own, and the first
/// 2 MiB one to one, where the trampoline is. Freed when all CPUs are up.
struct Bridge {
    pages: [usize; 3],
}

impl Bridge {
    fn new() -> AllocResult<Self> {
        let mut pages = [0; 3];
        for page in &mut pages {
            // A CPU in 32-bit mode loads the address of the first.
            *page = HEAP.alloc_pages_lowmem(1, 4096)?;
            // SAFETY: a fresh page in the direct map.
            unsafe { (*page as *mut PageTable).write_bytes(0, 1) };
        }
        let bridge = Self { pages };
        let [top, middle, bottom] = bridge.pages.map(|page| page as *mut PageTable);
        let link = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        let kernel = translate::phys_to_virt(translate::root()) as *const PageTable;
        // SAFETY: both are whole page tables; the kernel's changes only under `space`, on this CPU.
        unsafe { top.copy_from_nonoverlapping(kernel, 1) };
        let entries = [
            (top, bridge.phys(1), link),
            (middle, bridge.phys(2), link),
            (bottom, PhysAddr::zero(), link | PageTableFlags::HUGE_PAGE),
        ];
        for (table, address, flags) in entries {
            // SAFETY: a page table of our own that nothing has loaded yet.
            let table = unsafe { &mut *table };
            table[0].set_addr(address, flags);
        }
        Ok(bridge)
    }

    fn phys(&self, index: usize) -> PhysAddr {
        PhysAddr::new(translate::virt_to_phys(self.pages[index]).unwrap_or(0))
    }

    fn root(&self) -> u64 {
        self.phys(0).as_u64()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        for page in self.pages.into_iter().filter(|&page| page != 0) {
            // SAFETY: the CPUs that it was for have gone on to the kernel's own tables.
            let freed = unsafe { HEAP.dealloc_pages(page, 1) };
            if let Err(error) = freed {
                log::error!("page table {page:#x} was not the heap's: {error}");
            }
        }
    }
}

/// CPUs that the firmware lists, and those of them that were left out.
static LISTED: AtomicUsize = AtomicUsize::new(1);
static LEFT_OUT: AtomicUsize = AtomicUsize::new(0);

/// Number of CPUs that the firmware lists as usable.
pub(crate) fn listed() -> usize {
    LISTED.load(Ordering::Relaxed)
}

/// Number of those that did not come up.
pub(crate) fn left_out() -> usize {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// Whether this machine has what it takes to start other CPUs.
pub(crate) fn can_start_others() -> bool {
    apic::present() && memory::has_trampoline()
}

/// Starts every CPU of `apic_ids` but this one. Those that do not answer within `patience` milliseconds are logged and
/// left out.
pub(crate) fn start_all(apic_ids: impl Iterator<Item = u32>, patience: u32) {
    if !apic::present() {
        return;
    }
    if !memory::has_trampoline() {
        log::warn!(
            "the firmware keeps the page at {:#x}, where other CPUs would start: one CPU",
            trampoline::ADDRESS
        );
        return;
    }
    let bridge = match Bridge::new() {
        Ok(bridge) => bridge,
        Err(error) => {
            log::warn!("no low memory to start other CPUs: {error}");
            return;
        }
    };
    trampoline::install();
    for apic_id in apic_ids {
        if percpu::all().any(|cpu| cpu.apic_id() == apic_id) {
            continue;
        }
        LISTED.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = start(apic_id, &bridge, patience) {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            log::warn!("CPU with APIC id {apic_id}: left out: {error}");
        }
    }
}

/// Why a CPU is left out.
enum NotStarted {
    NoMemory(AllocError),
    NoAnswer(u32),
    OutOfReach,
    TooMany,
}

impl core::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoMemory(error) => write!(f, "its stacks: {error}"),
            Self::TooMany => write!(f, "{MAX_CPUS} CPUs is the most"),
            Self::OutOfReach => f.write_str("an xAPIC cannot address it"),
            Self::NoAnswer(patience) => write!(f, "no answer within {patience} ms"),
        }
    }
}

fn start(apic_id: u32, bridge: &Bridge, patience: u32) -> Result<(), NotStarted> {
    let id = percpu::all().count();
    if id == MAX_CPUS {
        return Err(NotStarted::TooMany);
    }
    if !apic::reaches(apic_id) {
        return Err(NotStarted::OutOfReach);
    }
    let stacks = Stacks::for_application_cpu().map_err(NotStarted::NoMemory)?;
    let cpu = Box::into_raw(Box::new(Cpu::new(id)));
    // SAFETY: it is freed only if the CPU that it is for never comes.
    let started: &'static Cpu = unsafe { &*cpu };
    started.apic_id.store(apic_id, Ordering::Relaxed);
    started
        .node
        .store(nodes::of_cpu(apic_id), Ordering::Relaxed);
    let stacks = started.stacks.call_once(|| stacks);
    STAGE.store(ASLEEP, Ordering::Relaxed);
    trampoline::prepare(&Start {
        apic_id,
        bridge: bridge.root(),
        kernel: translate::root(),
        stack: stacks.main().end,
        cpu: started,
    });
    apic::send_init(apic_id);
    timer::wait_ms(10, || false);
    let is_alive = || STAGE.load(Ordering::Acquire) == ALIVE;
    let report = |state| {
        events::emit(&Event::Cpu {
            id,
            apic: apic_id,
            state,
        });
    };
    for wait in [2, patience] {
        apic::send_startup(apic_id, trampoline::PAGE);
        if timer::wait_ms(wait, is_alive) {
            report("online");
            return Ok(());
        }
    }
    // Should it wake after all, it finds no ticket, and sleeps again.
    if trampoline::withdraw(apic_id) {
        // SAFETY: it came from a box, and no CPU ever saw it.
        drop(unsafe { Box::from_raw(cpu) });
        apic::send_init(apic_id);
    } else {
        // It has the ticket. By now it may hold a lock of the heap, or others wait for its answer: reset, it
        // would keep them waiting for ever.
        if timer::wait_ms(PATIENCE_ON_ITS_WAY, is_alive) {
            report("online");
            return Ok(());
        }
        apic::send_init(apic_id);
        started.online.store(false, Ordering::SeqCst);
    }
    report("no-answer");
    Err(NotStarted::NoAnswer(patience))
}

/// The first Rust code of a started CPU, on its own stack.
///
/// # Safety
///
/// Called by the trampoline, once a CPU, with the structure that was prepared for it.
pub(super) unsafe extern "C" fn enter(cpu: &'static Cpu) -> ! {
    let stacks = cpu
        .stacks
        .get()
        .expect("prepared by the CPU that started us");
    // Before anything that allocates: the allocator asks which CPU it runs on.
    cpu.adopt();
    descriptors::load(cpu, stacks);
    apic::enable();
    cpu.online.store(true, Ordering::SeqCst);
    // A request that was made before anybody could know of this CPU was not sent to it.
    shootdown::answer();
    timer::start();
    log::debug!("up, APIC id {}", cpu.apic_id());
    STAGE.store(ALIVE, Ordering::Release);
    work::idle()
}
