//! One child process: lines in, lines out, its log in a file, what it used of the machine.
//!
//! **Invariant:** a [`Process`] that is dropped is killed and waited for.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{Result, check_interrupt};

/// How often a wait looks whether it has been interrupted.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Units of CPU time in `/proc/<pid>/stat`: `USER_HZ`, 100 on every Linux there is.
const TICKS_PER_SECOND: u32 = 100;

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Instant, String)>,
}

/// What a process has used so far; zeros where the system does not tell.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// CPU time of all its threads.
    pub(crate) cpu: Duration,
    /// The most memory it ever had resident, in bytes.
    pub(crate) memory_peak: u64,
    /// Memory resident now, in bytes.
    pub(crate) memory: u64,
    /// Threads now.
    pub(crate) threads: u64,
}

impl Process {
    /// Starts `program`; what it writes to stderr is appended to `<dir>/<name>.log`.
    pub(crate) fn start(name: &str, program: &Path, args: &[&str], dir: &Path) -> Result<Self> {
        let log =
            OpenOptions::new().create(true).append(true).open(dir.join(format!("{name}.log")))?;
        let mut command = Command::new(program);
        command.args(args).current_dir(dir).env_remove("RUST_LOG");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child =
            command.spawn().map_err(|e| format!("{} does not start: {e}", program.display()))?;
        let (sender, lines) = crossbeam_channel::unbounded();
        let stdin = child.stdin.take();
        if let Some(stdout) = child.stdout.take() {
            // It ends with the child's stdout, hence with the child.
            thread::Builder::new()
                .name(format!("{name} stdout"))
                .spawn(move || forward(stdout, &sender))?;
        }
        Ok(Self { name: name.to_owned(), child, stdin, lines })
    }

    /// The name given at the start.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The system's number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types one line.
    pub(crate) fn send(&mut self, line: &str) -> Result<()> {
        let stdin =
            self.stdin.as_mut().ok_or_else(|| format!("{} takes no more input", self.name))?;
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|e| format!("{} takes no more input: {e}", self.name).into())
    }

    /// Waits for the next line of stdout, and says when it came.
    pub(crate) fn line(&mut self, deadline: Instant) -> Result<(Instant, String)> {
        loop {
            match self.lines.recv_timeout(POLL_INTERVAL) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => return Err(self.describe_end()),
                Err(RecvTimeoutError::Timeout) => check_interrupt()?,
            }
            if Instant::now() >= deadline {
                return Err(format!("{} has not answered in time", self.name).into());
            }
        }
    }

    /// Takes the next line of stdout if one is there.
    pub(crate) fn try_line(&mut self) -> Option<(Instant, String)> {
        self.lines.try_recv().ok()
    }

    fn describe_end(&mut self) -> super::Failure {
        match self.child.wait() {
            Ok(status) => format!("{} ended unexpectedly: {status}", self.name).into(),
            Err(e) => e.into(),
        }
    }

    /// Whether the process has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills the process as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until the process has ended by itself, with its stdin left as it is.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(format!("{} does not end", self.name).into());
            }
            check_interrupt()?;
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Tells what the process has used so far.
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(&self.child.id().to_string())
    }
}

impl Usage {
    /// Tells what this process has used so far.
    pub(crate) fn of_this_process() -> Self {
        Self::of("self")
    }

    /// Tells what a process has used so far.
    pub(crate) fn of(pid: &str) -> Self {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = read("status");
        let kib = |key: &str| field(&status, key) * 1024;
        Self {
            cpu: parse_cpu(&read("stat")),
            memory_peak: kib("VmHWM:"),
            memory: kib("VmRSS:"),
            threads: field(&status, "Threads:"),
        }
    }

    /// The same, with the CPU time used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), ..self }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(stdout: ChildStdout, lines: &Sender<(Instant, String)>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { return };
        if lines.send((Instant::now(), line)).is_err() {
            return;
        }
    }
}

/// Returns the number behind `key` in `/proc/<pid>/status`.
fn field(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    value
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Returns user and system time of `/proc/<pid>/stat`: the 12th and 13th field behind the name,
/// which may itself hold spaces.
fn parse_cpu(stat: &str) -> Duration {
    let fields =
        stat.rsplit_once(") ").map(|(_, rest)| rest.split_whitespace()).into_iter().flatten();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Duration::from_secs(ticks.into()) / TICKS_PER_SECOND
}
