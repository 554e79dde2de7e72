//! The model checker's atomics, each operation of which an interrupt may precede.
//!
//! A model says at which operation of a thread the interrupt comes, and tries all of them:
//! [`at_every_point`].

use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic as std_atomic;

use core::cell::RefCell;
use core::ops::Deref;

use loom::sync::atomic as loom_atomic;
pub(crate) use loom::sync::atomic::{Ordering, fence};

/// What a handler does.
type Handler = Rc<dyn Fn()>;

loom::thread_local! {
    /// How many operations from now the interrupt of this thread comes, and its handler.
    static PENDING: RefCell<Option<(usize, Handler)>> = RefCell::new(None);
}

/// The interrupt of this thread comes before its operation number `point` from now on.
pub(crate) fn interrupt(point: usize, handler: impl Fn() + 'static) {
    PENDING.with(|pending| *pending.borrow_mut() = Some((point, Rc::new(handler))));
}

/// Takes the interrupt back; `true` if it had not come yet.
pub(crate) fn forget_interrupt() -> bool {
    PENDING.with(|pending| pending.borrow_mut().take().is_some())
}

/// Runs `model` for the first point, the second and so on, until it says, by `false`, that in none of
/// its executions the interrupt came any more. Returns how many points there were.
pub(crate) fn at_every_point(model: impl Fn(usize) -> bool) -> usize {
    (0..)
        .find(|point| !model(*point))
        .expect("no end of points is found late")
}

/// Remembers, over all executions of a model, whether something happened in one of them.
#[derive(Default)]
pub(crate) struct Ever(std::sync::Arc<std_atomic::AtomicBool>);

impl Ever {
    pub(crate) fn happened(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn did(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Ever {
    fn clone(&self) -> Self {
        Self(std::sync::Arc::clone(&self.0))
    }
}

fn point() {
    let due = PENDING.with(|pending| {
        let mut pending = pending.borrow_mut();
        match &mut *pending {
            Some((0, _)) => pending.take(),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    });
    if let Some((_, handler)) = due {
        handler();
    }
}

macro_rules! atomics {
    ($($(#[$attribute:meta])* $name:ident $(<$parameter:ident>)? ($value:ty) $operations:tt)+) => {$(
        $(#[$attribute])*
        #[derive(Debug)]
        pub(crate) struct $name$(<$parameter>)?(loom_atomic::$name$(<$parameter>)?);

        impl$(<$parameter>)? $name$(<$parameter>)? {
            pub(crate) fn new(value: $value) -> Self {
                Self(loom_atomic::$name::new(value))
            }

            atomics! { @ $value, $operations }
        }
    )+};
    (@ $value:ty, [$($operation:ident),*]) => {$(
        atomics! { @@ $value, $operation }
    )*};
    (@@ $value:ty, load) => {
        pub(crate) fn load(&self, order: Ordering) -> $value {
            point();
            self.0.load(order)
        }
    };
    (@@ $value:ty, store) => {
        pub(crate) fn store(&self, value: $value, order: Ordering) {
            point();
            self.0.store(value, order);
        }
    };
    (@@ $value:ty, compare_exchange) => {
        atomics! { @@@ $value, compare_exchange }
    };
    (@@ $value:ty, compare_exchange_weak) => {
        atomics! { @@@ $value, compare_exchange_weak }
    };
    (@@@ $value:ty, $operation:ident) => {
        pub(crate) fn $operation(
            &self,
            current: $value,
            new: $value,
            success: Ordering,
            failure: Ordering,
        ) -> Result<$value, $value> {
            point();
            self.0.$operation(current, new, success, failure)
        }
    };
    (@@ $value:ty, $operation:ident) => {
        pub(crate) fn $operation(&self, value: $value, order: Ordering) -> $value {
            point();
            self.0.$operation(value, order)
        }
    };
}

atomics! {
    AtomicBool(bool) [load, store]
    AtomicPtr<T>(*mut T) [load, store, swap, compare_exchange, compare_exchange_weak]
    AtomicU32(u32) [swap, fetch_add]
    AtomicUsize(usize) [load, store, swap, fetch_or, fetch_and, compare_exchange]
}

/// One that is part of a static value: the checker's are made while a model runs.
pub(crate) struct StaticUsize {
    value: OnceLock<AtomicUsize>,
    first: usize,
}

impl StaticUsize {
    pub(crate) const fn new(first: usize) -> Self {
        Self {
            value: OnceLock::new(),
            first,
        }
    }
}

impl Deref for StaticUsize {
    type Target = AtomicUsize;

    fn deref(&self) -> &AtomicUsize {
        self.value.get_or_init(|| AtomicUsize::new(self.first))
    }
}
