//! A whole network on this machine: two trackers, four clients, one file, one tracker that dies on
//! the way.
//!
//! ```text
//! cargo run --release --example local_swarm [FILE]
//! ```
//!
//! Every part is a real process. `nik` shares a file of 256 MiB (or the one named) with a group;
//! `bob` and `eve` download it at the same time. When half is done the tracker that nik's commands
//! go to is killed, as `kill -9` does. `dan` joins the group after that, through the tracker that
//! is left, and downloads as well. The killed tracker is started again and catches up. At the end
//! every copy has the right SHA-1 and both trackers the same directory, or this program fails.

#[path = "local_swarm/report.rs"]
mod report;
#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use report::{Report, StatusLine};
use support::{Binaries, Failure, Member, Network, Result, content};

/// Bytes of the file if none is named.
const FILE_LEN: u64 = 256 << 20;
/// How often the downloads are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The group.
const GROUP: &str = "lab";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let file = args.next().map(PathBuf::from);
    if args.next().is_some()
        || file.as_ref().is_some_and(|file| file.to_string_lossy().starts_with('-'))
    {
        eprintln!("usage: local_swarm [FILE]");
        return ExitCode::from(2);
    }
    support::run("local_swarm", None, |dir| run(dir, file))
}

fn run(dir: &Path, file: Option<PathBuf>) -> Result<()> {
    let binaries = Binaries::build()?;
    let start = Instant::now();
    let shared = SharedFile::prepare(dir, file)?;
    let mut swarm = Swarm::start(&binaries, dir, &shared)?;
    swarm.share()?;
    swarm.download()?;
    swarm.finish(start)
}

/// The file that everybody gets.
struct SharedFile {
    path: PathBuf,
    name: String,
    len: u64,
    sha1: String,
}

impl SharedFile {
    /// Takes the file named, or makes one.
    fn prepare(dir: &Path, named: Option<PathBuf>) -> Result<Self> {
        let (path, sha1) = match named {
            Some(path) => {
                let path = path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))?;
                let sha1 =
                    content::sha1_of(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                (path, sha1)
            }
            None => {
                let path = dir.join("example.bin");
                let sha1 = content::make(&path, FILE_LEN)?;
                (path, sha1)
            }
        };
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or("the file's name is not UTF-8")?
            .to_owned();
        let len = path.metadata()?.len();
        println!("file           {name}, {len} bytes, SHA-1 {sha1}");
        Ok(Self { path, name, len, sha1 })
    }
}

/// The network, its members, and what is noted down on the way.
struct Swarm<'a> {
    file: &'a SharedFile,
    network: Network,
    nik: Member,
    /// `bob` and `eve`, who download from the start, and `dan`, who comes late.
    leechers: Vec<Member>,
    report: Report,
}

impl<'a> Swarm<'a> {
    fn start(binaries: &Binaries, dir: &Path, file: &'a SharedFile) -> Result<Self> {
        let network = Network::start(binaries, dir, 2)?;
        println!(
            "trackers       1 on 127.0.0.1:{}, 2 on 127.0.0.1:{}",
            network.port(1),
            network.port(2)
        );
        let nik = Member::start(&network, "nik")?;
        let leechers = ["bob", "eve", "dan"]
            .into_iter()
            .map(|user| Member::start(&network, user))
            .collect::<Result<_>>()?;
        println!("clients        nik, bob, eve, dan");
        Ok(Self { file, network, nik, leechers, report: Report::default() })
    }

    /// `nik` makes the group, lets `bob` and `eve` in, and shares the file.
    fn share(&mut self) -> Result<()> {
        self.nik.ask(&["create_group", GROUP])?;
        for leecher in &mut self.leechers[..2] {
            leecher.enter(&mut self.nik, GROUP)?;
        }
        let time = self.nik.upload(&self.file.path, GROUP)?;
        println!(
            "shared         by nik in {:.2} s, {:.0} MB/s hashed",
            time.as_secs_f64(),
            support::show::rate(self.file.len, time)
        );
        Ok(())
    }

    /// Downloads with `bob` and `eve`; half way loses the primary tracker and lets `dan` come; ends
    /// when all have the file.
    fn download(&mut self) -> Result<()> {
        for index in 0..2 {
            self.begin(index)?;
        }
        let mut line = StatusLine::default();
        let mut killed = None;
        loop {
            let done = self.progress(&mut line)?;
            match killed {
                None if done[0] + done[1] >= self.file.len => {
                    killed = Some(self.lose_tracker(&mut line, &done)?)
                }
                Some(number) if done.iter().all(|&done| done == self.file.len) => {
                    return self.complete(&mut line, number);
                }
                _ => thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    fn begin(&mut self, index: usize) -> Result<()> {
        let start = self.leechers[index].download(GROUP, &self.file.name)?;
        self.report.starts.push(start);
        Ok(())
    }

    /// Shows how far each download that has begun is; returns its verified bytes.
    fn progress(&mut self, line: &mut StatusLine) -> Result<Vec<u64>> {
        let begun = &mut self.leechers[..self.report.starts.len()];
        let done = begun
            .iter_mut()
            .map(|leecher| leecher.progress().map(|p| p.done))
            .collect::<Result<Vec<_>>>()?;
        line.show(self.leechers.iter().map(Member::user).zip(done.iter().copied()), self.file.len);
        Ok(done)
    }

    /// Kills the primary tracker, lets `dan` in and begin through the other one; returns the number
    /// of the killed one.
    fn lose_tracker(&mut self, line: &mut StatusLine, done: &[u64]) -> Result<usize> {
        let number = self.nik.primary()?;
        self.network.kill(number)?;
        let percent = (done[0] + done[1]) * 50 / self.file.len.max(1);
        line.note(&format!("killed         tracker {number}, the primary, at {percent} %"));
        let start = Instant::now();
        self.leechers[2].enter(&mut self.nik, GROUP)?;
        self.begin(2)?;
        line.note(&format!(
            "dan            let in and downloading {:.2} s later, through tracker {}",
            start.elapsed().as_secs_f64(),
            3 - number
        ));
        self.network.restart(number)?;
        line.note(&format!("restarted      tracker {number}"));
        Ok(number)
    }

    /// Waits for the events that end the downloads; each carries the time at which it came.
    fn complete(&mut self, line: &mut StatusLine, killed: usize) -> Result<()> {
        line.end();
        for leecher in &mut self.leechers {
            self.report.ends.push(leecher.wait_complete()?);
        }
        self.report.killed = killed;
        Ok(())
    }

    /// Checks everything, prints the report, and ends every process in order.
    fn finish(mut self, start: Instant) -> Result<()> {
        for leecher in &self.leechers {
            self.check_copy(leecher)?;
        }
        let digest = self.network.agree()?;
        for sender in std::iter::once(&mut self.nik).chain(&mut self.leechers) {
            let sent = sender.sent()?;
            self.report.sent.push((sender.user().to_owned(), sent));
        }
        let leechers: Vec<_> =
            self.leechers.iter().map(|leecher| (leecher.user(), leecher.device())).collect();
        self.report.print(&leechers, self.file.len)?;
        println!("\ncopies         3 of 3 have SHA-1 {}", self.file.sha1);
        println!(
            "directory      {digest} on both trackers, tracker {} having been killed and restarted",
            self.report.killed
        );
        for member in std::iter::once(self.nik).chain(self.leechers) {
            member.leave()?;
        }
        self.network.stop()?;
        println!(
            "ended          every process in order, {:.1} s after the programs were built",
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }

    fn check_copy(&self, leecher: &Member) -> Result<()> {
        let sha1 = content::sha1_of(&leecher.path_of(&self.file.name))?;
        let wrong = || -> Failure {
            format!("{}'s copy has SHA-1 {sha1} instead of {}", leecher.user(), self.file.sha1)
                .into()
        };
        if sha1 == self.file.sha1 { Ok(()) } else { Err(wrong()) }
    }
}
