//! The methods about the client as a whole.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Call;
use super::actions::rate;
use super::request::{self, Arguments, AskFreeSpace, GetSession, SetSession};
use crate::client::api::{ApiError, Command, DownloadState, Limits};

/// The version of the RPC, and the oldest that it goes on to serve.
const RPC_VERSION: [u32; 2] = [16, 14];
/// What a limit in kB/s is before anybody sets one: Transmission's.
const SPEED: u64 = 100;
/// The same for the number of downloads that run.
const QUEUE: usize = 5;

/// What callers have set and the client does not keep; it ends with the page.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) download_dir: Option<PathBuf>,
    pub(super) starts_added: bool,
    /// Numbers that count once their limit is on.
    down: u64,
    up: u64,
    queue: usize,
}

impl Settings {
    pub(super) fn new(directories: &[PathBuf]) -> Self {
        let download_dir = directories.first().cloned();
        Self { download_dir, starts_added: true, down: SPEED, up: SPEED, queue: QUEUE }
    }

    /// Takes the limits that are on.
    fn learn(&mut self, limits: &Limits) {
        self.down = limits.download.map_or(self.down, |rate| rate.get() / 1000);
        self.up = limits.upload.map_or(self.up, |rate| rate.get() / 1000);
        self.queue = limits.downloads.unwrap_or(self.queue);
    }
}

impl Call<'_> {
    pub(super) fn session_get(&self, arguments: &Arguments) -> Result<Value, ApiError> {
        let GetSession { fields } = request::read(arguments)?;
        let snapshot = self.rpc.api.snapshot()?;
        let limits = &snapshot.limits;
        let mut settings = self.rpc.settings.lock();
        settings.learn(limits);
        let directory = settings.download_dir.as_deref();
        let port = snapshot.address.parse::<SocketAddr>().map_or(0, |address| address.port());
        let kilo = ["kB", "MB", "GB", "TB"];
        let mut all = json!({
            "version": format!("3.00 (Posse {})", snapshot.version),
            "rpc-version": RPC_VERSION[0],
            "rpc-version-minimum": RPC_VERSION[1],
            "session-id": self.rpc.session_id.to_str().unwrap_or_default(),
            "config-dir": snapshot.data_dir,
            "download-dir": directory.map(Path::to_string_lossy).unwrap_or_default(),
            "peer-port": port,
            "speed-limit-down": settings.down,
            "speed-limit-down-enabled": limits.download.is_some(),
            "speed-limit-up": settings.up,
            "speed-limit-up-enabled": limits.upload.is_some(),
            "download-queue-size": settings.queue,
            "download-queue-enabled": limits.downloads.is_some(),
            "start-added-torrents": settings.starts_added,
            "encryption": "required",
            "rename-partial-files": true,
            "units": {
                "speed-units": kilo.map(|unit| format!("{unit}/s")), "speed-bytes": 1000,
                "size-units": kilo, "size-bytes": 1000,
                "memory-units": ["KiB", "MiB", "GiB", "TiB"], "memory-bytes": 1024,
            },
            "alt-speed-down": 0,
            "alt-speed-up": 0,
            "alt-speed-time-begin": 0,
            "alt-speed-time-end": 0,
            "alt-speed-time-day": 127,
        });
        // What Posse does not have.
        for name in [
            "alt-speed-enabled",
            "alt-speed-time-enabled",
            "blocklist-enabled",
            "dht-enabled",
            "idle-seeding-limit-enabled",
            "incomplete-dir-enabled",
            "lpd-enabled",
            "peer-port-random-on-start",
            "pex-enabled",
            "port-forwarding-enabled",
            "queue-stalled-enabled",
            "script-torrent-done-enabled",
            "seed-queue-enabled",
            "seedRatioLimited",
            "trash-original-torrent-files",
            "utp-enabled",
        ] {
            all[name] = json!(false);
        }
        Ok(match fields {
            None => all,
            Some(fields) => {
                let pairs = fields.into_iter().filter_map(|name| {
                    let value = all.get(&name)?.clone();
                    Some((name, value))
                });
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        })
    }

    pub(super) fn session_set(&self, arguments: &Arguments) -> Result<Value, ApiError> {
        let asked: SetSession = request::read(arguments)?;
        let limits = self.rpc.api.snapshot()?.limits;
        let mut settings = self.rpc.settings.lock();
        settings.learn(&limits);
        let down = asked.speed_limit_down.unwrap_or(settings.down);
        let up = asked.speed_limit_up.unwrap_or(settings.up);
        let queue = asked.download_queue_size.unwrap_or(settings.queue);
        let is_on = |asked: Option<bool>, is_on: bool| asked.unwrap_or(is_on);
        let limits_down = is_on(asked.speed_limit_down_enabled, limits.download.is_some());
        let limits_up = is_on(asked.speed_limit_up_enabled, limits.upload.is_some());
        let limits_queue = is_on(asked.download_queue_enabled, limits.downloads.is_some());
        // All is checked before anything is changed.
        let new_down = limits_down.then(|| rate(down)).transpose()?;
        let new_up = limits_up.then(|| rate(up)).transpose()?;
        let look = |dir: String| self.routes.look(Path::new(&dir), self.caller, Path::to_owned);
        let directory = asked.download_dir.map(look).transpose()?;
        if limits_queue && queue == 0 {
            let text =
                "download-queue-size is at least 1; switch download-queue-enabled off instead";
            return Err(ApiError::bad_argument(text));
        }
        if new_down != limits.download {
            self.command(Command::LimitDownloads { limit: new_down })?;
        }
        if new_up != limits.upload {
            self.command(Command::LimitUploads { limit: new_up })?;
        }
        let new_queue = limits_queue.then_some(queue);
        if new_queue != limits.downloads {
            self.command(Command::LimitRunning { count: new_queue.unwrap_or(0) })?;
        }
        (settings.down, settings.up, settings.queue) = (down, up, queue);
        settings.download_dir = directory.or(settings.download_dir.take());
        settings.starts_added = asked.start_added_torrents.unwrap_or(settings.starts_added);
        Ok(json!({}))
    }

    pub(super) fn session_stats(&self) -> Result<Value, ApiError> {
        let torrents = self.torrents()?;
        let is_paused = |state| matches!(state, DownloadState::Paused | DownloadState::Failed);
        let paused = torrents.iter().filter(|torrent| torrent.state.is_some_and(is_paused)).count();
        let traffic = self.rpc.api.snapshot()?.traffic;
        Ok(json!({
            "activeTorrentCount": torrents.len() - paused,
            "pausedTorrentCount": paused,
            "torrentCount": torrents.len(),
            "downloadSpeed": traffic.received_per_second,
            "uploadSpeed": traffic.sent_per_second,
            "current-stats": {
                "downloadedBytes": traffic.bytes_received,
                "uploadedBytes": traffic.bytes_sent,
                "filesAdded": torrents.len(),
                "secondsActive": self.rpc.started.elapsed().as_secs(),
                "sessionCount": 1,
            },
        }))
    }

    pub(super) fn free_space(&self, arguments: &Arguments) -> Result<Value, ApiError> {
        let AskFreeSpace { path } = request::read(arguments)?;
        let place = Path::new(&path);
        let room = self.routes.look(place, self.caller, |real| rustix::fs::statvfs(real))?;
        let room = room.map_err(|error| ApiError::path(place, error))?;
        Ok(json!({
            "path": path,
            "size-bytes": room.f_bavail.saturating_mul(room.f_frsize),
            "total_size": room.f_blocks.saturating_mul(room.f_frsize),
        }))
    }
}
