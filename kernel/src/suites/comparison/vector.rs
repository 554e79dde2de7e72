//! A vector that grows, as `Vec` does, in a subject's memory.

use core::alloc::Layout;

use super::subjects::Subject;

/// Numbers in a row.
pub(super) struct Vector<'a, S: Subject> {
    subject: &'a S,
    start: *mut u32,
    length: usize,
    capacity: usize,
}

impl<'a, S: Subject> Vector<'a, S> {
    pub(super) const fn new(subject: &'a S) -> Self {
        Self {
            subject,
            start: core::ptr::null_mut(),
            length: 0,
            capacity: 0,
        }
    }

    /// Appends a number; false if memory ran out.
    pub(super) fn push(&mut self, number: u32) -> bool {
        if self.length == self.capacity && !self.double() {
            return false;
        }
        // SAFETY: below the capacity.
        let place = unsafe { self.start.add(self.length) };
        // SAFETY: inside of the allocation.
        unsafe { place.write(number) };
        self.length += 1;
        true
    }

    #[cold]
    fn double(&mut self) -> bool {
        let capacity = (self.capacity * 2).max(4);
        let Ok(layout) = Layout::array::<u32>(capacity) else {
            return false;
        };
        let start = match self.layout() {
            None => self.subject.alloc(layout),
            // SAFETY: allocated for this layout, and used through the result only.
            Some(old) => unsafe { self.subject.grow(self.start.cast(), old, layout.size()) },
        };
        if start.is_null() {
            return false;
        }
        self.start = start.cast();
        self.capacity = capacity;
        true
    }

    fn layout(&self) -> Option<Layout> {
        let layout = Layout::array::<u32>(self.capacity).ok()?;
        (layout.size() != 0).then_some(layout)
    }

    /// The last number.
    pub(super) fn last(&self) -> Option<u32> {
        let index = self.length.checked_sub(1)?;
        // SAFETY: below the length.
        let place = unsafe { self.start.add(index) };
        // SAFETY: written by `push`.
        Some(unsafe { place.read() })
    }
}

impl<S: Subject> Drop for Vector<'_, S> {
    fn drop(&mut self) {
        if let Some(layout) = self.layout() {
            // SAFETY: allocated for this layout.
            unsafe { self.subject.free(self.start.cast(), layout) };
        }
    }
}
