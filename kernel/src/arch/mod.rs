//! The x86_64 machine: descriptor tables, traps, page tables, CPUs and how they talk.

pub(crate) mod apic;
pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod descriptors;
pub(crate) mod halt;
pub(crate) mod image;
pub(crate) mod masked;
pub(crate) mod percpu;
pub(crate) mod probe;
pub(crate) mod shootdown;
pub(crate) mod smp;
pub(crate) mod space;
pub(crate) mod stack;
pub(crate) mod step;
pub(crate) mod storm;
pub(crate) mod timer;
pub(crate) mod trampoline;
pub(crate) mod translate;
pub(crate) mod traps;
pub(crate) mod work;
