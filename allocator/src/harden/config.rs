//! What is checked.

/// What an allocator does beyond its work, so that mistakes of its users show; see
/// [`Platform::HARDENING`](crate::Platform::HARDENING). Each of these is independent of the others.
///
/// Double frees, wrong addresses and frees for a layout of another class are refused without any of
/// them.
///
/// ```
/// use twinframe::Hardening;
///
/// const CHOSEN: Hardening = Hardening {
///     red_zones: true,
///     quarantine: 64 * 1024,
///     ..Hardening::NONE
/// };
/// assert!(!CHOSEN.poison);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardening {
    /// Bytes before and behind every object that its user must not write; checked when the object is
    /// freed, together with the size in its layout. An object takes at least 24 bytes more on 64-bit
    /// machines, and is never resized in place. Not for blocks of pages.
    pub red_zones: bool,
    /// Free objects are filled with a pattern, which is checked when they are handed out again.
    pub poison: bool,
    /// The mark of a free object, a secret word at its beginning, is checked when it is handed out
    /// again. (`poison` does so too.)
    pub check_marks: bool,
    /// New memory is zero: objects, and blocks of pages for a layout.
    pub init_on_alloc: bool,
    /// Freed memory is cleared at once: objects, and blocks of pages for a layout. Where there is
    /// poison too, zero is the pattern.
    pub init_on_free: bool,
    /// Freed objects are not handed out again before so many bytes, or 1,000 objects, were freed
    /// after them; 0 for at once. When memory is short they are.
    pub quarantine: usize,
    /// Objects come out of a slab in an order that cannot be foreseen.
    pub random_order: bool,
    /// Allocations can be made to fail; see
    /// [`GlobalAllocator::fail_allocation`](crate::GlobalAllocator::fail_allocation).
    pub fault_injection: bool,
}

impl Hardening {
    /// Nothing of it.
    pub const NONE: Self = Self {
        red_zones: false,
        poison: false,
        check_marks: false,
        init_on_alloc: false,
        init_on_free: false,
        quarantine: 0,
        random_order: false,
        fault_injection: false,
    };

    /// How large a quarantine is unless told otherwise, in bytes.
    pub const QUARANTINE: usize = 256 * 1024;

    /// What the features of this crate ask for.
    pub const FEATURES: Self = Self {
        red_zones: cfg!(feature = "red_zones"),
        poison: cfg!(feature = "poison"),
        check_marks: cfg!(feature = "check_marks"),
        init_on_alloc: cfg!(feature = "init_on_alloc"),
        init_on_free: cfg!(feature = "init_on_free"),
        quarantine: if cfg!(feature = "quarantine") {
            Self::QUARANTINE
        } else {
            0
        },
        random_order: cfg!(feature = "random_order"),
        fault_injection: cfg!(feature = "fault_injection"),
    };

    /// All of it.
    pub const ALL: Self = Self {
        red_zones: true,
        poison: true,
        check_marks: true,
        init_on_alloc: true,
        init_on_free: true,
        quarantine: Self::QUARANTINE,
        random_order: true,
        fault_injection: true,
    };

    /// Whether free objects keep their marks until somebody has looked at them.
    pub(crate) const fn keeps_marks(self) -> bool {
        self.check_marks || self.poison
    }

    /// What free objects are filled with, if they are.
    pub(crate) const fn fill(self) -> Option<u8> {
        if self.init_on_free {
            Some(0)
        } else if self.poison {
            Some(super::pattern::POISON)
        } else {
            None
        }
    }

    /// Whether an object takes another way than without hardening, at either end of its life.
    pub(crate) const fn touches_objects(self) -> bool {
        self.red_zones
            || self.keeps_marks()
            || self.fill().is_some()
            || self.init_on_alloc
            || self.quarantine != 0
    }
}
