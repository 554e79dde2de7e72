//! What a user can do to the front door: mistakes, Ctrl-C, worse.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::handmade::Code;
use crate::stage::{Stage, ensure, expect, table};

/// The program under test.
const FRONT_DOOR: &str = env!("CARGO_BIN_EXE_twinframe");

/// All of them.
pub(crate) fn trials(stage: &Arc<Stage>) -> Vec<Trial> {
    let mut trials = table(
        stage,
        &[
            ("runner::reports_missing_qemu", missing_qemu),
            ("runner::reports_nonsense_in_knobs", nonsense_in_knobs),
            ("runner::reports_unknown_command", unknown_command),
            ("runner::reports_unknown_suite", unknown_suite),
            ("runner::reports_machine_that_qemu_refuses", refused_machine),
            ("runner::reports_kernel_that_is_none", kernel_that_is_none),
            (
                "runner::reports_kernel_that_does_not_build",
                kernel_that_does_not_build,
            ),
        ],
    );
    // How QEMU is tied to us, and how the process table is read, is the host's affair.
    if cfg!(target_os = "linux") {
        trials.extend(table(
            stage,
            &[
                (
                    "runner::leaves_nothing_behind_when_interrupted",
                    interrupted,
                ),
                ("runner::leaves_nothing_behind_when_killed", killed),
                ("runner::refuses_second_run_in_one_folder", second_run),
            ],
        ));
    }
    trials
}

fn missing_qemu(_: &Stage, _: &str) -> Result<(), Failed> {
    let output = Command::new(FRONT_DOOR)
        .arg("run")
        .env("PATH", "/nonexistent")
        .output()?;
    one_line(&output, "twinframe: qemu-system-x86_64 is missing; ")
}

fn nonsense_in_knobs(_: &Stage, _: &str) -> Result<(), Failed> {
    for (knob, value) in [
        ("MEM", "4M"),
        ("MEM", "abc"),
        ("SMP", "0"),
        ("MACHINE", "vax"),
        ("SEED", "lucky"),
        ("ACCEL", "steam"),
    ] {
        let output = Command::new(FRONT_DOOR)
            .arg("run")
            .env(knob, value)
            .output()?;
        one_line(&output, &format!("twinframe: {knob}={value}: "))?;
    }
    Ok(())
}

/// The program lies in no folder that a shell looks into: what it says has to work without.
fn unknown_command(_: &Stage, _: &str) -> Result<(), Failed> {
    let output = Command::new(FRONT_DOOR).arg("fly").output()?;
    let line =
        "twinframe: no such command: \"fly\"; see `cargo run -q -p twinframe-tests -- --help`";
    one_line(&output, line)
}

fn unknown_suite(_: &Stage, _: &str) -> Result<(), Failed> {
    let output = Command::new(FRONT_DOOR)
        .arg("run")
        .env("SUITE", "nope")
        .output()?;
    ensure(!output.status.success(), || "it ran".into())?;
    // Cargo's lines are before it.
    expect(
        &String::from_utf8_lossy(&output.stderr),
        &["twinframe: SUITE=nope: no such suite; there are "],
    )
}

fn refused_machine(stage: &Stage, name: &str) -> Result<(), Failed> {
    let folder = stage.folder(name);
    let kernel = Code::default().spin().write(&folder)?;
    let output = front_door_in(&folder)
        .arg("runner")
        .arg(&kernel)
        .env("MACHINE", "pc")
        .env("SMP", "512")
        .output()?;
    one_line(&output, "twinframe: QEMU did not start: ")
}

fn kernel_that_is_none(stage: &Stage, name: &str) -> Result<(), Failed> {
    let folder = stage.folder(name);
    let missing = folder.join("nowhere.elf");
    let output = front_door_in(&folder)
        .arg("runner")
        .arg(&missing)
        .output()?;
    one_line(
        &output,
        &format!("twinframe: cannot read {}: ", missing.display()),
    )?;
    let text = folder.join("text.elf");
    fs::create_dir_all(&folder)?;
    fs::write(&text, "this is no kernel")?;
    let output = front_door_in(&folder).arg("runner").arg(&text).output()?;
    one_line(&output, "twinframe: QEMU did not start: ")
}

fn kernel_that_does_not_build(stage: &Stage, name: &str) -> Result<(), Failed> {
    let folder = stage.folder(name);
    let manifest = "[package]\nname = \"twinframe-kernel\"\nedition = \"2024\"\n[workspace]\n";
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(
        folder.join("src/main.rs"),
        "fn main() { this is no program }\n",
    )?;
    let output = front_door_in(&folder).arg("kernel").output()?;
    ensure(!output.status.success(), || "it built".into())?;
    let line = "\ntwinframe: the kernel does not build (release): the reason is above\n";
    expect(
        &String::from_utf8_lossy(&output.stderr),
        &["this is no program", line],
    )
}

/// As by Ctrl-C; a shell shows this status as 130.
fn interrupted(stage: &Stage, name: &str) -> Result<(), Failed> {
    expect(&ended_by("INT", stage, name)?, &["signal: 2"])
}

fn killed(stage: &Stage, name: &str) -> Result<(), Failed> {
    expect(&ended_by("KILL", stage, name)?, &["signal: 9"])
}

/// Another run in the same folder is refused before it touches the files of the first.
fn second_run(stage: &Stage, name: &str) -> Result<(), Failed> {
    let folder = stage.folder(name);
    let kernel = Code::default().spin().write(&folder)?;
    let runner = || {
        let mut command = front_door_in(&folder);
        command.arg("runner").arg(&kernel).stdout(Stdio::null());
        command
    };
    let first = Reaped(runner().spawn()?);
    wait_for("a QEMU to start", || child_of(first.0.id()))?;
    let output = runner().output()?;
    let process = first.0.id();
    one_line(
        &output,
        &format!("twinframe: another run (process {process}) uses "),
    )?;
    ensure(output.status.code() == Some(2), || {
        output.status.to_string()
    })
}

/// The front door of a workspace in `folder`: what it writes is in no other trial's way.
fn front_door_in(folder: &Path) -> Command {
    let mut command = Command::new(FRONT_DOOR);
    // The workspace is the folder above this one.
    command.env("CARGO_MANIFEST_DIR", folder.join("tests"));
    command
}

/// The front door refused, in one line that begins so.
fn one_line(output: &Output, beginning: &str) -> Result<(), Failed> {
    let said = String::from_utf8_lossy(&output.stderr);
    let is_one_line = said.starts_with(beginning) && said.trim_end().lines().count() == 1;
    ensure(!output.status.success() && is_one_line, || {
        format!(
            "{} with:\n{said}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        )
    })
}

/// Starts a QEMU through the front door, ends the front door with a signal, and waits for QEMU to be gone.
fn ended_by(signal: &str, stage: &Stage, name: &str) -> Result<String, Failed> {
    let folder = stage.folder(name);
    let kernel = Code::default().spin().write(&folder)?;
    // A shell that runs us in the background has SIGINT ignored, and children inherit that.
    let mut front_door = Reaped(
        Command::new("env")
            .args(["--default-signal=INT", FRONT_DOOR, "runner"])
            .arg(&kernel)
            .env("CARGO_MANIFEST_DIR", folder.join("tests"))
            .stdout(Stdio::null())
            .spawn()?,
    );
    let qemu = wait_for("a QEMU to start", || child_of(front_door.0.id()))?;
    let sent = Command::new("kill")
        .args(["-s", signal, &front_door.0.id().to_string()])
        .status()?;
    ensure(sent.success(), || format!("kill: {sent}"))?;
    let status = wait_for("the front door to end", || {
        front_door.0.try_wait().ok().flatten()
    })?;
    wait_for("QEMU to end", || (!is_running(qemu)).then_some(()))?;
    Ok(status.to_string())
}

/// A child that does not stay when a trial fails.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only for a child that is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let Some(value) = ready() {
            return Ok(value);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(format!("waited in vain for {what}").into())
}

/// The QEMU among the children of a process.
fn child_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .find(|child| is_running(*child))
}

/// Whether this process exists, is QEMU, and is more than an entry that waits to be reaped.
fn is_running(process: u32) -> bool {
    let folder = format!("/proc/{process}");
    let status = fs::read_to_string(Path::new(&folder).join("status")).unwrap_or_default();
    status.contains("qemu-system") && !status.contains("State:\tZ")
}
