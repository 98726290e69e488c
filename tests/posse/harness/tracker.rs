//! A real tracker process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::{PATIENCE, Process};

/// What a tracker's console answers to `status`: the first word of each line, and the rest of it.
#[derive(Debug, Clone)]
pub(crate) struct Status(pub(crate) BTreeMap<String, String>);

impl Status {
    /// The digest of the directory: equal on trackers that know the same.
    pub(crate) fn directory(&self) -> &str {
        &self.0["directory"]
    }

    /// Whether some other tracker is not up.
    pub(crate) fn is_degraded(&self) -> bool {
        self.0["degraded"] != "no"
    }
}

/// A tracker; it ends with this value.
#[derive(Debug)]
pub(crate) struct TrackerProcess {
    process: Process,
    program: PathBuf,
    pub(crate) number: usize,
    pub(crate) address: SocketAddr,
    info: PathBuf,
    data: PathBuf,
    key: PathBuf,
    options: Vec<String>,
    said_before: usize,
}

impl TrackerProcess {
    /// Starts the tracker of line `number` with the network's key in that file, which is made if it
    /// is not there, and further options; waits until it takes connections.
    pub(crate) fn start(
        info: &Path,
        number: usize,
        data: &Path,
        key: &Path,
        options: &[&str],
    ) -> Self {
        Self::start_program(
            Path::new(env!("CARGO_BIN_EXE_tracker")),
            info,
            number,
            data,
            key,
            options,
        )
    }

    /// The same with another build of the program.
    pub(crate) fn start_program(
        program: &Path,
        info: &Path,
        number: usize,
        data: &Path,
        key: &Path,
        options: &[&str],
    ) -> Self {
        let mut command = Command::new(program);
        command
            .arg(info)
            .arg(number.to_string())
            .arg("--data-dir")
            .arg(data)
            .arg("--network-key")
            .arg(key);
        if !options.contains(&"--log") {
            command.args(["--log", "info"]);
        }
        command.args(options);
        let process = Process::spawn(&format!("tracker {number}"), &mut command);
        let start = format!("tracker {number} listening on ");
        let address = process
            .wait_out("that it listens", |line| line.strip_prefix(&start).map(str::to_owned));
        let address = address.parse().expect("it prints an address");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let (info, data, key) = (info.to_owned(), data.to_owned(), key.to_owned());
        let program = program.to_owned();
        Self { process, program, number, address, info, data, key, options, said_before: 0 }
    }

    /// Its process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where its store is.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Starts it again with the same line and data directory; whatever ran is killed first.
    pub(crate) fn restart(&mut self) {
        self.restart_with_key(&self.key.clone());
    }

    /// Starts it again with another network's key, from the same data directory.
    pub(crate) fn restart_with_key(&mut self, key: &Path) {
        self.process.kill9();
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        *self =
            Self::start_program(&self.program, &self.info, self.number, &self.data, key, &options);
    }

    /// Whether it runs.
    pub(crate) fn is_up(&mut self) -> bool {
        self.process.is_running()
    }

    /// Ends it and takes its disk away.
    pub(crate) fn wipe(&mut self) {
        self.process.kill9();
        std::fs::remove_dir_all(&self.data).expect("its data directory can be removed");
    }

    /// Stops it where it stands: its connections stay, it answers nothing.
    pub(crate) fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Asks its console.
    #[track_caller]
    pub(crate) fn status(&mut self) -> Status {
        let from = self.process.said().out.len().max(self.said_before);
        self.process.send("status");
        let is_end = |line: &String| line.starts_with("degraded ");
        let lines = self.process.wait_said(PATIENCE, |said| {
            let end = said.out.iter().skip(from).position(is_end)?;
            Some(said.out[from..=from + end].to_vec())
        });
        let lines = lines.unwrap_or_else(|| panic!("tracker {} gives no status", self.number));
        self.said_before = from + lines.len();
        Status(
            lines
                .iter()
                .filter_map(|line| line.split_once(' '))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        )
    }
}
