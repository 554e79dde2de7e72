//! Something the user has to know about and can do something about.

use std::fmt;
use std::io;
use std::path::Path;

/// A sentence for the user: what is wrong and, where it can be said, what to do.
#[derive(Debug)]
pub struct Problem(String);

/// What everything here returns that can go wrong for reasons outside the kernel.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    /// A problem in the given words.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// `path` cannot be written.
    #[must_use]
    pub fn writing(path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; make room there and try again"
            }
            _ => "",
        };
        Self(format!("cannot write {}: {error}{advice}", path.display()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

/// Says what was being done when an error came up.
pub trait Context<T> {
    /// Turns the error into a [`Problem`] that begins with `doing`.
    ///
    /// # Errors
    ///
    /// The same as before, with words in front.
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Problem(format!("{doing}: {error}")))
    }
}
