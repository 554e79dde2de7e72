//! Tests that fail on purpose, each in its own way, so that the host can show that it tells them
//! apart. They run only when asked for by name.

use alloc::boxed::Box;
use core::arch::asm;
use core::hint::black_box;
use core::ptr;

use x86_64::VirtAddr;
use x86_64::instructions::interrupts;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

use crate::arch::cpu::{self, Exit};
use crate::arch::work;
use crate::events::Verdict;
use crate::harness::{Outcome, kernel_tests};

/// Uses up the stack, a little with each call.
#[allow(unconditional_recursion)]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = [depth; 16];
    black_box(recurse(black_box(&frame)[3] + 1)) + 1
}

/// Cannot be shown: whoever reports it faults while reporting.
struct Treacherous;

impl core::fmt::Display for Treacherous {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let nowhere = ptr::without_provenance::<u8>(0xffff_ffff_fff0_0000);
        // SAFETY: none; it faults, which is the point.
        write!(f, "{}", unsafe { nowhere.read_volatile() })
    }
}

kernel_tests! { "proof", Proof:
    /// A false assertion.
    fn fails() on [smp1] {
        assert_eq!(black_box(1) + 1, 3, "arithmetic holds");
    }

    /// A plain panic.
    fn panics() on [smp1] {
        panic!("on purpose");
    }

    /// An exception without an interrupt table: the CPU gives up and resets.
    fn triple_faults() on [smp1] {
        let empty = DescriptorTablePointer { limit: 0, base: VirtAddr::zero() };
        // SAFETY: there is no way back from here, which is the point.
        unsafe { lidt(&empty) };
        // SAFETY: as above.
        unsafe { asm!("ud2", options(noreturn)) };
    }

    /// Never ends.
    fn hangs() on [smp1] {
        interrupts::disable();
        loop {
            core::hint::spin_loop();
        }
    }

    /// Ends with the status of success, but reports no result.
    fn silent() on [smp1] {
        cpu::exit(Exit::Success);
    }

    /// Reports success, but ends with the status of failure.
    fn lies() on [smp1] {
        crate::finish(Verdict::Pass, None);
        cpu::exit(Exit::Failure);
    }

    /// Runs over the end of the stack.
    fn overflows_stack() on [smp1] {
        black_box(recurse(0));
    }

    /// Reads an address that is not mapped.
    fn page_fault() on [smp1] {
        let nowhere = ptr::without_provenance::<u64>(0xffff_ffff_ffff_0000);
        // SAFETY: none; it faults, which is the point.
        black_box(unsafe { nowhere.read_volatile() });
    }

    /// Follows a pointer that is none, read from an object that is free.
    fn wild_pointer() on [smp4] {
        work::on_all(&|id| log::debug!("CPU {id} is here"));
        let object = Box::into_raw(Box::new(0x1234_5678_9abc_def0_u64));
        // SAFETY: it came from a box. What follows reads through it all the same, which is the point.
        drop(unsafe { Box::from_raw(object) });
        // SAFETY: none; it faults.
        unsafe {
            asm!(
                "mov rdi, {object}",
                "mov rax, {wild}",
                "mov rax, [rax]",
                object = in(reg) object,
                wild = in(reg) 0x1234_5678_9abc_def0_u64,
                out("rdi") _, out("rax") _,
            );
        }
    }

    /// Fails with a message that makes the report of it fail.
    fn fails_in_its_report() on [smp1] {
        panic!("{Treacherous}");
    }

    /// Asks to be skipped.
    fn skips() on [smp1] {
        return Outcome::Skip("on purpose");
    }
}

kernel_tests! { "proof", EarlyProof:
    /// Never says anything, and never ends.
    fn mute() on [smp1] {
        cpu::stop();
    }
}
