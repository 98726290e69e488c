//! A client with thousands of shares and a hundred unfinished downloads is killed, and started
//! again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::small::{GROUP, make, share, two_members};
use crate::support::show::{median, mib};
use crate::support::{Binaries, Member, Network, Process, Result};
use crate::{Options, show_used};

/// Time until it serves.
const BAR: Duration = Duration::from_secs(2);
/// Unfinished downloads, and the length of each.
const UNFINISHED: usize = 100;
const UNFINISHED_LEN: u64 = 16 << 20;
/// Bytes of all of them that are there when their only seeder is killed.
const FETCHED: u64 = 300 << 20;
/// Bytes in each share.
const SHARE_LEN: u64 = 4 << 10;
/// How often it is started.
const STARTS: usize = 3;
/// Time for the journal to be written.
const JOURNAL: Duration = Duration::from_secs(5);
/// How long it is watched while it has nothing to do.
const IDLE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures it.
pub(crate) fn run(binaries: &Binaries, dir: &Path, options: &Options) -> Result<()> {
    let network = Network::start(binaries, dir, 2)?;
    let (mut owner, mut reader) = two_members(&network)?;
    let shares = make(&dir.join("shares"), options.files, SHARE_LEN)?;
    share(&mut owner, &shares)?;
    let fetched = leave_unfinished(&network, &mut owner, dir)?;
    owner.kill()?;
    println!(
        "{} shares and {UNFINISHED} downloads of which {} are there, killed",
        shares.len(),
        mib(fetched)
    );
    let mut times = Vec::new();
    let mut client = None;
    for number in 0..STARTS {
        drop(client.take());
        let wanted = &shares[shares.len() / (number + 2)];
        let (started, process) = start_again(&network, &mut reader, wanted)?;
        println!(
            "  start {}: listening after {:.2} s, logged in after {:.2} s, has served a file after {:.2} s; {} read by then",
            number + 1,
            started.listening.as_secs_f64(),
            started.logged_in.as_secs_f64(),
            started.served.as_secs_f64(),
            mib(started.read)
        );
        times.push(started.served.as_secs_f64());
        client = Some(process);
    }
    let (middle, bar) = (median(times), BAR.as_secs_f64());
    println!(
        "\nfrom its start until it has served: {middle:.2} s (bar: {bar:.2} s, ratio {:.2})",
        middle / bar
    );
    if let Some(client) = client {
        let before = client.usage();
        std::thread::sleep(IDLE);
        let after = client.usage();
        let cpu = after.since(before).cpu.as_secs_f64() / IDLE.as_secs_f64();
        show_used(&[("the client since its start", after)]);
        println!("with nothing to do: {:.2} % of a core over {} s", cpu * 100.0, IDLE.as_secs());
    }
    reader.leave()?;
    network.stop()
}

/// Has downloads begin whose only seeder is killed on the way; returns the bytes that are there.
fn leave_unfinished(network: &Network, owner: &mut Member, dir: &Path) -> Result<u64> {
    let mut other = Member::start(network, "other")?;
    other.enter(owner, GROUP)?;
    let source = dir.join("large");
    std::fs::create_dir(&source)?;
    let files: Vec<PathBuf> =
        (0..UNFINISHED).map(|number| source.join(format!("large-{number:03}.bin"))).collect();
    let mut bytes = vec![0; UNFINISHED_LEN as usize];
    for (number, file) in files.iter().enumerate() {
        // No two pieces are the same.
        for (place, word) in bytes.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&((number << 32 | place) as u64).to_le_bytes());
        }
        std::fs::write(file, &bytes)?;
    }
    share(&mut other, &files)?;
    owner.ask(&["limits", "downloads", "0"])?;
    owner.ask(&["limits", "download", "100M"])?;
    for file in &files {
        let name =
            file.file_name().and_then(|name| name.to_str()).ok_or("the name is not UTF-8")?;
        owner.type_words(&[
            "download_file",
            GROUP,
            name,
            owner.path_of("").to_str().ok_or("the path is not UTF-8")?,
        ])?;
    }
    while downloads(owner)?.1 < FETCHED {
        std::thread::sleep(Duration::from_millis(50));
    }
    other.kill()?;
    std::thread::sleep(JOURNAL);
    let (running, done) = downloads(owner)?;
    if running < UNFINISHED * 9 / 10 {
        return Err(format!("only {running} downloads are unfinished").into());
    }
    std::fs::remove_dir_all(source)?;
    Ok(done)
}

/// How many downloads run, and the bytes there of them.
fn downloads(owner: &mut Member) -> Result<(usize, u64)> {
    let answer = owner.ask(&["show_downloads"])?;
    let rows: Vec<&Value> = answer["downloads"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["state"] != "complete")
        .collect();
    Ok((rows.len(), rows.iter().filter_map(|row| row["bytes_done"].as_u64()).sum()))
}

/// How long a start took.
struct Started {
    listening: Duration,
    logged_in: Duration,
    served: Duration,
    /// Bytes read by then, from wherever.
    read: u64,
}

/// Starts the owner's client with the login in its commands, while somebody waits for one of its
/// shares.
fn start_again(
    network: &Network,
    reader: &mut Member,
    wanted: &Path,
) -> Result<(Started, Process)> {
    let name = wanted.file_name().and_then(|name| name.to_str()).ok_or("the name is not UTF-8")?;
    reader.download(GROUP, name)?;
    let (data_dir, login) = ("client-owner", "login owner 'correct horse'");
    let arguments = [
        "127.0.0.1:0",
        network.info(),
        "--data-dir",
        data_dir,
        "--json",
        "-c",
        login,
        "-c",
        "seed",
    ];
    let begun = Instant::now();
    let mut process =
        Process::start("owner-again", &network.binaries().client, &arguments, network.dir())?;
    let mut when = |wanted: &dyn Fn(&Value) -> bool| -> Result<Instant> {
        loop {
            let (at, line) = process.line(Instant::now() + PATIENCE)?;
            if wanted(&serde_json::from_str(&line)?) {
                return Ok(at);
            }
        }
    };
    let listening = when(&|object| object["event"] == "listening")?.duration_since(begun);
    let logged_in =
        when(&|object| object["command"] == "login" && object["ok"] == true)?.duration_since(begun);
    let served = reader.wait_complete()?.duration_since(begun);
    let read = read_by(&process);
    Ok((Started { listening, logged_in, served, read }, process))
}

/// Bytes that the process has read, from the disk's cache too.
fn read_by(process: &Process) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", process.id())).unwrap_or_default();
    let rchar = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    rchar.and_then(|number| number.parse().ok()).unwrap_or(0)
}
