//! The one place that decides which target the kernel is built for.
//!
//! `x86_64-unknown-none` is the natural one. A toolchain that came without its `core` (a distribution's, or rustup
//! without the network) still has the host's: then the kernel is built for `x86_64-unknown-linux-gnu`, as a
//! freestanding ELF all the same. The kernel's own build script supplies the linker's arguments in both cases.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use crate::{Context, Problem, Result, Workspace};

/// A target that the kernel can be built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `x86_64-unknown-none`: no SSE, no red zone.
    Bare,
    /// `x86_64-unknown-linux-gnu`, freestanding: `core` uses SSE and the red zone.
    Hosted,
}

/// Set to a triple to overrule the choice, so that both ways can be tested on one machine.
const OVERRIDE: &str = "TWINFRAME_TARGET";

impl Target {
    /// The triple, as rustc writes it.
    #[must_use]
    pub fn triple(self) -> &'static str {
        match self {
            Self::Bare => "x86_64-unknown-none",
            Self::Hosted => "x86_64-unknown-linux-gnu",
        }
    }

    /// Compiler flags for the kernel and everything in it. Frame pointers make backtraces possible without unwind
    /// tables; without a relocation model of its own, the bare target would make a position-independent executable.
    #[must_use]
    pub fn rustflags(self) -> &'static [&'static str] {
        match self {
            Self::Bare => &["-Cforce-frame-pointers=yes", "-Crelocation-model=static"],
            Self::Hosted => &["-Cforce-frame-pointers=yes"],
        }
    }

    /// Chooses by what the toolchain of this workspace has.
    ///
    /// # Errors
    ///
    /// There is no rustc, or its toolchain has `core` for neither target.
    pub fn choose(workspace: &Workspace) -> Result<Self> {
        let known = [Self::Bare, Self::Hosted];
        if let Some(triple) = env::var(OVERRIDE).ok().filter(|triple| !triple.is_empty()) {
            return known
                .into_iter()
                .find(|target| target.triple() == triple)
                .ok_or_else(|| {
                    Problem::new(format!(
                        "{OVERRIDE}={triple}: the kernel is built for {} or {}",
                        known[0].triple(),
                        known[1].triple()
                    ))
                });
        }
        for target in known {
            if has_core(workspace, target.triple())? {
                return Ok(target);
            }
        }
        Err(Problem::new(
            "this Rust toolchain cannot build the kernel: run `rustup target add x86_64-unknown-none`",
        ))
    }
}

/// Whether the toolchain has a compiled `core` for `triple`.
fn has_core(workspace: &Workspace, triple: &str) -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", triple])
        .current_dir(workspace.root())
        .output()
        .context(format_args!("cannot run {}", rustc.display()))?;
    let libdir = String::from_utf8_lossy(&output.stdout);
    let Ok(entries) = fs::read_dir(libdir.trim()) else {
        return Ok(false);
    };
    Ok(entries
        .flatten()
        .any(|entry| is_libcore(&entry.file_name())))
}

fn is_libcore(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("libcore-") && name.ends_with(".rlib")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_core_and_nonsense_has_not() {
        let workspace = Workspace::find();
        let host = cfg!(all(
            target_arch = "x86_64",
            target_os = "linux",
            target_env = "gnu"
        ));
        assert!(!host || has_core(&workspace, "x86_64-unknown-linux-gnu").unwrap());
        assert!(!has_core(&workspace, "pdp11-unknown-none").unwrap());
    }

    #[test]
    fn libcore_is_told_from_its_neighbours() {
        assert!(is_libcore(OsStr::new("libcore-8d61b92a0a02c53a.rlib")));
        assert!(!is_libcore(OsStr::new("liballoc-8d61b92a0a02c53a.rlib")));
        assert!(!is_libcore(OsStr::new("libcore-8d61b92a0a02c53a.rmeta")));
    }
}
