//! What every CPU has of its own, reached through GS.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use spin::Once;
use x86_64::VirtAddr;
use x86_64::registers::model_specific::GsBase;

use super::stack::Stacks;
use super::storm::Pace;

/// The most CPUs that the kernel brings up; further ones are left asleep, with a line in the log.
pub(crate) const MAX_CPUS: usize = 512;

/// One CPU. The first field is what `gs:[0]` reads.
#[repr(C)]
pub(crate) struct Cpu {
    this: AtomicPtr<Cpu>,
    id: usize,
    /// The number by which interrupts reach it.
    pub(crate) apic_id: AtomicU32,
    /// The NUMA node that it belongs to.
    pub(crate) node: AtomicUsize,
    /// Its stacks, once it has stacks of the kernel's own making.
    pub(crate) stacks: Once<Stacks>,
    /// Timer interrupts taken.
    pub(crate) ticks: AtomicU64,
    /// How often its timer interrupts in a storm.
    pub(super) pace: Pace,
    /// The newest barrier request that it has answered.
    pub(crate) barrier: AtomicU64,
    /// Where it was when a failure elsewhere stopped it; 0 while it runs.
    pub(crate) stopped_at: AtomicU64,
    /// It runs kernel code and answers interrupts.
    pub(crate) online: AtomicBool,
}

static BOOT_CPU: Cpu = Cpu::new(0);
static CPUS: [AtomicPtr<Cpu>; MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Cpu {
    /// A CPU that is not running yet.
    pub(crate) const fn new(id: usize) -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            id,
            apic_id: AtomicU32::new(0),
            node: AtomicUsize::new(0),
            stacks: Once::new(),
            ticks: AtomicU64::new(0),
            pace: Pace::new(),
            barrier: AtomicU64::new(0),
            stopped_at: AtomicU64::new(0),
            online: AtomicBool::new(false),
        }
    }

    /// The number by which interrupts reach it.
    pub(crate) fn apic_id(&self) -> u32 {
        self.apic_id.load(Ordering::Relaxed)
    }

    /// Its dense number.
    pub(crate) const fn id(&self) -> usize {
        self.id
    }

    /// Makes this structure the running CPU's own. Interrupts are off.
    pub(crate) fn adopt(&'static self) {
        let this = core::ptr::from_ref(self).cast_mut();
        self.this.store(this, Ordering::Relaxed);
        GsBase::write(VirtAddr::from_ptr(self));
        CPUS[self.id].store(this, Ordering::Release);
        COUNT.fetch_max(self.id + 1, Ordering::AcqRel);
    }
}

/// Gives the CPU that boots a structure that needs no heap.
pub(crate) fn init_boot_cpu() {
    BOOT_CPU.adopt();
    BOOT_CPU.online.store(true, Ordering::Release);
}

/// The CPU that runs this code. Interrupts are off, or the caller does not mind to be moved; here
/// nothing moves.
pub(crate) fn current() -> &'static Cpu {
    let this: *const Cpu;
    // SAFETY: every CPU adopts its structure before it runs anything else, and the first field of
    // that is its own address.
    unsafe { asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, readonly)) };
    // SAFETY: structures of CPUs are never freed.
    unsafe { &*this }
}

/// The number of the CPU that runs this code. The same in one instruction.
pub(crate) fn id() -> usize {
    let id: usize;
    // SAFETY: as `current`; the second field is the number.
    unsafe { asm!("mov {}, gs:[8]", out(reg) id, options(nostack, preserves_flags, readonly)) };
    id
}

const _: () = assert!(core::mem::offset_of!(Cpu, this) == 0);
const _: () = assert!(core::mem::offset_of!(Cpu, id) == 8);

/// The NUMA node of a CPU; 0 if there is no such CPU.
pub(crate) fn node_of(id: usize) -> usize {
    let cpu = CPUS.get(id).map(|cpu| cpu.load(Ordering::Acquire));
    // SAFETY: null, or a structure that is never freed.
    let cpu = cpu.and_then(|cpu| unsafe { cpu.as_ref() });
    cpu.map_or(0, |cpu| cpu.node.load(Ordering::Relaxed))
}

/// All CPUs that ever came up, in the order of their numbers.
pub(crate) fn all() -> impl Iterator<Item = &'static Cpu> + Clone {
    CPUS[..COUNT.load(Ordering::Acquire)]
        .iter()
        .filter_map(|cpu| {
            // SAFETY: null, or a structure that is never freed.
            unsafe { cpu.load(Ordering::Acquire).as_ref() }
        })
}

/// All CPUs that answer interrupts, except this one.
pub(crate) fn others() -> impl Iterator<Item = &'static Cpu> + Clone {
    let own = current().id();
    all().filter(move |cpu| cpu.id() != own && cpu.online.load(Ordering::Acquire))
}

/// Number of CPUs online.
pub(crate) fn online() -> usize {
    all()
        .filter(|cpu| cpu.online.load(Ordering::Acquire))
        .count()
}
