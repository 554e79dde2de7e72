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
    }
}
