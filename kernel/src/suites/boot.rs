//! What the loader promised, as the kernel finds it.

use core::arch::asm;
use core::sync::atomic::Ordering;

use twinframe_boot::PAGE_SIZE;
use x86_64::instructions::interrupts;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};

use crate::arch::{image, stack, translate, traps};
use crate::harness::kernel_tests;

/// The page-aligned addresses of a range.
fn pages(range: core::ops::Range<u64>) -> impl Iterator<Item = u64> {
    range.step_by(4096)
}

kernel_tests! { "boot", Test:
    /// Compiled code uses SSE; write protection and no-execute hold in the kernel too.
    fn cpu_features_are_on() on [smp1, microvm, pc, cpumax, epyc] {
        assert!(Cr4::read().contains(Cr4Flags::OSFXSR));
        assert!(!Cr0::read().contains(Cr0Flags::EMULATE_COPROCESSOR));
        assert!(Cr0::read().contains(Cr0Flags::WRITE_PROTECT));
        assert!(Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE));
        let root = core::hint::black_box(2.25_f64) * core::hint::black_box(4.0_f64);
        assert_eq!(root.to_bits(), 9.0_f64.to_bits());
    }

    /// Copies of every length, alignment and overlap say what a copy of one byte after the other says.
    fn memory_functions_copy_and_fill() on [smp1] {
        const LONGEST: usize = 20;
        let bytes: [u8; 2 * LONGEST] = core::array::from_fn(super::tag);
        for (from, to) in (0..LONGEST).flat_map(|from| (0..LONGEST).map(move |to| (from, to))) {
            for length in 0..=LONGEST {
                let mut moved = bytes;
                moved.copy_within(from..from + length, to);
                for (at, byte) in moved.iter().enumerate() {
                    let source = if (to..to + length).contains(&at) { at - to + from } else { at };
                    assert_eq!(*byte, bytes[source], "{length} bytes from {from} to {to}");
                }
            }
        }
        for (first, length) in (0..8).flat_map(|first| (0..=LONGEST).map(move |length| (first, length))) {
            let mut filled = bytes;
            filled[first..first + length].fill(0xa5);
            for (at, byte) in filled.iter().enumerate() {
                let is_inside = (first..first + length).contains(&at);
                assert_eq!(*byte, if is_inside { 0xa5 } else { bytes[at] }, "{length} bytes at {first}");
            }
        }
    }

    /// No page of the image is both writable and executable.
    fn image_is_write_xor_execute() on [smp1, microvm] {
        let rights = |range| pages(range).map(|page| {
            let mapping = translate::walk(page).expect("the image is mapped");
            (mapping.writable, mapping.executable)
        });
        assert!(rights(image::constants()).all(|rights| rights == (false, false)));
        assert!(rights(image::text()).all(|rights| rights == (false, true)));
        assert!(rights(image::data()).all(|rights| rights == (true, false)));
    }

    /// The stack is as large as asked for, mapped throughout, and stands on an unmapped page.
    fn stack_stands_on_a_guard_page() on [smp1, microvm, mem64m] {
        let bounds = stack::bounds();
        assert_eq!(bounds.end - bounds.start, crate::CONFIG.kernel_stack_size);
        assert!(bounds.contains(&(&raw const bounds as u64)), "this code runs on it");
        for page in pages(bounds) {
            let mapping = translate::walk(page).expect("mapped");
            assert!(mapping.writable && !mapping.executable);
        }
        let guard = stack::guard(&stack::bounds());
        assert_eq!(guard.end - guard.start, PAGE_SIZE);
        assert_eq!(translate::walk(guard.start), None);
    }

    /// A non-maskable interrupt may come between the question whether there is something to do and the sleep.
    fn sleep_ends_with_a_non_maskable_interrupt() on [smp1] {
        interrupts::without_interrupts(|| {
            // SAFETY: the handler returns and leaves all as it was. On the only CPU there is no other one of these, which would
            // use the same stack. Without its help the CPU would sleep for ever.
            unsafe { asm!("int 2", "hlt") };
        });
    }

    /// A trap that returns leaves every register as it was, SSE state included.
    fn traps_preserve_registers() on [smp1] {
        let before = traps::BREAKPOINTS.load(Ordering::Relaxed);
        let pattern = [0x0123_4567_89ab_cdef_u64, 0xfedc_ba98_7654_3210];
        let mut general = [0_u64; 8];
        let mut sse = [0_u64; 2];
        // SAFETY: only the named registers change, and the breakpoint handler returns.
        unsafe {
            asm!(
                "movups xmm7, [{pattern}]",
                "mov r8, 8", "mov r9, 9", "mov r10, 10", "mov r11, 11",
                "mov r12, 12", "mov r13, 13", "mov r14, 14", "mov r15, 15",
                "int3",
                "mov [{general} + 0], r8", "mov [{general} + 8], r9",
                "mov [{general} + 16], r10", "mov [{general} + 24], r11",
                "mov [{general} + 32], r12", "mov [{general} + 40], r13",
                "mov [{general} + 48], r14", "mov [{general} + 56], r15",
                "movups [{sse}], xmm7",
                pattern = in(reg) &raw const pattern,
                general = in(reg) &raw mut general,
                sse = in(reg) &raw mut sse,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            );
        }
        assert_eq!(general, [8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(sse, pattern);
        assert_eq!(traps::BREAKPOINTS.load(Ordering::Relaxed), before + 1);
    }
}
