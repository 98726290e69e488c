//! The snapshot of a client with thousands of unfinished downloads.

use std::time::{Duration, Instant};

use crate::support::show::median;
use crate::support::{Network, Result};
use crate::{Options, member};

/// Milliseconds for a whole snapshot.
const BAR: f64 = 20.0;
/// Requests that are measured in a run.
const REQUESTS: usize = 20;
/// Commands that are typed before their results are read.
const AT_ONCE: usize = 100;
const GROUP: &str = "lab";

/// Measures it.
pub(crate) fn run(network: &Network, options: &Options) -> Result<()> {
    let (mut owner, _) = member(network, "owner")?;
    owner.ask(&["create_group", GROUP])?;
    let (mut reader, page) = member(network, "reader")?;
    reader.enter(&mut owner, GROUP)?;
    let source = network.dir().join("source");
    std::fs::create_dir(&source)?;
    let names: Vec<String> =
        (0..options.files).map(|number| format!("file-{number:05}.bin")).collect();
    for (number, name) in names.iter().enumerate() {
        std::fs::write(source.join(name), format!("content {number}"))?;
    }
    let typed = |member: &mut crate::Member, commands: &[Vec<String>]| -> Result<()> {
        for some in commands.chunks(AT_ONCE) {
            for words in some {
                member.type_words(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
            let mut left = some.len();
            while left > 0 {
                let (_, object) = member.next()?;
                if object["command"] == some[0][0].as_str() {
                    if object["ok"] != true {
                        return Err(format!("{object}").into());
                    }
                    left -= 1;
                }
            }
        }
        Ok(())
    };
    let word = |text: &str| text.to_owned();
    let share = |name: &String| {
        vec![word("upload_file"), source.join(name).to_string_lossy().into_owned(), word(GROUP)]
    };
    typed(&mut owner, &names.iter().map(share).collect::<Vec<_>>())?;
    // Without a seeder the downloads stay unfinished.
    owner.kill()?;
    let target = reader.path_of("").to_string_lossy().into_owned();
    let fetch =
        |name: &String| vec![word("download_file"), word(GROUP), name.clone(), target.clone()];
    typed(&mut reader, &names.iter().map(fetch).collect::<Vec<_>>())?;
    let (mut times, mut len) = (Vec::new(), 0);
    for _ in 0..options.runs * REQUESTS {
        let begun = Instant::now();
        len = page.get("snapshot")?.read()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(20));
    }
    let middle = median(times);
    println!(
        "GET snapshot with {} downloads, {} KiB: {middle:.1} ms (bar: {BAR:.0} ms, ratio {:.2})",
        names.len(),
        len >> 10,
        middle / BAR
    );
    // It would wait for its downloads.
    reader.kill()
}
