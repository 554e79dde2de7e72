//! Standard output, which may be closed or full.

use std::fmt;
use std::io::{self, Write};

use twinframe_tests::{Context, Result};

/// Prints, and says so if it cannot.
pub(crate) fn say(what: fmt::Arguments<'_>) -> Result<()> {
    let mut screen = io::stdout().lock();
    screen
        .write_fmt(what)
        .and_then(|()| screen.flush())
        .context("cannot write to standard output")
}
