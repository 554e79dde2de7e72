//! Where the state of every CPU is.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::presence::Presence;
use crate::Platform;

/// Machines of at most this many CPUs have the pointers in the table itself.
const NEAR: usize = 64;

/// What there is one of for every CPU that has called.
///
/// # Safety
///
/// It begins with a [`Presence`].
pub(crate) unsafe trait PerCpu: Sized {
    /// Stands in the table for that of a CPU that has not: [nothing but a presence](Presence::ABSENT).
    const ABSENT: *const Self = Presence::ABSENT.cast();
}

/// A pointer for every CPU, set when the CPU's state is first needed.
pub(crate) struct CpuTable<T> {
    near: [AtomicPtr<T>; NEAR],
    /// For machines of more CPUs: an array in memory that the owner of the table provides.
    far: AtomicPtr<AtomicPtr<T>>,
}

impl<T: PerCpu> CpuTable<T> {
    pub(crate) const fn new() -> Self {
        Self {
            near: [const { AtomicPtr::new(T::ABSENT.cast_mut()) }; NEAR],
            far: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// How many bytes [`install_far`](Self::install_far) needs for a machine of this many CPUs; 0 is
    /// nothing.
    pub(crate) const fn far_bytes(cpus: usize) -> usize {
        if cpus > NEAR {
            cpus * size_of::<AtomicPtr<T>>()
        } else {
            0
        }
    }

    /// Does a machine of so many CPUs need the far array, which is not there yet?
    pub(crate) fn lacks_far(&self, cpus: usize) -> bool {
        cpus > NEAR && self.far.load(Ordering::Acquire).is_null()
    }

    /// Gives the table room for a machine of more CPUs than fit into it. Before any is installed.
    ///
    /// # Safety
    ///
    /// `memory` has `far_bytes(cpus)` bytes, aligned for a pointer, for as long as the
    /// table exists; `cpus` is more than every number that the table is asked for.
    pub(crate) unsafe fn install_far(&self, memory: NonNull<u8>, cpus: usize) {
        let far = memory.cast::<AtomicPtr<T>>();
        for cpu in 0..cpus {
            // SAFETY: there is room for all of them.
            let entry = unsafe { far.add(cpu) };
            // SAFETY: as above, and the memory is the caller's.
            unsafe { entry.write(AtomicPtr::new(T::ABSENT.cast_mut())) };
        }
        self.far.store(far.as_ptr(), Ordering::Release);
    }

    #[inline]
    fn entry(&self, cpu: usize) -> Option<&AtomicPtr<T>> {
        match NonNull::new(self.far.load(Ordering::Acquire)) {
            // SAFETY: `cpu` is less than there is room for.
            Some(far) => Some(unsafe { far_entry(far, cpu) }),
            None => self.near.get(cpu),
        }
    }

    /// The state of a CPU, if it has one already.
    #[inline]
    pub(crate) fn get(&self, cpu: usize) -> Option<&T> {
        Self::present(self.entry(cpu)?.load(Ordering::Acquire))
    }

    #[inline]
    fn present<'a>(state: *const T) -> Option<&'a T> {
        // SAFETY: `install` was promised a value that stays.
        (!core::ptr::eq(state, T::ABSENT)).then(|| unsafe { &*state })
    }

    /// The state of the CPU that runs this code, if it has one already. The caller is pinned.
    #[inline]
    pub(crate) fn own<P: Platform>(&self) -> Option<&T> {
        Self::present(self.own_or_absent::<P>())
    }

    /// As [`own`](Self::own), and [`ABSENT`](PerCpu::ABSENT) where there is none.
    #[inline]
    pub(crate) fn own_or_absent<P: Platform>(&self) -> *const T {
        let cpu = P::cpu_id();
        debug_assert!(cpu < P::MAX_CPUS);
        let entry = if P::MAX_CPUS > NEAR {
            let Some(far) = NonNull::new(self.far.load(Ordering::Acquire)) else {
                return T::ABSENT;
            };
            // SAFETY: `Platform` promises a number below `MAX_CPUS`, for which there is room.
            unsafe { far_entry(far, cpu) }
        } else {
            // SAFETY: as above; here that is below `NEAR`.
            unsafe { self.near.get_unchecked(cpu) }
        };
        entry.load(Ordering::Acquire)
    }

    /// Sets the state of a CPU.
    ///
    /// # Safety
    ///
    /// `state` is valid for shared access for as long as the table exists.
    pub(crate) unsafe fn install(&self, cpu: usize, state: NonNull<T>) {
        if let Some(entry) = self.entry(cpu) {
            entry.store(state.as_ptr(), Ordering::Release);
        }
    }

    /// The CPUs below `cpus` that have a state.
    pub(crate) fn iter(&self, cpus: usize) -> impl Iterator<Item = (usize, &T)> {
        (0..cpus).filter_map(|cpu| Some((cpu, self.get(cpu)?)))
    }
}

/// The entry of a CPU in the far array.
///
/// # Safety
///
/// The array was [installed](CpuTable::install_far), with room for that CPU.
#[inline]
unsafe fn far_entry<'a, T>(far: NonNull<AtomicPtr<T>>, cpu: usize) -> &'a AtomicPtr<T> {
    // SAFETY: the caller says that there is room.
    let entry = unsafe { far.add(cpu) };
    // SAFETY: all of the array was written, and the memory stays.
    unsafe { entry.as_ref() }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[repr(C)]
    struct State {
        presence: Presence,
        number: u32,
    }

    impl State {
        fn new(number: u32) -> Self {
            let presence = Presence::outside();
            Self { presence, number }
        }
    }

    // SAFETY: it does.
    unsafe impl PerCpu for State {}

    #[test]
    fn a_table_serves_cpus_beyond_its_own_room() {
        let table = CpuTable::<State>::new();
        let mut states = [1, 2].map(State::new);
        let [first, second] = &mut states;
        let mut far = [0_usize; 256];
        assert!(!table.lacks_far(64) && table.lacks_far(256));
        assert_eq!(CpuTable::<State>::far_bytes(256), size_of_val(&far));
        assert_eq!(CpuTable::<State>::far_bytes(64), 0);
        assert!(table.get(255).is_none());
        // SAFETY: the arrays outlive the table's use.
        unsafe { table.install_far(NonNull::from(&mut far).cast(), 256) };
        // SAFETY: as above.
        unsafe { table.install(3, NonNull::from(first)) };
        // SAFETY: as above.
        unsafe { table.install(255, NonNull::from(second)) };
        let all = table.iter(256).map(|(cpu, state)| {
            assert!(!state.presence.is_inside());
            (cpu, state.number)
        });
        assert!(all.eq([(3, 1), (255, 2)]));
        assert!(table.get(4).is_none());
    }
}
