//! A list of blocks that needs no memory beside theirs.

use core::ptr;

use crate::suites::free_pages;

/// Blocks, linked through their own first words.
pub(super) struct Chain {
    head: *mut Link,
    length: usize,
}

struct Link {
    next: *mut Link,
    size: usize,
}

impl Chain {
    pub(super) const fn new() -> Self {
        Self {
            head: ptr::null_mut(),
            length: 0,
        }
    }

    /// Takes a block of `size` bytes.
    ///
    /// # Safety
    ///
    /// `block` is `size` bytes of unused memory, large enough and aligned for a link.
    pub(super) unsafe fn push(&mut self, block: *mut u8, size: usize) {
        let link = block.cast::<Link>();
        let next = self.head;
        // SAFETY: as the caller promises.
        unsafe { link.write(Link { next, size }) };
        self.head = link;
        self.length += 1;
    }

    /// Takes the newest block off, with its size.
    pub(super) fn pop(&mut self) -> Option<(*mut u8, usize)> {
        if self.head.is_null() {
            return None;
        }
        let block = self.head.cast::<u8>();
        // SAFETY: `push` wrote a link there, and the block is still ours.
        let Link { next, size } = unsafe { self.head.read() };
        self.head = next;
        self.length -= 1;
        Some((block, size))
    }

    /// Number of blocks.
    pub(super) const fn len(&self) -> usize {
        self.length
    }

    /// Frees all blocks, which are pages.
    pub(super) fn give_back(&mut self) {
        while let Some((block, size)) = self.pop() {
            free_pages(block.addr(), size / 4096).expect("a block of the chain");
        }
    }
}
