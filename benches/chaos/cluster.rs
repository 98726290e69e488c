//! The trackers: real processes, each on a machine and with a disk and a clock of its own, and the
//! faults applied to them.
//!
//! **Invariant:** a cluster that is dropped lets disks go on before it kills the processes that
//! wait for them, and removes the namespaces when nothing runs in them any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::disk::Store;
use crate::impairment::Impairments;
use crate::lab::{Lab, tracker_address};
use crate::schedule::{Action, Schedule, Tool};
use crate::support::network::PATIENCE;
use crate::support::{Binaries, Process, Result, check_interrupt};

/// The port of every tracker.
const PORT: u16 = 5000;
/// Time for a tracker to answer at its console.
const CONSOLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two looks at the digests.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Time for which the digests have to stay equal.
const STABLE: Duration = Duration::from_millis(800);
/// Options that lift bounds, for trackers that have them: the clients do as much as they can.
const UNBOUNDED: [&str; 3] = ["--accounts-per-hour", "--groups-per-hour", "--requests-per-hour"];

/// One tracker.
#[derive(Debug)]
struct Tracker {
    store: Option<Store>,
    process: Option<Process>,
    clock: PathBuf,
}

/// All trackers, counted from 1, and the network that joins them.
#[derive(Debug)]
pub(crate) struct Cluster {
    trackers: Vec<Tracker>,
    lab: Lab,
    dir: PathBuf,
    binaries: Binaries,
    /// The library that sets clocks, if this schedule does.
    faketime: Option<String>,
    options: Vec<String>,
    /// Every process of a tracker that ever was.
    ids: Vec<u32>,
    /// What happened that no fault explains.
    remarks: Vec<String>,
}

/// Finds the library that sets a process's clock.
pub(crate) fn faketime_library() -> Option<String> {
    let places = fs::read_dir("/usr/lib")
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .chain([PathBuf::from("/usr/lib")]);
    let library = |place: PathBuf| place.join("faketime/libfaketimeMT.so.1");
    places.map(library).find(|path| path.exists()).and_then(|path| path.to_str().map(str::to_owned))
}

impl Cluster {
    /// Starts `count` trackers, and waits until all are connected.
    pub(crate) fn start(
        binaries: &Binaries,
        dir: &Path,
        lab: Lab,
        count: usize,
        schedule: &Schedule,
        seconds: u64,
    ) -> Result<Self> {
        let line = |number: usize| format!("{}:{PORT}\n", tracker_address(number));
        fs::write(dir.join("tracker_info.txt"), (1..=count).map(line).collect::<String>())?;
        for number in 1..=count {
            fs::write(dir.join(format!("only-{number}.txt")), line(number))?;
            let all: String = (number..=count).chain(1..number).map(line).collect();
            fs::write(dir.join(format!("first-{number}.txt")), all)?;
        }
        let faketime = schedule.tools.contains(&Tool::Faketime).then(faketime_library).flatten();
        let (dir, binaries) = (dir.to_owned(), binaries.clone());
        let options = options(&binaries)?;
        let (trackers, ids, remarks) = (Vec::new(), Vec::new(), Vec::new());
        let mut cluster = Self { trackers, lab, dir, binaries, faketime, options, ids, remarks };
        for number in 1..=count {
            let store = Store::new(&cluster.dir, number, schedule.disk, seconds)?;
            let clock = cluster.dir.join(format!("clock-{number}"));
            cluster.trackers.push(Tracker { store: Some(store), process: None, clock });
            cluster.set_clock(number, 0)?;
            // The first one makes the network's key.
            cluster.spawn(number)?;
        }
        cluster.wait_connected()?;
        Ok(cluster)
    }

    /// The network that joins them.
    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Number of trackers.
    pub(crate) fn count(&self) -> usize {
        self.trackers.len()
    }

    /// The file that names one tracker alone.
    pub(crate) fn info_of_only(number: usize) -> String {
        format!("only-{number}.txt")
    }

    /// A file that names all trackers, in a client's own order: clients prefer the first of
    /// trackers that are equally near, and are to use all of them.
    pub(crate) fn info_for_client(&self, index: usize) -> String {
        format!("first-{}.txt", index % self.count() + 1)
    }

    /// What happened that no fault explains.
    pub(crate) fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// Starts a tracker's process and waits until it listens.
    fn spawn(&mut self, number: usize) -> Result<()> {
        let tracker = &self.trackers[number - 1];
        let name = format!("tracker-{number}");
        let data = tracker.store.as_ref().ok_or("a tracker without a disk")?.data();
        let clock = self.faketime.as_ref().map(|library| {
            let file = format!("FAKETIME_TIMESTAMP_FILE={}", tracker.clock.display());
            let preload = format!("LD_PRELOAD={library}");
            // Timeouts use the monotonic clock, which stays true. The file is read once a second.
            let rest =
                ["FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"];
            [vec!["env".to_owned(), preload, file], rest.map(str::to_owned).to_vec()].concat()
        });
        let program = [&self.binaries.tracker, Path::new("tracker_info.txt")]
            .map(|path| path.display().to_string());
        let data = data.display().to_string();
        let rest = [
            &number.to_string(),
            "--data-dir",
            &data,
            "--network-key",
            "network.key",
            "--log",
            "info",
        ];
        let words = [
            clock.unwrap_or_default(),
            program.to_vec(),
            rest.map(str::to_owned).to_vec(),
            self.options.clone(),
        ];
        let words = words.concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut process = self.lab.start(&name, Some(number), &words, &self.dir)?;
        let (_, line) = process.line(Instant::now() + PATIENCE)?;
        if !line.starts_with(&format!("tracker {number} listening on ")) {
            return Err(format!("{name} began with an unexpected line: {line}").into());
        }
        self.ids.push(process.id());
        self.trackers[number - 1].process = Some(process);
        Ok(())
    }

    /// Carries out an action, and notes for whom which tracker is of no use meanwhile.
    pub(crate) fn apply(&mut self, action: &Action, impairments: &mut Impairments) -> Result<()> {
        impairments.begin(action);
        match action {
            Action::Freeze(number) => self.signal(*number, Signal::STOP)?,
            Action::Thaw(number) => self.signal(*number, Signal::CONT)?,
            Action::HangDisk(number) => self.store(*number)?.hang(true)?,
            Action::FreeDisk(number) => self.store(*number)?.hang(false)?,
            Action::Kill(number) => self.kill(*number)?,
            Action::Start(number) => self.revive(*number)?,
            Action::Cut(ways) => self.lab.cut(ways)?,
            Action::Unplug(number) => self.lab.plug(*number, false)?,
            Action::Plug(number) => self.lab.plug(*number, true)?,
            Action::Clock(number, seconds) => self.set_clock(*number, *seconds)?,
            Action::FillDisk(number) => self.store(*number)?.fill()?,
            Action::DrainDisk(number) => {
                self.store(*number)?.drain()?;
                self.revive(*number)?;
            }
            Action::Copy(number) => {
                self.stop(*number)?;
                self.store(*number)?.copy()?;
                self.spawn(*number)?;
            }
            Action::Restore(number) => {
                self.stop(*number)?;
                self.store(*number)?.restore()?;
                self.spawn(*number)?;
            }
            Action::Throttle(number, rate) => self.lab.throttle(*number, Some(*rate))?,
            Action::Unthrottle(number) => self.lab.throttle(*number, None)?,
        }
        impairments.end(action);
        Ok(())
    }

    /// Starts every tracker that does not run, and says so.
    pub(crate) fn revive_all(&mut self) -> Result<()> {
        (1..=self.count()).try_for_each(|number| self.revive(number))
    }

    /// Starts a tracker unless it runs; one that has ended by itself is remarked upon.
    fn revive(&mut self, number: usize) -> Result<()> {
        if let Some(process) = self.trackers[number - 1].process.as_mut() {
            if process.is_running() {
                return Ok(());
            }
            let status = process.wait(Instant::now())?;
            self.remarks.push(format!("tracker {number} had ended by itself: {status}"));
        }
        self.spawn(number)
    }

    fn kill(&mut self, number: usize) -> Result<()> {
        self.trackers[number - 1].process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Stops a tracker in order, or by force if that takes too long.
    fn stop(&mut self, number: usize) -> Result<()> {
        let Some(mut process) = self.trackers[number - 1].process.take() else { return Ok(()) };
        // Fails only if it has ended already.
        let _ = process.send("quit");
        match process.wait(Instant::now() + PATIENCE) {
            Ok(_) => Ok(()),
            Err(_) => process.kill(),
        }
    }

    fn signal(&self, number: usize, signal: Signal) -> Result<()> {
        let process = self.trackers[number - 1]
            .process
            .as_ref()
            .ok_or_else(|| format!("tracker {number} does not run"))?;
        let pid = Pid::from_raw(process.id() as i32).ok_or("a process without an id")?;
        Ok(kill_process(pid, signal)?)
    }

    fn store(&self, number: usize) -> Result<&Store> {
        self.trackers[number - 1]
            .store
            .as_ref()
            .ok_or_else(|| format!("tracker {number} has no disk").into())
    }

    /// Sets a tracker's clock ahead of the right time, or back.
    fn set_clock(&self, number: usize, seconds: i64) -> Result<()> {
        let clock = &self.trackers[number - 1].clock;
        let fresh = clock.with_extension("new");
        fs::write(&fresh, format!("{seconds:+}\n"))?;
        Ok(fs::rename(&fresh, clock)?)
    }

    /// Asks every console for a line that begins with `key`; `None` of a tracker that does not
    /// answer in time.
    fn ask(&mut self, key: &str) -> Vec<Option<String>> {
        let processes = self.trackers.iter_mut().map(|tracker| tracker.process.as_mut());
        let mut processes: Vec<Option<&mut Process>> = processes.collect();
        for process in processes.iter_mut().flatten() {
            while process.try_line().is_some() {}
            // A console that is gone gives no answer below.
            let _ = process.send("status");
        }
        let deadline = Instant::now() + CONSOLE_TIMEOUT;
        let answer = |process: &mut Process| loop {
            let (_, line) = process.line(deadline).ok()?;
            if let Some(rest) = line.strip_prefix(key) {
                return Some(rest.trim().to_owned());
            }
        };
        processes
            .iter_mut()
            .map(|process| process.as_mut().and_then(|process| answer(process)))
            .collect()
    }

    /// Waits until all trackers have come together.
    fn wait_connected(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.ask("degraded ").iter().all(|answer| answer.as_deref() == Some("no")) {
            check_interrupt()?;
            if Instant::now() >= deadline {
                return Err("the trackers do not come together".into());
            }
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Waits until every tracker has had the same directory for some time; returns when that began.
    /// `None` if it has not begun after `limit`.
    pub(crate) fn converge(&mut self, limit: Duration) -> Result<Option<Instant>> {
        let start = Instant::now();
        let mut since: Option<(Instant, String)> = None;
        loop {
            check_interrupt()?;
            let now = Instant::now();
            let digests: Option<Vec<String>> = self.ask("directory ").into_iter().collect();
            let common = digests.and_then(|digests| {
                digests.iter().all(|d| *d == digests[0]).then(|| digests[0].clone())
            });
            since = match (common, since) {
                (Some(common), Some((at, before))) if common == before => Some((at, before)),
                (Some(common), _) => Some((now, common)),
                (None, _) => None,
            };
            match &since {
                Some((at, _)) if at.elapsed() >= STABLE => return Ok(Some(*at)),
                None if start.elapsed() >= limit => return Ok(None),
                _ => thread::sleep(LOOK_INTERVAL),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for tracker in &mut self.trackers {
            if let Some(store) = &tracker.store {
                // Fails for a disk that cannot hang.
                let _ = store.hang(false);
            }
            tracker.process = None;
            tracker.store = None;
        }
        // Left behind by libfaketime in processes that were killed; not there for others.
        for id in &self.ids {
            let _ = fs::remove_file(format!("/dev/shm/faketime_shm_{id}"));
            let _ = fs::remove_file(format!("/dev/shm/sem.faketime_sem_{id}"));
        }
    }
}

/// Options that lift the bounds that this tracker has.
fn options(binaries: &Binaries) -> Result<Vec<String>> {
    let help = std::process::Command::new(&binaries.tracker).arg("--help").output()?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let known = UNBOUNDED.iter().filter(|option| help.contains(**option));
    Ok(known.flat_map(|option| [(*option).to_owned(), "0".to_owned()]).collect())
}
