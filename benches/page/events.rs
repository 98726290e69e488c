//! A download while pages read the client's events, and one that is read through the page.

use std::net::Shutdown;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::http::Page;
use crate::support::show::{median, rate};
use crate::support::{Network, Result, content};
use crate::{Options, member};

/// What the pages may cost of a download's speed.
const BAR_EVENTS: f64 = 0.03;
/// What a download that is read is to reach of one that is not.
const BAR_STREAM: f64 = 0.80;
/// Pages that are open.
const PAGES: usize = 32;
const FILE: &str = "source.bin";

/// One download.
struct Sample {
    time: Duration,
    /// CPU time of the receiving client.
    cpu: Duration,
}

/// How the page is used meanwhile.
#[derive(Clone, Copy)]
enum Use {
    Not,
    Events,
    Content,
}

/// Measures a download with and without readers of events.
pub(crate) fn run(network: &Network, options: &Options) -> Result<()> {
    let (without, with) = compare(network, options, Use::Events)?;
    let lost = with.time.as_secs_f64() / without.time.as_secs_f64() - 1.0;
    println!(
        "{PAGES} pages that read events cost {:.1} % of the time (bar: {:.0} %), and {:.2} s of \
         CPU beside {:.2} s",
        lost * 100.0,
        BAR_EVENTS * 100.0,
        with.cpu.as_secs_f64(),
        without.cpu.as_secs_f64()
    );
    Ok(())
}

/// Measures a download that is read through the page while it comes.
pub(crate) fn run_stream(network: &Network, options: &Options) -> Result<()> {
    let (without, with) = compare(network, options, Use::Content)?;
    let ratio = without.time.as_secs_f64() / with.time.as_secs_f64();
    println!(
        "read through the page while it comes: {ratio:.2} of a download that is not read (bar: \
         {BAR_STREAM:.2}); {:.2} s of CPU beside {:.2} s",
        with.cpu.as_secs_f64(),
        without.cpu.as_secs_f64()
    );
    Ok(())
}

/// Downloads a file several times without and with the page in use; returns the medians.
fn compare(network: &Network, options: &Options, used: Use) -> Result<(Sample, Sample)> {
    let (file, len) = (network.dir().join(FILE), options.mib << 20);
    content::make(&file, len)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for number in 0..options.runs {
        // In turn, so that both meet the same machine.
        without.push(download(network, &file, &format!("plain-{number}"), Use::Not)?);
        with.push(download(network, &file, &format!("page-{number}"), used)?);
        let speed = |samples: &[Sample]| rate(len, samples[number].time);
        println!("  run {}: {:.0} and {:.0} MB/s", number + 1, speed(&without), speed(&with));
    }
    Ok((middle(&without), middle(&with)))
}

fn middle(samples: &[Sample]) -> Sample {
    let of = |value: &dyn Fn(&Sample) -> Duration| {
        let values = samples.iter().map(|sample| value(sample).as_secs_f64()).collect();
        Duration::from_secs_f64(median(values))
    };
    Sample { time: of(&|sample| sample.time), cpu: of(&|sample| sample.cpu) }
}

fn download(network: &Network, file: &Path, group: &str, used: Use) -> Result<Sample> {
    let (mut owner, _) = member(network, &format!("{group}-owner"))?;
    owner.ask(&["create_group", group])?;
    owner.upload(file, group)?;
    let (mut reader, page) = member(network, &format!("{group}-reader"))?;
    reader.enter(&mut owner, group)?;
    let pages = match used {
        Use::Events => open_events(&page)?,
        _ => Vec::new(),
    };
    let before = reader.usage();
    let begun = reader.download(group, FILE)?;
    let read = match used {
        Use::Content => {
            let path = format!("groups/{group}/files/{FILE}/content");
            let len = page.get(&path)?.read()?;
            if len != file.metadata()?.len() {
                return Err(format!("the content ended after {len} bytes").into());
            }
            Instant::now()
        }
        _ => begun,
    };
    let time = reader.wait_complete()?.max(read).duration_since(begun);
    let cpu = reader.usage().since(before).cpu;
    for (connection, thread) in pages {
        connection.shutdown(Shutdown::Both)?;
        if thread.join().unwrap_or(0) == 0 {
            return Err("a page read no events".into());
        }
    }
    std::fs::remove_file(reader.path_of(FILE))?;
    reader.leave()?;
    owner.leave()?;
    Ok(Sample { time, cpu })
}

type Reader = (std::net::TcpStream, std::thread::JoinHandle<u64>);

/// Opens the pages, each with a thread that reads its events.
fn open_events(page: &Page) -> Result<Vec<Reader>> {
    let open = |_| -> Result<Reader> {
        let body = page.get("events")?;
        let connection = body.connection()?;
        let thread = std::thread::Builder::new().name("page".into());
        Ok((connection, thread.spawn(move || body.read_until_closed())?))
    };
    (0..PAGES).map(open).collect()
}
