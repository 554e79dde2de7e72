//! One run at a time in a folder of output: two would write the same files.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use crate::{Context, Problem, Result};

/// The file that is locked, and that says whose the folder is.
const FILE: &str = "run.lock";

/// A folder of output that nobody else writes to as long as this lives.
#[derive(Debug)]
pub struct Claim(File);

impl Claim {
    /// Claims `folder`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// Another run has it, or there can be no such folder.
    pub fn take(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).context(format_args!("cannot create {}", folder.display()))?;
        let path = folder.join(FILE);
        // Not truncated: until it is locked, it is another run's.
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| Problem::writing(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(folder, &path)),
            // There are file systems without locks. Two runs at once are rare; that none could be had were worse.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(Problem::new(format!(
                    "cannot lock {}: {error}",
                    path.display()
                )));
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| Problem::writing(&path, &error))?;
        Ok(Self(file))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Closing it is not enough at once: a child that is just being started may have it open still. An
        // error leaves it at that.
        let _ = self.0.unlock();
    }
}

fn taken(folder: &Path, path: &Path) -> Problem {
    let owner = fs::read_to_string(path).unwrap_or_default();
    let owner = match owner.trim().parse::<u32>() {
        Ok(process) => format!("another run (process {process})"),
        Err(_) => "another run".into(),
    };
    Problem::new(format!(
        "{owner} uses {}; wait until it has ended, or end it",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_runs_at_a_time() {
        let process = std::process::id();
        let folder = std::env::temp_dir().join(format!("twinframe-claim-{process}"));
        let first = Claim::take(&folder).unwrap();
        let why = Claim::take(&folder).unwrap_err().to_string();
        let expected = format!(
            "another run (process {process}) uses {}; wait until it has ended, or end it",
            folder.display()
        );
        assert_eq!(why, expected);
        // What an earlier run left there is no obstacle.
        drop(first);
        drop(Claim::take(&folder).unwrap());
        fs::remove_dir_all(&folder).unwrap();
    }
}
