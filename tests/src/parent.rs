//! Processes that do not outlive the one that started them, however that ends.

use std::io;
use std::process::Command;

#[cfg(target_os = "linux")]
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Set where a program in between, as cargo is, is tied to whoever started *that*.
const TIED: &str = "TWINFRAME_TIED";

/// What a child is to do between fork and exec, so that it dies with the thread that starts it. It allocates nothing, and
/// makes async-signal-safe calls only.
pub(crate) fn ties_child() -> impl Fn() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    let us = getpid();
    move || {
        #[cfg(target_os = "linux")]
        {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // We may have died before that call: then nobody is left to tell.
            if getppid() != Some(us) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok(())
    }
}

/// Has the command's process die with the thread that starts it, and any program that this one starts and that
/// [asks](tie_if_asked) with that.
pub fn tie(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    command.env(TIED, "1");
    // SAFETY: the closure does only what is allowed between fork and exec, and its errors are plain numbers.
    unsafe { command.pre_exec(ties_child()) };
}

/// Has this process die with the one that started it, if that, or one before, was [tied](tie).
pub fn tie_if_asked() {
    #[cfg(target_os = "linux")]
    if std::env::var_os(TIED).is_some() {
        // It can fail only for a number that is no signal.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::thread;

    use super::*;

    #[test]
    fn a_tied_child_dies_with_the_thread_that_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            command.arg("60");
            tie(&mut command);
            command.spawn()
        };
        let mut child = thread::spawn(start).join().unwrap().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    }
}
