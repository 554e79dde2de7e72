//! Where stacks are, to tell an overflow from any other fault.

use core::arch::asm;
use core::fmt;
use core::ops::Range;

use bootloader_api::BootInfo;
use spin::Once;
use twinframe::AllocResult;
use twinframe_boot::PAGE_SIZE;

use super::percpu;
use super::space::Mapped;

/// Bytes of an interrupt stack: enough for a report.
pub(crate) const INTERRUPT_BYTES: usize = 16 * 1024;

/// Interrupt stacks, by what they are for. Every vector has one: compiled code may use the red zone
/// below its stack pointer, which an interrupt on the same stack would overwrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Ist {
    /// Double fault and machine check: there is no way back from either.
    Fatal,
    Nmi,
    PageFault,
    Exception,
    Interrupt,
}

impl Ist {
    pub(crate) const ALL: [Self; 5] = [
        Self::Fatal,
        Self::Nmi,
        Self::PageFault,
        Self::Exception,
        Self::Interrupt,
    ];
}

impl fmt::Display for Ist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fatal => "double fault",
            Self::Nmi => "non-maskable interrupt",
            Self::PageFault => "page fault",
            Self::Exception => "exception",
            Self::Interrupt => "interrupt",
        })
    }
}

/// The stack that the loader made.
static BOOT: Once<Range<u64>> = Once::new();

/// Remembers where the loader put the stack that this code runs on. `size` is what the kernel
/// asked for.
pub(crate) fn record(info: &BootInfo, size: u64) {
    let here: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) here, options(nomem, nostack, preserves_flags)) };
    let told = info.kernel_stack_bottom..info.kernel_stack_bottom + info.kernel_stack_len;
    let stack = if told.contains(&here) {
        told
    } else {
        // A loader that does not say. Little is on the stack yet: its end is the end of this page.
        let end = (here + 1).next_multiple_of(PAGE_SIZE);
        end - size.next_multiple_of(PAGE_SIZE)..end
    };
    BOOT.call_once(|| stack);
}

/// The stacks of one CPU, each above an unmapped page. They are never freed.
#[derive(Debug)]
pub(crate) struct Stacks {
    main: Option<Mapped>,
    interrupt: [Mapped; 5],
}

impl Stacks {
    /// Interrupt stacks beside the stack that the loader made.
    pub(crate) fn for_boot_cpu() -> AllocResult<Self> {
        Self::new(None)
    }

    /// All stacks of a further CPU.
    pub(crate) fn for_application_cpu() -> AllocResult<Self> {
        let main = Mapped::new(crate::CONFIG.kernel_stack_size / PAGE_SIZE)?;
        Self::new(Some(main))
    }

    fn new(main: Option<Mapped>) -> AllocResult<Self> {
        let stack = || Mapped::new(INTERRUPT_BYTES as u64 / PAGE_SIZE);
        Ok(Self {
            main,
            interrupt: [stack()?, stack()?, stack()?, stack()?, stack()?],
        })
    }

    /// The stack that threads run on.
    pub(crate) fn main(&self) -> Range<u64> {
        match &self.main {
            Some(mapped) => mapped.range(),
            None => boot(),
        }
    }

    /// The stack of some interrupts.
    pub(crate) fn interrupt(&self, ist: Ist) -> Range<u64> {
        self.interrupt[ist as usize].range()
    }
}

fn boot() -> Range<u64> {
    BOOT.get().cloned().unwrap_or(0..0)
}

/// The main stack of the running CPU.
pub(crate) fn bounds() -> Range<u64> {
    match percpu::current().stacks.get() {
        Some(stacks) => stacks.main(),
        None => boot(),
    }
}

/// The unmapped page below a stack.
pub(crate) fn guard(stack: &Range<u64>) -> Range<u64> {
    stack.start.saturating_sub(PAGE_SIZE)..stack.start
}

/// The CPU on whose stack an address lies, and which interrupts that stack is for, if it is for any.
pub(crate) fn holding(address: u64) -> Option<(usize, Option<Ist>)> {
    if boot().contains(&address) {
        return Some((0, None));
    }
    percpu::all().find_map(|cpu| {
        let stacks = cpu.stacks.get()?;
        let ist = |ist: &Ist| stacks.interrupt(*ist).contains(&address);
        if stacks.main().contains(&address) {
            return Some((cpu.id(), None));
        }
        Ist::ALL
            .into_iter()
            .find(ist)
            .map(|ist| (cpu.id(), Some(ist)))
    })
}

/// A stack, found by its guard page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow {
    cpu: usize,
    ist: Option<Ist>,
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ist {
            None => write!(f, "the kernel stack of CPU {}", self.cpu),
            Some(ist) => write!(f, "the {ist} stack of CPU {}", self.cpu),
        }
    }
}

/// The stack in whose guard page an address is, and that page.
pub(crate) fn overflow(address: u64) -> Option<(Overflow, Range<u64>)> {
    let hit = |cpu, ist, stack: Range<u64>| {
        let guard = guard(&stack);
        guard
            .contains(&address)
            .then_some((Overflow { cpu, ist }, guard))
    };
    hit(0, None, boot()).or_else(|| {
        percpu::all().find_map(|cpu| {
            let stacks = cpu.stacks.get()?;
            hit(cpu.id(), None, stacks.main()).or_else(|| {
                Ist::ALL
                    .into_iter()
                    .find_map(|ist| hit(cpu.id(), Some(ist), stacks.interrupt(ist)))
            })
        })
    })
}
