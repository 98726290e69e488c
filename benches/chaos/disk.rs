//! Where a tracker's data is: a directory, a file system whose process can be stopped, or a small
//! one that can be filled.
//!
//! **Invariant:** a stopped file system blocks every process that touches it, this one too: nothing
//! here touches it, and dropping a [`Store`] lets it go on first. A mount ends with its [`Store`].

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{PREFIX, is_of_dead_run};
use crate::schedule::Disk;
use crate::support::network::PATIENCE;
use crate::support::{Process, Result, check_interrupt};

/// Bytes of a small file system, and what is added for each second of the schedule.
const SMALL: (u64, u64) = (24 << 20, 1 << 20);
/// Name of the file that fills a small file system.
const BALLAST: &str = "ballast";

/// The place of one tracker's data.
#[derive(Debug)]
pub(crate) struct Store {
    /// What is mounted, and where the tracker's data is below.
    root: PathBuf,
    disk: Disk,
    /// The process of a file system that can be stopped.
    passthrough: Option<Process>,
    copy: PathBuf,
}

impl Store {
    /// Makes it in `dir`. Hangable and small ones are mounted by this process's user.
    pub(crate) fn new(dir: &Path, number: usize, disk: Disk, seconds: u64) -> Result<Self> {
        let root = dir.join(format!("disk-{number}"));
        fs::create_dir(&root)?;
        let mut store =
            Self { root, disk, passthrough: None, copy: dir.join(format!("copy-{number}")) };
        match disk {
            Disk::Plain => {}
            Disk::Small => {
                let size = format!("size={}", SMALL.0 + SMALL.1 * seconds);
                run(Command::new("mount")
                    .args(["-t", "tmpfs", "-o", &size, &mark(number)])
                    .arg(&store.root))?;
            }
            Disk::Hangable => {
                let backing = dir.join(mark(number));
                fs::create_dir(&backing)?;
                store.pass_through(dir, number, &backing)?;
            }
        }
        Ok(store)
    }

    fn pass_through(&mut self, dir: &Path, number: usize, backing: &Path) -> Result<()> {
        let (from, to) = (text(backing)?, text(&self.root)?);
        let words = ["--pdeathsig", "KILL", "bindfs", "-f", from, to];
        self.passthrough =
            Some(Process::start(&format!("bindfs-{number}"), Path::new("setpriv"), &words, dir)?);
        let deadline = Instant::now() + PATIENCE;
        while !is_mounted(&self.root)? {
            check_interrupt()?;
            if Instant::now() >= deadline {
                return Err("bindfs mounts nothing".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The tracker's data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Stops the file system's process, or lets it go on.
    pub(crate) fn hang(&self, hangs: bool) -> Result<()> {
        let process = self.passthrough.as_ref().ok_or("this disk cannot be stopped")?;
        let pid = Pid::from_raw(process.id() as i32).ok_or("a process without an id")?;
        Ok(kill_process(pid, if hangs { Signal::STOP } else { Signal::CONT })?)
    }

    /// Writes until there is no room.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.root.join(BALLAST))?;
        let block = vec![0xa5_u8; 64 << 10];
        // The end is the error that is wanted; then the rest is filled byte by byte of a page.
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..512]).is_ok() {}
        Ok(())
    }

    /// Makes room again.
    pub(crate) fn drain(&self) -> Result<()> {
        Ok(fs::remove_file(self.root.join(BALLAST))?)
    }

    /// Copies the data of a tracker that does not run.
    pub(crate) fn copy(&self) -> Result<()> {
        if self.copy.exists() {
            fs::remove_dir_all(&self.copy)?;
        }
        run(Command::new("cp").arg("-a").arg(self.data()).arg(&self.copy))
    }

    /// Puts the copy in the place of the data of a tracker that does not run.
    pub(crate) fn restore(&self) -> Result<()> {
        fs::remove_dir_all(self.data())?;
        run(Command::new("cp").arg("-a").arg(&self.copy).arg(self.data()))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.disk == Disk::Plain {
            return;
        }
        // What fails here is seen when the directory is removed.
        if self.passthrough.is_some() {
            let _ = self.hang(false);
        }
        let _ = run(Command::new("umount").arg("-l").arg(&self.root));
    }
}

/// The last part of the name of what is mounted: the next run finds what this one could not remove.
fn mark(number: usize) -> String {
    format!("{PREFIX}{}-{number}", std::process::id())
}

/// Unmounts what runs have left behind that were killed.
pub(crate) fn remove_dead() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (source, place) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if is_of_dead_run(source.rsplit('/').next().unwrap_or_default()) {
            run(Command::new("umount").arg("-l").arg(place))?;
        }
    }
    Ok(())
}

fn is_mounted(path: &Path) -> Result<bool> {
    let path = text(path)?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(path)))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| "the temporary directory's path is not UTF-8".into())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
        }
    }
}
