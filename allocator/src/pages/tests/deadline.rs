//! How long tests with threads last, and how long they may.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Beyond what a storm lasts: for slow machines, with sanitizers.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long each storm lasts; `STORM_SECONDS` makes it longer.
pub(crate) fn duration() -> Duration {
    let seconds = std::env::var("STORM_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    seconds.map_or(Duration::from_millis(1500), Duration::from_secs)
}

/// Ends the program if a test with threads does not end: threads that wait for ever would keep it for ever.
pub(crate) struct Deadline {
    _until_gone: Sender<()>,
}

impl Deadline {
    /// For the test that calls this and keeps it.
    pub(crate) fn start() -> Self {
        let (sender, receiver) = channel();
        let test = thread::current();
        thread::spawn(move || {
            if receiver.recv_timeout(duration() + PATIENCE) == Err(RecvTimeoutError::Timeout) {
                std::eprintln!("{} does not end", test.name().unwrap_or_default());
                std::process::abort();
            }
        });
        Self {
            _until_gone: sender,
        }
    }
}
