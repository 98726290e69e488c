//! One child process: its input, what it has said so far, signals, and its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, until};

/// Everything a process has said so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Said {
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
    /// Streams that have ended: two when the process can say no more.
    ended: usize,
}

impl Said {
    /// Whether both streams have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.ended == 2
    }
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: Option<i32>,
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
}

impl Finished {
    /// The lines on stderr that report errors, without logs.
    pub(crate) fn errors(&self) -> Vec<&str> {
        self.err.iter().map(String::as_str).filter(|line| line.starts_with("error: ")).collect()
    }
}

/// A running child, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<(Mutex<Said>, Condvar)>,
    /// Stands for the user's own, unless the command names one.
    _home: Option<TempDir>,
}

impl Process {
    /// Starts `command` with all three streams piped. It never sees the data directory of whoever
    /// runs the tests: a command that names no home of its own is given an empty one.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        let named = command.get_envs().any(|(key, _)| key == "HOME");
        let home =
            (!named).then(|| tempfile::tempdir().expect("a temporary directory can be made"));
        if let Some(dir) = &home {
            set_home(command, dir.path());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let said = Arc::new((Mutex::new(Said::default()), Condvar::new()));
        listen(child.stdout.take().expect("it is piped"), said.clone(), |said| &mut said.out);
        listen(child.stderr.take().expect("it is piped"), said.clone(), |said| &mut said.err);
        Self { name: name.to_owned(), stdin: child.stdin.take(), child, said, _home: home }
    }

    /// Writes one line to its stdin.
    #[track_caller]
    pub(crate) fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        if let Err(e) = stdin.write_all(format!("{line}\n").as_bytes()) {
            panic!("{} does not take {line:?}: {e}", self.name);
        }
    }

    /// Writes raw bytes to its stdin.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stdin.as_mut().expect("stdin is open").write_all(bytes)
    }

    /// Ends its stdin.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Everything it has said so far.
    pub(crate) fn said(&self) -> Said {
        self.said.0.lock().clone()
    }

    /// Returns the first `Some` that `probe` makes of what the process has said, looking whenever
    /// it says more; none if `limit` passes or the process can say no more.
    pub(crate) fn wait_said<T>(
        &self,
        limit: Duration,
        mut probe: impl FnMut(&Said) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + limit;
        let mut said = self.said.0.lock();
        loop {
            let found = probe(&said);
            if found.is_some()
                || said.is_over()
                || self.said.1.wait_until(&mut said, end).timed_out()
            {
                return found.or_else(|| probe(&said));
            }
        }
    }

    /// Waits for a line on stdout that `probe` likes.
    #[track_caller]
    pub(crate) fn wait_out<T>(&self, what: &str, probe: impl Fn(&str) -> Option<T>) -> T {
        self.wait_said(PATIENCE, |said| said.out.iter().find_map(|line| probe(line)))
            .unwrap_or_else(|| panic!("{} never said {what}", self.name))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid =
            Pid::from_raw(i32::try_from(self.id()).expect("ids are small")).expect("ids are not 0");
        kill_process(pid, signal).expect("the child has not been waited for");
    }

    /// Ends it as a power cut would, and waits for its end.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Waits for its end by itself.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        until(limit, || self.child.try_wait().expect("a child can be asked"))
            .unwrap_or_else(|| panic!("{} did not end within {limit:?}", self.name))
    }

    /// Ends its stdin and waits for its end and all it said.
    #[track_caller]
    pub(crate) fn finish(mut self, limit: Duration) -> Finished {
        self.close_stdin();
        let status = self.wait_exit(limit).code();
        self.wait_said(PATIENCE, |said| said.is_over().then_some(()));
        let Said { out, err, .. } = self.said();
        let stayed = err.iter().find(|line| {
            line.contains("still running at the end") || line.contains("did not end in time")
        });
        assert_eq!(stayed, None, "{} left threads behind", self.name);
        Finished { status, out, err }
    }

    /// Seconds of processor time it has used so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("the child runs");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .expect("the name is in parentheses")
            .split_whitespace()
            .collect();
        let ticks: u64 =
            [11, 12].iter().map(|&i| fields[i].parse::<u64>().expect("ticks are a number")).sum();
        ticks as f64 / 100.0
    }

    /// A number of kB from `/proc/<id>/status`, for example `VmHWM`; or a plain number, for example
    /// `Threads`.
    pub(crate) fn proc_status(&self, key: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the child runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .expect("the key exists");
        line.split_whitespace().next().expect("there is a value").parse().expect("it is a number")
    }

    /// Number of descriptors it has open.
    pub(crate) fn fd_count(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("the child runs").count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, and been waited for, already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let said = self.said();
        if std::thread::panicking() {
            eprintln!("==== {} ====\n{}", self.name, said.out.join("\n"));
            eprintln!("---- stderr of {} ----\n{}", self.name, said.err.join("\n"));
            return;
        }
        let panic = said.err.iter().find(|line| line.contains("panicked at")).cloned();
        assert_eq!(panic, None, "a thread of {} panicked", self.name);
    }
}

/// Makes `home` the directory below which a program looks for its data if it is told of no other
/// place.
pub(crate) fn set_home(command: &mut Command, home: &Path) {
    command.env("HOME", home).env("XDG_DATA_HOME", home.join("data"));
}

/// Collects the lines of one stream on a thread that ends with the stream.
fn listen(
    stream: impl Read + Send + 'static,
    said: Arc<(Mutex<Said>, Condvar)>,
    lines: fn(&mut Said) -> &mut Vec<String>,
) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            lines(&mut said.0.lock()).push(text);
            said.1.notify_all();
            line.clear();
        }
        said.0.lock().ended += 1;
        said.1.notify_all();
    });
}
