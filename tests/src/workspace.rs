//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

/// The checkout this program was built from.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that cargo is running us from, else the one we were compiled in.
    #[must_use]
    pub fn find() -> Self {
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .filter(|dir| dir.ends_with("tests"))
            .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        Self::at(package.parent().unwrap_or(Path::new("/")))
    }

    /// The workspace with this root.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder with the workspace's `Cargo.toml`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory for the kernel. Its own, because a cargo that runs inside `cargo test` would wait
    /// for the outer one's lock for ever.
    #[must_use]
    pub fn kernel_target_dir(&self) -> PathBuf {
        self.root.join("target/kernel")
    }

    /// Where images and logs are put.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.root.join("target/twinframe")
    }

    /// `path` as it is written from the root, if it lies below it.
    #[must_use]
    pub fn relative<'a>(&self, path: &'a str) -> &'a str {
        Path::new(path)
            .strip_prefix(&self.root)
            .ok()
            .and_then(Path::to_str)
            .unwrap_or(path)
    }
}
