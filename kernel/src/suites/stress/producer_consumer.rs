//! CPUs that only allocate, and CPUs that only free.

use super::remote_free::object;
use super::worker::Worker;

/// CPUs with an even number produce for the one behind them, which consumes. One that is alone does both in
/// turn.
pub(super) fn work(worker: &mut Worker<'_>) {
    let own = worker.cpu();
    let consumer = if own + 1 < worker.cpus() {
        own + 1
    } else {
        own
    };
    let produces = own.is_multiple_of(2);
    while worker.goes_on() {
        if produces && let Some(object) = object(worker) {
            worker.post(consumer, object);
        }
        if !produces || consumer == own {
            worker.collect(own, usize::MAX);
        }
    }
}
