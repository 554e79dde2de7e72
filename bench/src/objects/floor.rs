//! The least that can be done: popping and pushing arrays of addresses.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ptr::null_mut;

use super::subjects::Objects;
use crate::memory::Memory;

/// Objects that each class has.
const OBJECTS: usize = 12_000;

/// The powers of two from 8 to 2048.
const CLASSES: usize = 9;

/// For every size in units of 8 bytes, rounded up: its class.
static CLASS_OF: [u8; 2048 / 8 + 1] = {
    let mut table = [0; 2048 / 8 + 1];
    let mut class = 0;
    let mut units = 1;
    while units < table.len() {
        if units > 1 << class {
            class += 1;
        }
        table[units] = class;
        units += 1;
    }
    table
};

pub(super) struct Floor {
    stacks: UnsafeCell<[Stack; CLASSES]>,
}

struct Stack {
    len: usize,
    objects: Box<[*mut u8; OBJECTS]>,
}

impl Floor {
    pub(super) fn new(memory: Memory) -> Self {
        let mut next = 0;
        Self {
            stacks: UnsafeCell::new(std::array::from_fn(|class| {
                let mut cut = |_| {
                    let object = memory.part(next, 8 << class);
                    next += 8 << class;
                    object.region().cast::<u8>().as_ptr()
                };
                // The first one that is popped is the first one in memory.
                let mut objects = Box::new(std::array::from_fn(&mut cut));
                objects.reverse();
                let len = OBJECTS;
                Stack { len, objects }
            })),
        }
    }
}

fn class(layout: Layout) -> usize {
    usize::from(CLASS_OF[layout.size().div_ceil(8)])
}

impl Objects for Floor {
    const NAME: &'static str = "floor";

    #[inline(never)]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: this type is not `Sync`, and the reference does not leave the call.
        let stacks = unsafe { &mut *self.stacks.get() };
        let stack = &mut stacks[class(layout)];
        if stack.len == 0 {
            return null_mut();
        }
        stack.len -= 1;
        stack.objects[stack.len]
    }

    #[inline(never)]
    unsafe fn free(&self, object: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        let stacks = unsafe { &mut *self.stacks.get() };
        let stack = &mut stacks[class(layout)];
        if stack.len < OBJECTS {
            stack.objects[stack.len] = object;
            stack.len += 1;
        }
    }
}
