//! Words that only one context uses at a time, as a block.

use core::sync::atomic::AtomicUsize;

/// Writes values to the first of the words.
///
/// # Panics
///
/// If there are fewer words than values.
///
/// # Safety
///
/// Nobody else uses these words meanwhile.
#[inline]
pub(super) unsafe fn copy_in(values: &[usize], words: &[AtomicUsize]) {
    let words = &words[..values.len()];
    let start = words.as_ptr().cast::<usize>().cast_mut();
    // SAFETY: there are that many words, which may be written through a shared reference as they are
    // atomic; nobody else uses them.
    unsafe { start.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
}

/// The words as plain values.
///
/// # Safety
///
/// Nobody writes these words as long as the result is used.
#[inline]
pub(super) unsafe fn plain(words: &[AtomicUsize]) -> &[usize] {
    // SAFETY: an atomic word has the layout of a plain one, and nobody writes them.
    unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
}

/// Lets the processor fetch the first word of an object that will be written soon, where there is an instruction
/// for that: what comes from a cache of addresses was last used long ago. Not a use of the object.
#[inline]
pub(super) fn expect_write(object: usize) {
    // Not `_mm_prefetch`: that becomes a call where SSE is off, as in most kernels, and fetches for reading.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address has no effect that a program could see. (Processors for 64 bits that do not
    // know it do nothing: AMD, "Architecture Programmer's Manual", volume 3, and Intel's, volume 2.)
    unsafe {
        core::arch::asm!(
            "prefetchw [{}]",
            in(reg) object,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = object;
}
