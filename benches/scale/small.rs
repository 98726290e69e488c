//! Thousands of small files in one group: how fast one member shares them, and how fast another
//! fetches all of them. Then the other one's client is started again, to see what it needs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::show::mib;
use crate::support::{Binaries, Member, Network, Process, Result, Usage, content};
use crate::{Options, show_used};

/// Bytes in each file.
const LEN: u64 = 20 << 10;
/// Files a second that are to be fetched.
const BAR: f64 = 500.0;
/// Memory of a client with as many shares and complete downloads.
const MEMORY_BAR: u64 = 40 << 20;
/// Time after the login until its memory and threads are read.
const IDLE: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(60);
/// The group.
pub(crate) const GROUP: &str = "lab";

/// Measures it once.
pub(crate) fn run(binaries: &Binaries, dir: &Path, options: &Options) -> Result<()> {
    let network = Network::start(binaries, dir, 2)?;
    let (mut owner, mut reader) = two_members(&network)?;
    let files = make(&dir.join("source"), options.files, LEN)?;
    println!(
        "{} files of {} KiB, two trackers, files in {}",
        files.len(),
        LEN >> 10,
        dir.display()
    );
    let before = used(&network, &owner, &reader);
    let took = share(&mut owner, &files)?;
    show("upload_file, line by line", &files, took, None);
    show_since(before, used(&network, &owner, &reader));
    let before = used(&network, &owner, &reader);
    reader.ask(&["limits", "downloads", &options.at_once.to_string()])?;
    let took = fetch(&mut reader, &files)?;
    let what = format!(
        "download_file, all typed at once, {} at a time, until the last is complete",
        options.at_once
    );
    show(&what, &files, took, Some(BAR));
    show_since(before, used(&network, &owner, &reader));
    compare(&files, &reader)?;
    reader.leave()?;
    show_again(&network, files.len())?;
    owner.leave()?;
    network.stop()
}

/// Starts the client of the member again who has fetched all files and shares them now.
fn show_again(network: &Network, count: usize) -> Result<()> {
    let (data_dir, login) = ("client-reader", "login reader 'correct horse'");
    let arguments = ["127.0.0.1:0", network.info(), "--data-dir", data_dir, "--json"];
    let arguments = [&arguments[..], &["-c", login, "-c", "seed"]].concat();
    let client = &network.binaries().client;
    let mut process = Process::start("reader-again", client, &arguments, network.dir())?;
    loop {
        let (_, line) = process.line(Instant::now() + PATIENCE)?;
        let object: Value = serde_json::from_str(&line)?;
        if object["command"] == "login" {
            if object["ok"] != true {
                return Err(format!("no login: {object}").into());
            }
            break;
        }
    }
    std::thread::sleep(IDLE);
    let usage = process.usage();
    let ratio = usage.memory_peak as f64 / MEMORY_BAR as f64;
    println!(
        "\nwith {count} shares and {count} complete downloads, {} s after a login: {} (at most {}; \
         bar: {}, ratio {ratio:.2}), {} threads",
        IDLE.as_secs(),
        mib(usage.memory),
        mib(usage.memory_peak),
        mib(MEMORY_BAR),
        usage.threads
    );
    process.kill()
}

/// The owner of a group, and a member.
pub(crate) fn two_members(network: &Network) -> Result<(Member, Member)> {
    let mut owner = Member::start(network, "owner")?;
    owner.ask(&["create_group", GROUP])?;
    let mut reader = Member::start(network, "reader")?;
    reader.enter(&mut owner, GROUP)?;
    Ok((owner, reader))
}

/// Makes files that have nothing in common.
pub(crate) fn make(dir: &Path, count: usize, len: u64) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir)?;
    let path = |number| dir.join(format!("{number:06}.bin"));
    let files: Vec<PathBuf> = (0..count).map(path).collect();
    // One byte more each would be other content: the generator goes by the length. So the number is
    // written into each.
    content::make(&dir.join("model"), len)?;
    let mut bytes = std::fs::read(dir.join("model"))?;
    for (number, file) in files.iter().enumerate() {
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        std::fs::write(file, &bytes)?;
    }
    std::fs::remove_file(dir.join("model"))?;
    Ok(files)
}

/// Shares all files as a script does; returns the time until the last is shared.
pub(crate) fn share(owner: &mut Member, files: &[PathBuf]) -> Result<Duration> {
    let started = Instant::now();
    for file in files {
        owner.type_words(&["upload_file", file.to_str().ok_or("the path is not UTF-8")?, GROUP])?;
    }
    let mut last = started;
    let mut shared = 0;
    while shared < files.len() {
        let (at, object) = owner.next()?;
        if object["command"] == "upload_file" {
            if object["ok"] != true {
                return Err(format!("a file is not shared: {object}").into());
            }
            (shared, last) = (shared + 1, at);
        }
    }
    Ok(last.duration_since(started))
}

/// Fetches all files as a script does; returns the time until the last is complete.
fn fetch(reader: &mut Member, files: &[PathBuf]) -> Result<Duration> {
    let started = Instant::now();
    let (mut complete, mut last) = (0, started);
    let destination = reader.path_of("");
    let destination = destination.to_str().ok_or("the path is not UTF-8")?.to_owned();
    for file in files {
        let name =
            file.file_name().and_then(|name| name.to_str()).ok_or("the name is not UTF-8")?;
        reader.type_words(&["download_file", GROUP, name, &destination])?;
    }
    while complete < files.len() {
        let (at, object) = reader.next()?;
        if object["event"] == "download_complete" {
            (complete, last) = (complete + 1, at);
        } else if object["event"] == "download_failed" || object["ok"] == false {
            return Err(format!("a download failed: {object}").into());
        }
    }
    Ok(last.duration_since(started))
}

fn compare(files: &[PathBuf], reader: &Member) -> Result<()> {
    for file in files {
        let name =
            file.file_name().and_then(|name| name.to_str()).ok_or("the name is not UTF-8")?;
        if std::fs::read(file)? != std::fs::read(reader.path_of(name))? {
            return Err(format!("the copy of {name} is another file").into());
        }
    }
    Ok(())
}

fn show(what: &str, files: &[PathBuf], took: Duration, bar: Option<f64>) {
    let rate = files.len() as f64 / took.as_secs_f64();
    let bar = bar.map(|bar| format!(" (bar: {bar:.0} a second, ratio {:.2})", rate / bar));
    println!(
        "\n{what}: {:.1} s, {rate:.0} files a second{}",
        took.as_secs_f64(),
        bar.unwrap_or_default()
    );
}

fn used(network: &Network, owner: &Member, reader: &Member) -> [Usage; 4] {
    [owner.usage(), reader.usage(), network.tracker(1).usage(), network.tracker(2).usage()]
}

fn show_since(before: [Usage; 4], after: [Usage; 4]) {
    let names = ["who shares", "who fetches", "tracker 1", "tracker 2"];
    let since: Vec<Usage> =
        before.into_iter().zip(after).map(|(before, after)| after.since(before)).collect();
    show_used(&names.into_iter().zip(since).collect::<Vec<_>>());
}
