//! What comes from COM1.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Context, Problem, Result};

/// How much of COM1 is kept in memory; the log has it all.
const SERIAL_TAIL: usize = 64 << 10;

/// COM1: into the file, onto the screen if wanted, and its end into memory.
pub(crate) struct SerialLog {
    file: File,
    path: PathBuf,
    is_shown: bool,
    tail: Vec<u8>,
}

impl SerialLog {
    pub(crate) fn create(path: &Path, is_shown: bool) -> Result<Self> {
        let path = path.to_owned();
        let file = File::create(&path).map_err(|error| Problem::writing(&path, &error))?;
        Ok(Self {
            file,
            path,
            is_shown,
            tail: Vec::new(),
        })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_shown {
            let mut screen = io::stdout().lock();
            screen
                .write_all(bytes)
                .and_then(|()| screen.flush())
                .context("cannot write to standard output")?;
        }
        self.file
            .write_all(bytes)
            .map_err(|error| Problem::writing(&self.path, &error))?;
        self.tail.extend(bytes);
        if self.tail.len() > 2 * SERIAL_TAIL {
            self.tail.drain(..self.tail.len() - SERIAL_TAIL);
        }
        Ok(())
    }

    /// The end of what came; empty only if nothing came.
    pub(crate) fn into_tail(self) -> Vec<u8> {
        self.tail
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;

    use super::*;

    #[test]
    fn the_file_has_it_all_and_memory_the_end() {
        let path = env::temp_dir().join(format!("twinframe-serial-{}", std::process::id()));
        let mut log = SerialLog::create(&path, false).unwrap();
        let mut sent = Vec::new();
        for number in 0..40_000_u32 {
            let line = format!("line {number}\n");
            log.append(line.as_bytes()).unwrap();
            sent.extend(line.bytes());
        }
        assert!(fs::read(&path).unwrap() == sent);
        fs::remove_file(&path).unwrap();
        let tail = log.into_tail();
        assert!(tail.len() >= SERIAL_TAIL && tail.len() <= 2 * SERIAL_TAIL);
        assert!(sent.ends_with(&tail));
    }
}
