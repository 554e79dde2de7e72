//! Building the kernel with a cargo of its own.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::parent;
use crate::target::Target;
use crate::{Context, Problem, Result, Workspace, strip};

/// Cargo's profile, as far as the kernel has a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Debug assertions on, hardly optimised.
    Debug,
    /// What `make run` boots.
    Release,
}

impl Profile {
    /// The name of cargo's folder for it, and the kernel's own word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// A kernel that has been built.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The ELF that boots: the same segments, no debug sections (a loader keeps the whole file in memory).
    pub image: PathBuf,
    /// The ELF as it was linked, with line tables.
    pub symbols: PathBuf,
}

impl Kernel {
    /// Builds the kernel; cargo's own output goes to standard error, as cargo writes it.
    ///
    /// # Errors
    ///
    /// No toolchain for it, a kernel that does not compile, or an image that cannot be written.
    pub fn build(workspace: &Workspace, profile: Profile) -> Result<Self> {
        let target = Target::choose(workspace)?;
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args([
                "build",
                "-p",
                "twinframe-kernel",
                "--target",
                target.triple(),
            ])
            .arg("--target-dir")
            .arg(workspace.kernel_target_dir())
            .current_dir(workspace.root())
            .env("CARGO_ENCODED_RUSTFLAGS", target.rustflags().join("\x1f"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if profile == Profile::Release {
            cargo.arg("--release");
        }
        for name in inherited_from_an_outer_cargo(env::vars_os().map(|(name, _)| name)) {
            cargo.env_remove(name);
        }
        parent::tie(&mut cargo);
        let status = cargo
            .status()
            .context(format_args!("cannot run {}", cargo.get_program().display()))?;
        if !status.success() {
            let why = match explain_write_failure(&workspace.kernel_target_dir()) {
                Some(full) => full,
                None => "the reason is above".into(),
            };
            return Err(Problem::new(format!(
                "the kernel does not build ({}): {why}",
                profile.name()
            )));
        }
        let kernel = Self::at(workspace, target, profile);
        strip::file(&kernel.symbols, &kernel.image)?;
        Ok(kernel)
    }

    /// [`build`](Self::build), but at most once in a `cargo nextest` run, which starts one process per test.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build), or the stamp cannot be written.
    pub fn build_once_per_run(workspace: &Workspace, profile: Profile) -> Result<Self> {
        let Ok(run) = env::var("NEXTEST_RUN_ID") else {
            return Self::build(workspace, profile);
        };
        let stamp = workspace
            .output()
            .join(format!("kernel-{}.nextest", profile.name()));
        let problem = |error| Problem::writing(&stamp, &error);
        fs::create_dir_all(workspace.output()).map_err(problem)?;
        let lock = File::create(stamp.with_extension("lock")).map_err(problem)?;
        lock.lock().map_err(problem)?;
        if fs::read_to_string(&stamp).is_ok_and(|built| built == run) {
            return Ok(Self::at(workspace, Target::choose(workspace)?, profile));
        }
        let kernel = Self::build(workspace, profile)?;
        fs::write(&stamp, run).map_err(problem)?;
        Ok(kernel)
    }

    fn at(workspace: &Workspace, target: Target, profile: Profile) -> Self {
        let built = Path::new(target.triple())
            .join(profile.name())
            .join("twinframe-kernel");
        Self {
            symbols: workspace.kernel_target_dir().join(built),
            image: workspace
                .output()
                .join(format!("kernel-{}.elf", profile.name())),
        }
    }
}

/// Settings meant for the host's programs or for the outer cargo, which would change the kernel or rebuild it.
fn inherited_from_an_outer_cargo(names: impl Iterator<Item = OsString>) -> Vec<OsString> {
    names
        .filter(|name| {
            let name = name.to_string_lossy();
            matches!(
                &*name,
                "RUSTFLAGS"
                    | "CARGO_BUILD_TARGET"
                    | "CARGO_BUILD_RUSTFLAGS"
                    | "MAKEFLAGS"
                    | "MFLAGS"
                    | "CARGO_MAKEFLAGS"
            ) || name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
        })
        .collect()
}

/// Whether writing into `dir` fails, in words for the user. For the moment after something else failed.
#[must_use]
pub fn explain_write_failure(dir: &Path) -> Option<String> {
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    let outcome = fs::write(&probe, vec![0; 64 << 10]);
    // Only an attempt: on the disk that this is about, nothing more can be done.
    let _ = fs::remove_file(&probe);
    outcome
        .err()
        .map(|error| Problem::writing(dir, &error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_programs_settings_stay_outside() {
        let names = [
            "PATH",
            "RUSTFLAGS",
            "CARGO_HOME",
            "CARGO_PKG_NAME",
            "RUSTUP_TOOLCHAIN",
            "CARGO_MANIFEST_DIR",
        ];
        let dropped = inherited_from_an_outer_cargo(names.into_iter().map(OsString::from));
        assert_eq!(
            dropped,
            ["RUSTFLAGS", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"]
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_explained() {
        assert_eq!(explain_write_failure(&env::temp_dir()), None);
        let why = explain_write_failure(Path::new("/proc")).unwrap();
        assert!(why.starts_with("cannot write /proc: "), "{why}");
    }
}
