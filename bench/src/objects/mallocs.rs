//! The allocators that C and C++ programs use, through their crates.

use std::alloc::{GlobalAlloc, Layout};

use super::subjects::Objects;

macro_rules! malloc {
    ($name:ident, $text:literal, $global:expr) => {
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
        }
    };
}

malloc!(Mimalloc, "mimalloc", mimalloc::MiMalloc);
malloc!(Snmalloc, "snmalloc", snmalloc_rs::SnMalloc);
malloc!(Jemalloc, "jemalloc", tikv_jemallocator::Jemalloc);
