//! The allocators that C and C++ programs use, through their crates.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;

use super::subjects::Objects;

macro_rules! malloc {
    ($name:ident, $text:literal, $global:expr, $give_back:expr) => {
        pub(super) struct $name;

        impl Objects for $name {
            const NAME: &'static str = $text;

            #[inline(never)]
            fn alloc(&self, layout: Layout) -> *mut u8 {
                // SAFETY: no layout here has a size of 0.
                unsafe { $global.alloc(layout) }
            }

            #[inline(never)]
            unsafe fn free(&self, object: *mut u8, layout: Layout) {
                // SAFETY: passed on to the caller.
                unsafe { $global.dealloc(object, layout) };
            }

            fn give_back(&self) {
                $give_back();
            }
        }
    };
}

malloc!(Mimalloc, "mimalloc", mimalloc::MiMalloc, collect);
// It gives back by itself, and its crate has no call for it.
malloc!(Snmalloc, "snmalloc", snmalloc_rs::SnMalloc, || ());
malloc!(Jemalloc, "jemalloc", tikv_jemallocator::Jemalloc, purge);

fn collect() {
    // SAFETY: may be called at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Flushes this thread's cache and has all arenas give their unused pages back, which they would do some seconds later.
fn purge() {
    // `MALLCTL_ARENAS_ALL` stands for all arenas.
    for command in [c"thread.tcache.flush", c"arena.4096.purge"] {
        // SAFETY: these commands take and give no values.
        let status = unsafe {
            tikv_jemalloc_sys::mallctl(command.as_ptr(), null_mut(), null_mut(), null_mut(), 0)
        };
        assert_eq!(status, 0, "jemalloc knows {command:?}");
    }
}
