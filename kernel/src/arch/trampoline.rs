//! Where a CPU wakes: real mode, at the start of a page below 1 MiB.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use super::percpu::Cpu;
use super::{smp, translate};

/// The page's number. The memory map keeps it free.
pub(crate) const PAGE: u8 = 1;
/// Its physical address.
pub(crate) const ADDRESS: u64 = PAGE as u64 * 4096;

/// No CPU has this APIC id: nobody may pass.
const NOBODY: u32 = u32::MAX;

// Copied to `ADDRESS` and run there: addresses are written as distances from the start, plus that.
// A CPU that wakes too late, after its deadline, must not run with the next CPU's stack. So there is one
// ticket, with the APIC id of the CPU that is expected: a CPU takes it in one atomic step, or sleeps.
global_asm!(
    r#"
    .pushsection .rodata.trampoline, "a"
    .balign 16
    .set HERE, {address}
    .code16
trampoline_start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt_pointer - trampoline_start + HERE
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $8, $(2f - trampoline_start + HERE)

    .code32
2:  movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    # Own APIC id: the x2APIC one (leaf 0xb, edx) where there is such a leaf, else leaf 1.
    xorl %eax, %eax
    cpuid
    cmpl $0xb, %eax
    jb 3f
    movl $0xb, %eax
    xorl %ecx, %ecx
    cpuid
    testw %bx, %bx                  # no logical processors at this level: no such leaf
    jz 3f
    jmp 4f
3:  movl $1, %eax
    cpuid
    shrl $24, %ebx
    movl %ebx, %edx
4:  movl %edx, %eax
    movl ${nobody}, %ecx
    lock cmpxchgl %ecx, trampoline_ticket - trampoline_start + HERE
    je 6f
5:  hlt
    jmp 5b
6:  movl $0x620, %eax               # CR4: PAE, SSE
    movl %eax, %cr4
    movl trampoline_bridge - trampoline_start + HERE, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          # EFER: long mode, no-execute
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010023, %eax          # CR0: paging, write protect, numeric error, SSE, protection
    movl %eax, %cr0
    ljmpl $24, $(7f - trampoline_start + HERE)

    .code64
7:  movq trampoline_stack - trampoline_start + HERE, %rsp
    movq trampoline_cpu - trampoline_start + HERE, %rdi
    movq trampoline_kernel - trampoline_start + HERE, %rax
    movabsq $trampoline_high, %rcx
    jmp *%rcx

    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9a000000ffff        # 32-bit code
    .quad 0x00cf92000000ffff        # data
    .quad 0x00209a0000000000        # 64-bit code
trampoline_gdt_pointer:
    .word . - trampoline_gdt - 1
    .long trampoline_gdt - trampoline_start + HERE
    .balign 8
trampoline_bridge: .quad 0
trampoline_kernel: .quad 0
trampoline_stack:  .quad 0
trampoline_cpu:    .quad 0
trampoline_ticket: .long {nobody}
trampoline_end:
    .popsection

    # At its link address again: the low pages go away with the bridge's tables.
    .pushsection .text.trampoline, "ax"
trampoline_high:
    movq %rax, %cr3
    xorl %ebp, %ebp
    fninit
    call {enter}
    ud2
    .popsection
    "#,
    address = const ADDRESS,
    nobody = const NOBODY,
    enter = sym smp::enter,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_bridge: u8;
    static trampoline_kernel: u8;
    static trampoline_stack: u8;
    static trampoline_cpu: u8;
    static trampoline_ticket: u8;
}

/// What one CPU needs to get from real mode to its own stack.
pub(super) struct Start {
    pub(super) apic_id: u32,
    /// Physical address of page tables below 4 GiB that map the trampoline one to one.
    pub(super) bridge: u64,
    /// Physical address of the kernel's page tables.
    pub(super) kernel: u64,
    /// The end of its stack.
    pub(super) stack: u64,
    pub(super) cpu: &'static Cpu,
}

fn place(label: *const u8) -> usize {
    let start = (&raw const trampoline_start).addr();
    translate::phys_to_virt(ADDRESS) + (label.addr() - start)
}

fn ticket() -> &'static AtomicU32 {
    let address = place(&raw const trampoline_ticket) as *const AtomicU32;
    // SAFETY: inside the installed page, aligned to 8, and only ever reached as an atomic.
    unsafe { &*address }
}

/// Copies the code to its page.
pub(super) fn install() {
    let start = &raw const trampoline_start;
    let length = (&raw const trampoline_end).addr() - start.addr();
    assert!(length <= 4096, "the trampoline fits into its page");
    // SAFETY: the memory map keeps this page free for it.
    unsafe { (place(start) as *mut u8).copy_from_nonoverlapping(start, length) };
}

/// Lets one CPU pass, with what it needs.
pub(super) fn prepare(start: &Start) {
    let values = [
        (&raw const trampoline_bridge, start.bridge),
        (&raw const trampoline_kernel, start.kernel),
        (&raw const trampoline_stack, start.stack),
        (
            &raw const trampoline_cpu,
            core::ptr::from_ref(start.cpu) as u64,
        ),
    ];
    for (label, value) in values {
        // SAFETY: inside the installed page, aligned to 8; no CPU may pass yet.
        unsafe { (place(label) as *mut u64).write_volatile(value) };
    }
    fence(Ordering::SeqCst);
    ticket().store(start.apic_id, Ordering::Release);
}

/// Takes the ticket of this CPU back, unless the CPU has it: then it is on its way, or was. True if it
/// never will be.
pub(super) fn withdraw(apic_id: u32) -> bool {
    ticket()
        .compare_exchange(apic_id, NOBODY, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}
