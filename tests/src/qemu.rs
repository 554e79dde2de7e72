//! QEMU as a child process: bounded by a deadline, and gone when we are.
//!
//! Three things make sure that no QEMU is left behind. The guard kills it on every way out of [`run`]. The kernel of
//! the host kills it when the thread that started it dies, even by SIGKILL. And it stays in our process group, so
//! Ctrl-C reaches it as it reaches us; that is why SIGINT and SIGTERM need no handler here, and end this process
//! with the status that a shell expects.

mod ended;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::{QEMU, Vm};
use crate::cpus::{Cpu, parse_frame, parse_registers};
use crate::parent::ties_child;
use crate::qmp::{self, Message};
use crate::serial_log::SerialLog;
use crate::{Context, Problem, Result};

pub use ended::{Ending, Run};

/// How a run is watched.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The file that gets a copy of COM1.
    pub serial_log: PathBuf,
    /// Whether COM1 is also shown, live, on standard output.
    pub is_shown: bool,
    /// How long it may take.
    pub deadline: Duration,
}

/// How long a QEMU that does nothing else may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How many frames of a hanging CPU are worth the asking.
const DEEPEST_STACK: usize = 16;

/// Boots `vm` and watches it to its end.
///
/// # Errors
///
/// QEMU could not be started, or a log could not be written. What the guest does is never an error here.
pub fn run(vm: &Vm, watch: &Watch) -> Result<Run> {
    for file in [&watch.serial_log, &vm.events] {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)
                .context(format_args!("cannot create {}", folder.display()))?;
        }
    }
    File::create(&vm.events).map_err(|error| Problem::writing(&vm.events, &error))?;
    let serial = SerialLog::create(&watch.serial_log, watch.is_shown)?;
    let started = Instant::now();
    let mut session = Session::start(vm, serial, started + watch.deadline)?;
    let ending = session.watch(watch.deadline)?;
    let took = started.elapsed();
    let complaints = session.finish()?;
    Ok(Run {
        ending,
        serial: session.serial.into_tail(),
        complaints,
        took,
        peak_kib: session.peak_kib,
    })
}

/// Kills and reaps the child when dropped.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only for a child that is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything that can wake the watcher up.
enum Input {
    Serial(Vec<u8>),
    SerialClosed,
    Control(Message),
}

struct Session {
    child: Guard,
    control: UnixStream,
    inputs: Receiver<Input>,
    complaints: Option<thread::JoinHandle<String>>,
    serial: SerialLog,
    deadline: Instant,
    requests: u64,
    peak_kib: u64,
    /// Why the machine shuts down, once it does.
    reason: Option<String>,
    is_stopped: bool,
}

impl Session {
    fn start(vm: &Vm, serial: SerialLog, deadline: Instant) -> Result<Self> {
        let doing = "cannot make a socket to QEMU";
        let (mut control, theirs) = UnixStream::pair().context(doing)?;
        control
            .write_all(qmp::opening().as_bytes())
            .context(doing)?;
        let answers = control.try_clone().context(doing)?;
        let mut command = Command::new(QEMU);
        command
            .args(vm.arguments())
            .args([
                "-chardev",
                &format!("socket,id=control,fd={}", theirs.as_raw_fd()),
            ])
            .args(["-mon", "chardev=control,mode=control"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        in_child_before_exec(&mut command, theirs);
        let mut child = Guard(
            command
                .spawn()
                .context(format_args!("cannot start {QEMU}"))?,
        );
        drop(command); // and with it our copy of QEMU's end of the socket

        let (sender, inputs) = mpsc::channel();
        if let Some(stdout) = child.0.stdout.take() {
            let sender = sender.clone();
            thread::spawn(move || forward_serial(stdout, &sender));
        }
        thread::spawn(move || forward_control(answers, &sender));
        let complaints = child
            .0
            .stderr
            .take()
            .map(|stderr| thread::spawn(move || read_all(stderr)));
        Ok(Self {
            child,
            control,
            inputs,
            complaints,
            serial,
            deadline,
            requests: 0,
            peak_kib: 0,
            reason: None,
            is_stopped: false,
        })
    }

    /// Follows the run to its end.
    fn watch(&mut self, allowed: Duration) -> Result<Ending> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            // Checked by itself: a kernel that prints for ever always has something for us.
            if left.is_zero() {
                let stopped = self.ask("stop", &json!({}));
                let cpus = stopped.and_then(|_| self.cpus());
                return Ok(Ending::Deadline(allowed, cpus));
            }
            match self.inputs.recv_timeout(left) {
                Ok(Input::SerialClosed) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(input) => self.take(input)?,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.is_stopped {
                return self.stopped();
            }
        }
        self.exited()
    }

    /// QEMU has ended, or is about to.
    fn exited(&mut self) -> Result<Ending> {
        let status = self.child.0.wait().context("cannot wait for QEMU")?;
        self.drain()?;
        Ok(match status.code() {
            Some(0) => Ending::Exited(0, self.reason.take()),
            Some(code) => Ending::Exited(code, None),
            None => Ending::Killed(status.signal().unwrap_or(0)),
        })
    }

    /// The machine stops where it shuts down or resets (see [`qmp::opening`]), and where QEMU cannot go on.
    fn stopped(&mut self) -> Result<Ending> {
        match self.reason.as_deref() {
            Some("guest-reset") => Ok(Ending::Reset(self.cpus().unwrap_or_default())),
            // The machine was switched off. That may have been by `isa-debug-exit`, which since QEMU 9.0 ends
            // the machine as a power switch does: QEMU keeps the status that it asked for until it exits.
            Some(_) => match self.ask("quit", &json!({})) {
                Ok(_) => self.exited(),
                Err(why) => Ok(Ending::Stopped(why)),
            },
            None => {
                let status = self.ask("query-status", &json!({}));
                let state =
                    status.map(|status| status["status"].as_str().unwrap_or_default().to_owned());
                Ok(Ending::Stopped(state.unwrap_or_else(|why| why)))
            }
        }
    }

    fn take(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Serial(bytes) => {
                // It only grows, and a QEMU that has ended does not tell any more.
                if let Some(peak) = peak_kib(self.child.0.id()) {
                    self.peak_kib = peak;
                }
                self.serial.append(&bytes)?;
            }
            Input::Control(Message::Event { name, reason }) if name == "SHUTDOWN" => {
                // The first one counts: a later one is our own wish.
                self.reason = self.reason.take().or(reason);
            }
            Input::Control(Message::Event { name, .. }) if name == "STOP" => self.is_stopped = true,
            Input::Control(_) | Input::SerialClosed => {}
        }
        Ok(())
    }

    /// Takes what is still on its way from a QEMU that has ended: both senders end with it.
    fn drain(&mut self) -> Result<()> {
        while let Ok(input) = self.inputs.recv_timeout(ANSWER_TIME) {
            self.take(input)?;
        }
        Ok(())
    }

    /// Ends QEMU if need be; what it complained of.
    fn finish(&mut self) -> Result<String> {
        // Fails only for a child that is already gone.
        let _ = self.child.0.kill();
        self.drain()?;
        let complaints = self.complaints.take().and_then(|reader| reader.join().ok());
        Ok(complaints.unwrap_or_default())
    }

    /// Where the CPUs of the stopped machine are.
    fn cpus(&mut self) -> Result<Vec<Cpu>, String> {
        let mut cpus = parse_registers(&self.monitor("info registers -a", 0)?);
        for cpu in &mut cpus {
            let mut frame = cpu.rbp;
            while frame != 0 && frame % 8 == 0 && cpu.callers.len() < DEEPEST_STACK {
                let answer = self.monitor(&format!("x /2gx {frame:#x}"), cpu.index)?;
                match parse_frame(&answer) {
                    Some((above, caller)) if caller != 0 => {
                        cpu.callers.push(caller);
                        // Stacks grow downwards: anything else is not a frame.
                        frame = if above > frame { above } else { 0 };
                    }
                    _ => break,
                }
            }
        }
        Ok(cpus)
    }

    /// Asks the human monitor, as seen by one CPU.
    fn monitor(&mut self, line: &str, cpu: u64) -> Result<String, String> {
        let arguments = json!({ "command-line": line, "cpu-index": cpu });
        let answer = self.ask("human-monitor-command", &arguments)?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    fn ask(&mut self, name: &str, arguments: &Value) -> Result<Value, String> {
        self.requests += 1;
        let this = self.requests;
        self.control
            .write_all(qmp::request(this, name, arguments).as_bytes())
            .map_err(|error| format!("QEMU's monitor is gone: {error}"))?;
        let until = Instant::now() + ANSWER_TIME;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.inputs.recv_timeout(left) {
                Ok(Input::Control(Message::Answer { id, result })) if id == this => return result,
                Ok(input) if !left.is_zero() => {
                    self.take(input).map_err(|problem| problem.to_string())?;
                }
                Err(RecvTimeoutError::Disconnected) => return Err("QEMU is gone".into()),
                _ => {
                    return Err(format!(
                        "QEMU did not answer within {} s",
                        ANSWER_TIME.as_secs()
                    ));
                }
            }
        }
    }
}

/// Ties the child to us: it dies with the thread that starts it, and inherits its end of the control socket.
fn in_child_before_exec(command: &mut Command, inherited: UnixStream) {
    let tie = ties_child();
    let prepare = move || {
        tie()?;
        rustix::io::fcntl_setfd(inherited.as_fd(), rustix::io::FdFlags::empty())?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes three or fewer
    // system calls and allocates nothing: both of its errors are plain numbers.
    unsafe { command.pre_exec(prepare) };
}

fn forward_serial(mut stdout: impl Read, to: &Sender<Input>) {
    let mut buffer = [0; 4096];
    loop {
        match stdout.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if to.send(Input::Serial(buffer[..count].to_vec())).is_err() => return,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
            _ => {}
        }
    }
    // Nobody listens any more if the run has been given up.
    let _ = to.send(Input::SerialClosed);
}

fn forward_control(answers: UnixStream, to: &Sender<Input>) {
    for line in BufReader::new(answers).lines().map_while(io::Result::ok) {
        if to.send(Input::Control(qmp::parse(&line))).is_err() {
            return;
        }
    }
}

/// The most memory that a process has had at a time, in KiB, as Linux knows it.
fn peak_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn read_all(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What could be read is all there is to show.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_had_memory() {
        assert!(peak_kib(std::process::id()).is_some_and(|peak| peak > 100));
        assert_eq!(peak_kib(u32::MAX), None);
    }
}
