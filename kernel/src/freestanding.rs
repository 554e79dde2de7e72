//! The memory functions that compiled code calls, for a target whose `core` expects a C library.
//!
//! `x86_64-unknown-none` brings its own. Written as string instructions, because a loop here could
//! be compiled into a call of the very function it implements. They go by words: an emulator, and a processor
//! without fast string operations, does them one element at a time.

use core::arch::asm;
use core::ffi::{c_char, c_int, c_void};

/// # Safety
///
/// As C's `memcpy`: `n` bytes readable at `from`, writable at `to`, not overlapping.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut c_void, from: *const c_void, n: usize) -> *mut c_void {
    // SAFETY: as the caller promises; the direction flag is clear, as the ABI has it.
    unsafe {
        asm!(
            "rep movsq",
            "mov ecx, {tail:e}",
            "rep movsb",
            tail = in(reg) n % 8,
            inout("rcx") n / 8 => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
    to
}

/// # Safety
///
/// As C's `memmove`: `n` bytes readable at `from` and writable at `to`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut c_void, from: *const c_void, n: usize) -> *mut c_void {
    if to.addr().wrapping_sub(from.addr()) >= n {
        // SAFETY: `to` is not inside the source, so copying upwards reads every byte first.
        return unsafe { memcpy(to, from, n) };
    }
    let last = n.wrapping_sub(1);
    // SAFETY: as the caller promises; downwards, so that no element is written before it was read, and
    // the direction flag is cleared again. Behind the odd bytes, the pointers are at the last byte of the
    // words.
    unsafe {
        asm!(
            "std",
            "rep movsb",
            "mov rcx, {words}",
            "sub rdi, 7",
            "sub rsi, 7",
            "rep movsq",
            "cld",
            words = in(reg) n / 8,
            inout("rcx") n % 8 => _,
            inout("rdi") to.wrapping_byte_add(last) => _,
            inout("rsi") from.wrapping_byte_add(last) => _,
            options(nostack)
        );
    }
    to
}

/// # Safety
///
/// As C's `memset`: `n` bytes writable at `to`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut c_void, value: c_int, n: usize) -> *mut c_void {
    // C takes the low byte.
    let pattern = u64::from(value.to_le_bytes()[0]) * 0x0101_0101_0101_0101;
    // SAFETY: as the caller promises.
    unsafe {
        asm!(
            "rep stosq",
            "mov ecx, {tail:e}",
            "rep stosb",
            tail = in(reg) n % 8,
            inout("rcx") n / 8 => _, inout("rdi") to => _, in("rax") pattern,
            options(nostack, preserves_flags)
        );
    }
    to
}

/// # Safety
///
/// As C's `memcmp`: `n` bytes readable at `a` and at `b`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const c_void, b: *const c_void, n: usize) -> c_int {
    let (left, right): (u32, u32);
    // SAFETY: as the caller promises; with `n` = 0 nothing is read and the result is 0.
    unsafe {
        asm!(
            "xor {left:e}, {left:e}",
            "xor {right:e}, {right:e}",
            "test rcx, rcx",
            "jz 2f",
            "repe cmpsb",
            "movzx {left:e}, byte ptr [rsi - 1]",
            "movzx {right:e}, byte ptr [rdi - 1]",
            "2:",
            left = out(reg) left, right = out(reg) right,
            inout("rcx") n => _, inout("rsi") a => _, inout("rdi") b => _,
            options(nostack, readonly)
        );
    }
    left.cast_signed() - right.cast_signed()
}

/// # Safety
///
/// As [`memcmp`]; only zero or not zero means something.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const c_void, b: *const c_void, n: usize) -> c_int {
    // SAFETY: the same duties.
    unsafe { memcmp(a, b, n) }
}

/// # Safety
///
/// As C's `strlen`: `text` points to bytes that end with a zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let end: *const c_char;
    // SAFETY: as the caller promises; the scan stops at the zero.
    unsafe {
        asm!(
            "repne scasb",
            inout("rcx") usize::MAX => _, inout("rdi") text => end, in("al") 0u8,
            options(nostack, readonly)
        );
    }
    end.addr() - text.addr() - 1
}
