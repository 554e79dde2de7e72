//! What a class reports about itself.

/// The state of one size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ClassStats {
    /// Objects handed out and not yet given back.
    pub live: usize,
    /// Objects that all slabs together hold.
    pub objects: usize,
    /// Slabs.
    pub slabs: usize,
    /// Slabs with free objects and live ones.
    pub partial: usize,
    /// Slabs without a free object.
    pub full: usize,
    /// Slabs kept although all their objects are free.
    pub empty: usize,
    /// Objects taken out of slabs since the beginning.
    pub allocations: u64,
    /// Objects brought back to slabs since the beginning.
    pub frees: u64,
    /// Those of them that other CPUs brought.
    pub remote_frees: u64,
}

/// What one CPU has of a size class, and what it did since its first call.
///
/// The counts cost an allocation or a free nothing of their own. They wrap around with `usize`; where
/// that has 32 bits, [`allocations`](Self::allocations) and [`frees`](Self::frees) do so each 2^24
/// allocations that one magazine serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CpuClassStats {
    /// Objects out of this CPU's slabs: in use, or free in a cache of any CPU.
    pub active: usize,
    /// Objects that this CPU's slabs hold.
    pub objects: usize,
    /// This CPU's slabs.
    pub slabs: usize,
    /// Those with free objects and others.
    pub partial: usize,
    /// Those without a free object.
    pub full: usize,
    /// Those kept although all their objects are free.
    pub empty: usize,
    /// Free objects in this CPU's magazine and behind it, whoever's slabs they are from.
    pub cached: usize,
    /// Allocations that were made on this CPU.
    pub allocations: usize,
    /// Frees that were made on this CPU.
    pub frees: usize,
    /// Objects that this CPU brought back to its slabs itself.
    pub local_frees: u64,
    /// Objects of this CPU's slabs that other CPUs brought back.
    pub remote_frees: u64,
    /// Batches that this CPU's magazine received.
    pub refills: usize,
    /// Batches that left this CPU's magazine.
    pub drains: usize,
}

impl ClassStats {
    /// Adds what another owner of slabs has of the class.
    pub(in crate::objects) fn add(&mut self, other: &Self) {
        self.live += other.live;
        self.objects += other.objects;
        self.slabs += other.slabs;
        self.partial += other.partial;
        self.full += other.full;
        self.empty += other.empty;
        self.allocations += other.allocations;
        self.frees += other.frees;
        self.remote_frees += other.remote_frees;
    }
}
