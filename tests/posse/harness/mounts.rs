//! File systems that a test mounts for itself: one without room, and one that hangs.
//!
//! Declare a mount before the programs that use it, so that they end first.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A file system in memory; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at a directory, which is made if need be. Without the permission to mount it
    /// prints the reason and returns none.
    pub(crate) fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "posse-test"]).arg(at);
        let output = mount.output().expect("mount can be started");
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            eprintln!("SKIPPED: no small disk can be mounted here: {}", why.trim());
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file of zeros until nothing more fits.
    pub(crate) fn fill(&self) {
        // A filler of before has left gaps, as files are also removed.
        let mut file = File::options().append(true).create(true).open(self.filler()).unwrap();
        for chunk in [64 << 10, 4096, 1] {
            while file.write_all(&vec![1; chunk]).is_ok() {}
        }
    }

    /// Gives back what [`SmallDisk::fill`] has taken.
    pub(crate) fn drain(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// A file system in an image, which can be unmounted and mounted again under another device
/// number; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct ImageDisk {
    at: PathBuf,
    image: PathBuf,
}

impl ImageDisk {
    /// Makes one and mounts it. Without the permission to mount it prints the reason and returns
    /// none.
    pub(crate) fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let image = at.with_extension("image");
        File::create(&image).unwrap().set_len(32 << 20).unwrap();
        let disk = Self { at: at.to_owned(), image };
        let made = run(Command::new("mkfs.ext4").arg("-qF").arg(&disk.image));
        match made.and_then(|()| disk.mount_again()) {
            Ok(()) => Some(disk),
            Err(why) => {
                eprintln!("SKIPPED: no image can be mounted here: {why}");
                None
            }
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts it, if no file on it is open.
    pub(crate) fn unmount(&self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.at))
    }

    /// Mounts it.
    pub(crate) fn mount_again(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at))
    }
}

impl Drop for ImageDisk {
    fn drop(&mut self) {
        unmount(&self.at);
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A FUSE file system that passes everything on to a directory, and can be stopped.
#[derive(Debug)]
pub(crate) struct FuseDisk {
    at: PathBuf,
    daemon: Child,
}

impl FuseDisk {
    /// Mounts one at a directory, which is made if need be. Without FUSE or `bindfs` it prints the
    /// reason and returns none.
    pub(crate) fn mount(at: &Path) -> Option<Self> {
        let below = at.with_extension("below");
        for dir in [at, &below] {
            std::fs::create_dir_all(dir).unwrap();
        }
        // The daemon dies with the test, also when the test is killed.
        let mut command = Command::new("setpriv");
        // Nothing is answered from a cache.
        let uncached = "attr_timeout=0,entry_timeout=0,negative_timeout=0";
        command.args(["--pdeathsig", "KILL", "bindfs", "-f", "-o", uncached]).arg(&below).arg(at);
        let mut daemon = match command.stdin(Stdio::null()).spawn() {
            Ok(daemon) => daemon,
            Err(error) => {
                eprintln!("SKIPPED: no file system can be made to hang here: setpriv: {error}");
                return None;
            }
        };
        let is_up = eventually("bindfs has mounted or ended", || {
            match (is_mounted(at), daemon.try_wait().unwrap()) {
                (true, _) => Some(true),
                (false, Some(_)) => Some(false),
                (false, None) => None,
            }
        });
        if !is_up {
            eprintln!("SKIPPED: no file system can be made to hang here: bindfs mounts nothing");
            return None;
        }
        Some(Self { at: at.to_owned(), daemon })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Ends its daemon: every call fails from now on.
    pub(crate) fn crash(&mut self) {
        let _ = (self.daemon.kill(), self.daemon.wait());
    }

    /// Stops it: from now on nothing that is asked of it is answered, until the returned value is
    /// dropped. Declare that value last: a program that waits for this file system can only end
    /// while it answers.
    pub(crate) fn hang(&self) -> Hanging {
        let pid = Pid::from_raw(i32::try_from(self.daemon.id()).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Hanging(pid)
    }
}

impl Drop for FuseDisk {
    fn drop(&mut self) {
        unmount(&self.at);
        // It ends by itself once it is unmounted; lazily, that may be later.
        let _ = (self.daemon.kill(), self.daemon.wait());
    }
}

/// A file system that hangs, until this is dropped.
#[derive(Debug)]
pub(crate) struct Hanging(Pid);

impl Drop for Hanging {
    fn drop(&mut self) {
        // The daemon is waited for after this, so the process is still ours.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

fn is_mounted(at: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == at.to_str())
}

/// Unmounts at once, although a process that is ending may hold a file open.
fn unmount(at: &Path) {
    let _ = Command::new("umount").arg("-l").arg(at).status();
}
