//! The first instructions: 32-bit protected mode to 64-bit Rust.
//!
//! Labels are link addresses in the top 2 GiB; before paging is on, everything is reached at
//! `label - KERNEL_BASE`, which is where the linker script loads it.

use core::arch::global_asm;

/// Virtual minus physical address of the kernel image under PVH. The linker script has the same
/// number, and refuses to link with another one.
pub(super) const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;

/// How much of physical memory, from 0, the boot page tables map one to one.
pub(super) const IDENTITY_MAPPED: u64 = 1 << 32;

// The state at the PVH entry: protected mode without paging, flat segments, interrupts off,
// `ebx` = physical address of the start info (Xen, "x86/HVM direct boot ABI").
global_asm!(
    r#"
    .set BASE, {base}
    # For the linker script, which compares it with its own.
    .globl pvh_kernel_base
    .set pvh_kernel_base, BASE

    # The note that makes a file a PVH kernel: name "Xen", type 18 (XEN_ELFNOTE_PHYS32_ENTRY).
    .pushsection .note.Xen, "a", @note
    .balign 4
    .long 4
    .long 8
    .long 18
    .asciz "Xen"
    .quad pvh_entry - BASE
    .popsection

    .pushsection .text.pvh_entry, "ax"
    .code32
    .global pvh_entry
pvh_entry:
    cli
    cld

    # Boot page tables, zeroed by the loader as part of .bss:
    #   +0x0000 level 4, +0x1000 level 3 low, +0x2000 level 3 high, +0x3000 four times level 2.
    # The low 4 GiB one to one, the first GiB of it again at BASE, in pages of 2 MiB.
    movl $(boot_tables - BASE), %edi
    leal 0x1003(%edi), %eax
    movl %eax, (%edi)
    leal 0x2003(%edi), %eax
    movl %eax, 511*8(%edi)
    leal 0x3003(%edi), %eax
    movl %eax, 0x2000 + 510*8(%edi)
    movl %eax, 0x1000(%edi)
    addl $0x1000, %eax
    movl %eax, 0x1008(%edi)
    addl $0x1000, %eax
    movl %eax, 0x1010(%edi)
    addl $0x1000, %eax
    movl %eax, 0x1018(%edi)
    movl $0x83, %eax                # present, writable, 2 MiB
    xorl %ecx, %ecx
1:  movl %eax, 0x3000(%edi,%ecx,8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jne 1b
    movl %edi, %cr3

    movl $0x20, %eax                # CR4: PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx          # EFER: long mode, no-execute
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010021, %eax          # CR0: paging, write protect, numeric error, protection
    movl %eax, %cr0
    lgdt boot_gdt_low - BASE
    ljmp $8, $(2f - BASE)

    .code64
2:  movabsq $3f, %rax
    jmp *%rax
3:  lgdt boot_gdt_high(%rip)
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    leaq boot_stack_top(%rip), %rsp
    xorl %ebp, %ebp
    call enable_sse
    movl %ebx, %edi
    call pvh_start
    ud2

    # rax is clobbered. Compiled code, `core` included, may use SSE anywhere; a loader may leave
    # it off (Intel SDM volume 3, section 14.1.3).
enable_sse:
    movq %cr0, %rax
    andq $~0x4, %rax                # no emulation
    orq $0x2, %rax                  # monitor coprocessor
    movq %rax, %cr0
    movq %cr4, %rax
    orq $0x600, %rax                # OSFXSR, OSXMMEXCPT
    movq %rax, %cr4
    fninit
    ret

    # The ELF entry point, where every loader arrives: rdi = &mut BootInfo, paging on.
    .global kernel_entry
kernel_entry:
    xorl %ebp, %ebp                 # the end of the chain of frames
    call enable_sse
    jmp _start
    .popsection

    .pushsection .rodata.pvh_entry, "a"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00209a0000000000        # 64-bit code, ring 0
boot_gdt_end:
boot_gdt_low:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt - BASE
boot_gdt_high:
    .word boot_gdt_end - boot_gdt - 1
    .quad boot_gdt
    .popsection

    .pushsection .bss.pvh_entry, "aw", @nobits
    .balign 4096
    # Below the stack is whatever .bss has there; the tables are above, out of an overflow's way.
    .skip 0x4000
boot_stack_top:
boot_tables:
    .skip 0x7000
    .popsection
    "#,
    base = const KERNEL_BASE,
    options(att_syntax)
);
