//! Access to the physical memory that the tables lie in.

use super::Error;

/// A view of physical memory. Every address in a table is a claim, so the view may refuse: what is
/// no memory, what it cannot reach, what runs past the end of the address space.
pub trait PhysicalMemory {
    /// The `bytes` bytes from the physical address `phys` on, or `None` if not all of them can be
    /// read.
    fn read(&self, phys: u64, bytes: usize) -> Option<&[u8]>;
}

/// Exactly the bytes asked for, or the reason why not.
pub(super) fn read<M>(memory: &M, phys: u64, bytes: usize) -> Result<&[u8], Error>
where
    M: PhysicalMemory + ?Sized,
{
    memory
        .read(phys, bytes)
        // A view that gives more or less than it was asked for is not relied on.
        .filter(|found| found.len() == bytes)
        .ok_or(Error::Unreadable { phys, bytes })
}
