//! One run of one swarm: the tracker, the clients, the download by all of them at once, and what it
//! took.
//!
//! Its time begins when the first `download_file` is typed, and ends when the last client says that
//! its file is complete: verified twice, synced and renamed. Everybody is logged in and in the
//! group before.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::scenario::{Event, Scenario};
use crate::support::{Binaries, Member, Process, Result, check_interrupt, content};
use crate::uplink::{Sampler, Samples};

const GROUP: &str = "lab";
const PORT: u16 = 5000;
/// How long a client is waited for when it starts.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was measured.
pub(crate) struct Outcome {
    /// When the downloads began.
    pub(crate) start: Instant,
    /// When each leecher that stayed was complete.
    pub(crate) complete: Vec<Instant>,
    /// Bytes of blocks that the seeder sent.
    pub(crate) seeder_sent: u64,
    /// Bytes of blocks that all sent, beyond what those that stayed needed; unknown where some were
    /// killed.
    pub(crate) wasted: Option<u64>,
    /// CPU time of all clients that stayed.
    pub(crate) cpu: Duration,
    /// The uplinks.
    pub(crate) samples: Samples,
}

impl Outcome {
    /// From the start until the last was complete.
    pub(crate) fn time(&self) -> Duration {
        self.end().duration_since(self.start)
    }

    /// When the last was complete.
    pub(crate) fn end(&self) -> Instant {
        self.complete.iter().copied().max().unwrap_or(self.start)
    }
}

/// Runs the swarm once; its files are below `dir`.
pub(crate) fn run(
    scenario: &Scenario,
    binaries: &Binaries,
    file: &Path,
    dir: &Path,
    log: &str,
) -> Result<Outcome> {
    let (sha1, name) = (
        content::sha1_of(file)?,
        file.file_name().and_then(|name| name.to_str()).ok_or("a file without a name")?,
    );
    let mut lab = Lab::new()?;
    let caps = scenario.all();
    let nodes: Vec<usize> = std::iter::once(scenario.seeder)
        .chain(caps)
        .map(|rate| lab.add(rate))
        .collect::<Result<_>>()?;
    let swarm = Swarm { lab: &lab, binaries, dir, log };
    let _tracker = swarm.tracker()?;
    let mut members: Vec<Member> =
        nodes.iter().map(|&node| swarm.client(node)).collect::<Result<_>>()?;
    let (seeder, leechers) = members.split_at_mut(1);
    let seeder = &mut seeder[0];
    seeder.ask(&["create_group", GROUP])?;
    leechers.iter_mut().try_for_each(|leecher| leecher.enter(seeder, GROUP))?;
    seeder.upload(file, GROUP)?;
    let sampler = Sampler::start(&lab, nodes.len(), dir)?;
    let start = play(scenario, leechers, name)?;
    let stay = |(leecher, member)| if scenario.is_killed(leecher) { None } else { Some(member) };
    let mut stayed: Vec<&mut Member> = leechers.iter_mut().enumerate().filter_map(stay).collect();
    let complete: Vec<Instant> =
        stayed.iter_mut().map(|member| member.wait_complete()).collect::<Result<_>>()?;
    let samples = sampler.stop();
    let cpu = stayed.iter().map(|member| member.usage().cpu).sum::<Duration>() + seeder.usage().cpu;
    let sent = |member: &mut Member| {
        Ok::<u64, crate::support::Failure>(member.sent()?.iter().map(|(_, sent)| sent).sum())
    };
    let seeder_sent = sent(seeder)?;
    let all = stayed.iter_mut().map(|member| sent(member)).sum::<Result<u64>>()? + seeder_sent;
    let needed = scenario.len * stayed.len() as u64;
    let wasted = matches!(scenario.event, Event::None).then(|| all.saturating_sub(needed));
    stayed.iter().try_for_each(|member| check(&member.path_of(name), &sha1))?;
    Ok(Outcome { start, complete, seeder_sent, wasted, cpu, samples })
}

/// Begins the downloads and lets happen what is to happen on the way; returns when what is measured
/// began.
fn play(scenario: &Scenario, leechers: &mut [Member], name: &str) -> Result<Instant> {
    let (first, late) = leechers.split_at_mut(scenario.leechers.len());
    let start = Instant::now();
    first.iter_mut().try_for_each(|member| member.type_download(GROUP, name).map(drop))?;
    match scenario.event {
        Event::None => Ok(start),
        Event::Replace(after) => {
            sleep_until(start + after)?;
            first
                .iter_mut()
                .enumerate()
                .filter(|(leecher, _)| scenario.is_killed(*leecher))
                .try_for_each(|(_, m)| m.kill())?;
            late.iter_mut().try_for_each(|member| member.type_download(GROUP, name).map(drop))?;
            Ok(start)
        }
        Event::Crowd(after, _) => {
            sleep_until(start + after)?;
            let start = Instant::now();
            late.iter_mut().try_for_each(|member| member.type_download(GROUP, name).map(drop))?;
            Ok(start)
        }
    }
}

fn sleep_until(when: Instant) -> Result<()> {
    while Instant::now() < when {
        check_interrupt()?;
        std::thread::sleep(
            when.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)),
        );
    }
    Ok(())
}

/// The copy must be right, or its time means nothing; it makes room for the next run.
fn check(copy: &Path, sha1: &str) -> Result<()> {
    if content::sha1_of(copy)? != sha1 {
        return Err(format!("{} is not a copy of the file", copy.display()).into());
    }
    Ok(std::fs::remove_file(copy)?)
}

/// Where the programs run.
struct Swarm<'a> {
    lab: &'a Lab,
    binaries: &'a Binaries,
    dir: &'a Path,
    log: &'a str,
}

impl Swarm<'_> {
    /// Starts the tracker on the switch.
    fn tracker(&self) -> Result<Process> {
        std::fs::write(
            self.dir.join("tracker_info.txt"),
            format!("{}:{PORT}\n", self.lab.tracker_address()),
        )?;
        // Accounts, groups and requests are made here as fast as they can be.
        let unbounded =
            ["--accounts-per-hour", "0", "--groups-per-hour", "0", "--requests-per-hour", "0"];
        let common = [
            "tracker_info.txt",
            "1",
            "--data-dir",
            "tracker",
            "--network-key",
            "network.key",
            "--log",
            "info",
        ];
        let mut tracker = self.start(
            "tracker",
            &self.lab.switch(),
            &self.binaries.tracker,
            &[&common[..], &unbounded].concat(),
        )?;
        let (_, line) = tracker.line(Instant::now() + PATIENCE)?;
        if !line.starts_with("tracker 1 listening on ") {
            return Err(format!("the tracker began with an unexpected line: {line}").into());
        }
        Ok(tracker)
    }

    /// Starts a client on a node, logged in as `m<node>`.
    fn client(&self, node: usize) -> Result<Member> {
        let (user, listen) = (format!("m{node}"), format!("{}:0", self.lab.address(node)));
        let (data, files): (String, PathBuf) =
            (format!("client-{user}"), self.dir.join(format!("files-{user}")));
        std::fs::create_dir_all(&files)?;
        let args =
            [listen.as_str(), "tracker_info.txt", "--data-dir", &data, "--json", "--log", self.log];
        Member::begin(
            self.start(&data, &self.lab.node(node), &self.binaries.client, &args)?,
            &user,
            files,
        )
    }

    fn start(&self, name: &str, namespace: &str, program: &Path, args: &[&str]) -> Result<Process> {
        let program = program.to_str().ok_or("a program's path is not UTF-8")?;
        let before = ["netns", "exec", namespace, program];
        Process::start(name, Path::new("ip"), &[&before[..], args].concat(), self.dir)
    }
}
