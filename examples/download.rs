//! Downloads one file with the library: `cargo run --example download -- <tracker> <user>
//! <password> <group> <file> [directory]`.
//!
//! It shows what a program of your own would do: start a client, log in, start a download, watch
//! it, wait for it.

use std::path::PathBuf;
use std::time::Duration;

use posse::types::{Password, TrackerAddress, TrackerInfo};
use posse::{Client, ClientConfig, ClientError, DownloadPhase};

/// How often progress is shown.
const SHOW_INTERVAL: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [tracker, user, password, group, file, rest @ ..] = words.as_slice() else {
        return Err(
            "usage: download <tracker host:port> <user> <password> <group> <file> [directory]"
                .into(),
        );
    };
    let directory = rest.first().map_or_else(|| PathBuf::from("."), PathBuf::from);

    let trackers = TrackerInfo::single(tracker.parse::<TrackerAddress>()?);
    // The device's key and state lie beside what it downloads: the next run is the same device.
    let config = ClientConfig {
        data_dir: directory.join(".posse"),
        ..ClientConfig::new("127.0.0.1:0".parse()?, trackers)
    };
    let client = Client::start(config)?;
    client.login(user, Password::new(password.clone())?)?;

    let download = client.download_file(group, file, &directory)?;
    download.on_end(|status| println!("{} ended: {:?}", status.file, status.phase));
    let path = loop {
        match download.wait(Some(SHOW_INTERVAL)) {
            Ok(path) => break path,
            Err(ClientError::TimedOut) => {
                let status = download.status();
                if status.phase == DownloadPhase::Running {
                    println!("{:3.0} % from {} peers", status.fraction() * 100.0, status.peers);
                }
            }
            Err(error) => return Err(error.into()),
        }
    };
    println!("{}", path.display());
    client.stop();
    Ok(())
}
