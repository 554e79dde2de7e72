//! How much stack calls take in a handler: those of interrupts are small.

use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

use super::{Cpu, Host, MIB, Memory};
use crate::{AllocError, GlobalAllocator};

/// The most that a call may take.
const MOST: usize = 6 << 10;

/// What nobody has written to.
const BLANK: u8 = 0xa5;

static GLOBAL: GlobalAllocator<Host> = GlobalAllocator::new();

/// Where the stack of the handler was when it began.
static BEGIN: AtomicUsize = AtomicUsize::new(0);

/// A CPU's first calls.
extern "C" fn handler(_: libc::c_int) {
    let here = 0_u8;
    BEGIN.store((&raw const *black_box(&here)).addr(), Ordering::Relaxed);
    let layout = Layout::new::<[u64; 9]>();
    let object = GLOBAL.alloc(layout).unwrap();
    // SAFETY: allocated just now, and not used.
    unsafe { GLOBAL.dealloc(object, layout) }.unwrap();
    let pages = GLOBAL.alloc_pages(4, 0).unwrap();
    // SAFETY: as above.
    unsafe { GLOBAL.dealloc_pages(pages, 4) }.unwrap();
    // More than there is: everything is drained before that is refused.
    assert_eq!(GLOBAL.alloc_pages(1 << 14, 0), Err(AllocError::NoMemory));
    GLOBAL.drain();
}

/// The states of a CPU, of some kilobytes each, were made on the stack and copied from there.
#[test]
fn a_cpu_begins_with_little_stack() {
    let memory = core::mem::ManuallyDrop::new(Memory::new(16 * MIB));
    // SAFETY: the memory is never unmapped, and nobody else's.
    let region = unsafe { memory.whole().as_mut() };
    // SAFETY: as above.
    unsafe { GLOBAL.init(region) }.unwrap();
    Cpu::set(3);
    let mut area: Vec<u8> = std::vec![BLANK; 256 << 10];
    let stack = libc::stack_t {
        ss_sp: area.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: area.len(),
    };
    // SAFETY: zeroes are a valid value of it.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_ONSTACK;
    let mut before = stack;
    // SAFETY: the area is as long as it says, and stays until it is given up.
    let set = unsafe { libc::sigaltstack(&raw const stack, &raw mut before) };
    assert_eq!(set, 0);
    // SAFETY: no other test uses the signal, and its handler calls nothing but the allocator.
    let set = unsafe { libc::sigaction(libc::SIGWINCH, &raw const action, null_mut()) };
    assert_eq!(set, 0);
    // SAFETY: it has the handler that was just set.
    assert_eq!(unsafe { libc::raise(libc::SIGWINCH) }, 0);
    // SAFETY: the handler is over, and the stack of before is there.
    let restored = unsafe { libc::sigaltstack(&raw const before, null_mut()) };
    assert_eq!(restored, 0);
    let end = area.as_ptr().addr() + area.iter().position(|byte| *byte != BLANK).unwrap();
    let taken = BEGIN.load(Ordering::Relaxed) - end;
    std::println!("{taken} bytes of stack");
    assert!(taken <= MOST, "{taken} bytes of stack");
    assert_eq!(GLOBAL.validate(), Ok(()));
}
