//! The trackers of one network, each a process on a free port of this machine.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Binaries, Process, Result};

/// Time for anything that takes no time on a machine that is not out of breath.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Attempts at finding ports that nobody takes between our looking and the tracker's binding.
const ATTEMPTS: usize = 3;

/// Running trackers, numbered from 1 as in `tracker_info.txt`.
#[derive(Debug)]
pub(crate) struct Network {
    dir: PathBuf,
    binaries: Binaries,
    info: String,
    options: Vec<String>,
    ports: Vec<u16>,
    trackers: Vec<Process>,
}

impl Network {
    /// Starts `count` trackers whose files are in `dir`.
    pub(crate) fn start(binaries: &Binaries, dir: &Path, count: usize) -> Result<Self> {
        Self::start_with(binaries, dir, count, &[])
    }

    /// Gives the trackers further options.
    pub(crate) fn start_with(
        binaries: &Binaries,
        dir: &Path,
        count: usize,
        options: &[&str],
    ) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::try_start(binaries, dir, count, options) {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }

    fn try_start(binaries: &Binaries, dir: &Path, count: usize, options: &[&str]) -> Result<Self> {
        let ports = free_ports(count)?;
        let info = dir.join("tracker_info.txt");
        fs::write(
            &info,
            ports.iter().map(|port| format!("127.0.0.1:{port}\n")).collect::<String>(),
        )?;
        let info = info.to_str().ok_or("the temporary directory's path is not UTF-8")?.to_owned();
        let options = options.iter().map(ToString::to_string).collect();
        let (dir, binaries) = (dir.into(), binaries.clone());
        let mut network = Self { dir, binaries, info, options, ports, trackers: Vec::new() };
        for number in 1..=count {
            let tracker = network.spawn(number)?;
            network.trackers.push(tracker);
        }
        Ok(network)
    }

    /// Starts a tracker and waits until it listens.
    fn spawn(&self, number: usize) -> Result<Process> {
        let name = format!("tracker-{number}");
        // All clients have one address here, and some make groups as fast as they can.
        let unbounded =
            ["--accounts-per-hour", "0", "--groups-per-hour", "0", "--requests-per-hour", "0"];
        let number_text = number.to_string();
        // All trackers of the network have one key, made by the first in the directory in which all
        // run.
        let common = [
            &self.info,
            number_text.as_str(),
            "--data-dir",
            &name,
            "--network-key",
            "network.key",
            "--log",
            "info",
        ];
        let mut args = [&common[..], &unbounded[..]].concat();
        args.extend(self.options.iter().map(String::as_str));
        let mut tracker = Process::start(&name, &self.binaries.tracker, &args, &self.dir)?;
        let (_, line) = tracker.line(Instant::now() + PATIENCE)?;
        if !line.starts_with(&format!("tracker {number} listening on ")) {
            return Err(format!("{name} began with an unexpected line: {line}").into());
        }
        Ok(tracker)
    }

    /// The programs.
    pub(crate) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The directory in which the processes run.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of `tracker_info.txt`.
    pub(crate) fn info(&self) -> &str {
        &self.info
    }

    /// Number of trackers.
    pub(crate) fn count(&self) -> usize {
        self.ports.len()
    }

    /// The port of tracker `number`.
    pub(crate) fn port(&self, number: usize) -> u16 {
        self.ports[number - 1]
    }

    /// The process of tracker `number`.
    pub(crate) fn tracker(&self, number: usize) -> &Process {
        &self.trackers[number - 1]
    }

    /// Kills tracker `number` as `kill -9` does.
    pub(crate) fn kill(&mut self, number: usize) -> Result<()> {
        self.trackers[number - 1].kill()
    }

    /// Starts tracker `number` again, on the same port and with the same data.
    pub(crate) fn restart(&mut self, number: usize) -> Result<()> {
        self.trackers[number - 1] = self.spawn(number)?;
        Ok(())
    }

    /// Asks tracker `number`'s console for the digest of its directory.
    pub(crate) fn digest(&mut self, number: usize) -> Result<String> {
        let tracker = &mut self.trackers[number - 1];
        while tracker.try_line().is_some() {}
        tracker.send("status")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(digest) = tracker.line(deadline)?.1.strip_prefix("directory ") {
                return Ok(digest.trim().to_owned());
            }
        }
    }

    /// Waits until every tracker has the same directory, and returns its digest.
    pub(crate) fn agree(&mut self) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let digests =
                (1..=self.count()).map(|number| self.digest(number)).collect::<Result<Vec<_>>>()?;
            if digests.iter().all(|digest| *digest == digests[0]) {
                return Ok(digests[0].clone());
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "the trackers' directories stay different: {}",
                    digests.join(", ")
                )
                .into());
            }
            super::check_interrupt()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops every tracker through its console; all must end in order.
    pub(crate) fn stop(mut self) -> Result<()> {
        for tracker in &mut self.trackers {
            tracker.send("quit")?;
        }
        for tracker in &mut self.trackers {
            let status = tracker.wait(Instant::now() + PATIENCE)?;
            if !status.success() {
                return Err(format!("{} ended with {status}", tracker.name()).into());
            }
        }
        Ok(())
    }
}

/// Finds ports that are free now. All are held until the last is found, so that they differ.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<std::io::Result<Vec<_>>>()?;
    Ok(listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<std::io::Result<_>>()?)
}
