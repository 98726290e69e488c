//! Explains why a download is not moving: facts, one a line.

use std::time::Duration;

use super::error::ClientError;
use super::runtime::{LanStatus, Runtime};
use super::session::input::Input;
use super::session::status::DownloadPhase;
use super::start::Client;
use super::trackers::uptime;
use crate::store::ShareRow;
use crate::swarm::{ReadTrouble, Transfer, TransferState, Why};
use crate::types::{DeviceId, GroupId, InfoHash, bad_data_text, unreachable_text};

/// Maximum number of departed members, and of unreachable peers, that are named.
const SEEN_MAX: usize = 5;

impl Client {
    /// Explains a download's state: the pieces that no online member has, the members who had them
    /// and when they were last seen, the disk, the trackers, the banned devices.
    /// For an offered file: what members report of it.
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`].
    pub fn why(&self, group: &str, file: &str) -> Result<Vec<String>, ClientError> {
        self.inner.tell(Input::LookAtShares);
        let view = self.inner.view();
        let away = |row: &ShareRow| view.library.away.get(&(row.group, row.facts.info_hash));
        let share = view.library.share_named(group, file);
        let status = match (self.download(group, file), share) {
            (Ok(download), _) => download.status(),
            (Err(ClientError::NoSuchDownload { .. }), Some(share)) => {
                let is_away = away(&share.row).is_some();
                let what = if is_away { "shared" } else { "offered" };
                let mut lines = vec![format!("it is {what} from {}", share.row.path.display())];
                self.inner.explain_reports(Some(&share.row), &mut lines);
                return Ok(lines);
            }
            (Err(error), _) => return Err(error),
        };
        let download = view.library.find(group, file);
        let transfer = download.and_then(|download| self.inner.live(download));
        let place = download.map(|download| (download.row.group, download.info_hash()));
        let mut lines = vec![match &status.phase {
            DownloadPhase::Complete => format!("it is complete: {}", status.path.display()),
            DownloadPhase::Failed(reason) => {
                format!("it failed: {reason}; resume_download tries again")
            }
            DownloadPhase::Paused(None) => "it was paused; resume_download goes on".into(),
            DownloadPhase::Paused(Some(reason)) => {
                format!("it is paused: {reason}; resume_download goes on")
            }
            DownloadPhase::Running if status.bytes_per_second > 0 => {
                format!(
                    "it is moving: {}/s from {}",
                    super::human_bytes(status.bytes_per_second),
                    counted(status.peers, "peer")
                )
            }
            DownloadPhase::Queued(place) => {
                format!(
                    "it waits for others to end, at place {place} of the queue; prioritize lets it go first"
                )
            }
            DownloadPhase::Running => "it is running, but nothing has arrived lately".into(),
        }];
        let why =
            transfer.filter(|_| status.phase == DownloadPhase::Running).as_ref().map(Transfer::why);
        if let (Some(why), Some(place)) = (why, place) {
            self.inner.explain_transfer(&why, place, &mut lines);
        }
        self.inner.explain_reports(share.map(|share| &*share.row), &mut lines);
        if !self.inner.trackers.is_reachable() {
            lines.push(no_tracker_text(&self.inner.lan.status()));
        }
        Ok(lines)
    }
}

impl Runtime {
    /// Adds why others may get nothing from here: of a file, and at all.
    fn explain_reports(&self, share: Option<&ShareRow>, lines: &mut Vec<String>) {
        let reports = &self.view().reports;
        if let Some(row) = share {
            let away = &self.view().library.away;
            let reason = away.get(&(row.group, row.facts.info_hash));
            lines.extend(reason.map(|reason| format!("it is not offered: {reason}")));
            let trouble = self.engine().and_then(|engine| engine.read_trouble(row.facts.info_hash));
            lines.extend(trouble.map(|trouble| match trouble {
                ReadTrouble::DiskHangs => self.disks.hanging_text(&row.path),
                ReadTrouble::Error(error) => format!("it cannot be read: {error}"),
            }));
            let members = reports.bad_data((row.group, row.facts.info_hash));
            lines.extend((members > 0).then(|| bad_data_text(members, row.label.as_str())));
        }
        let unreachable = reports.unreachable(uptime());
        lines.extend(unreachable.map(|(address, members)| unreachable_text(members, address)));
        if unreachable.is_some() {
            let attempts = self.routers.attempts();
            lines.extend(attempts.iter().map(ToString::to_string));
            lines.extend(self.why_no_mapping().map(str::to_owned));
        }
        lines.extend(self.config.unreachable(self.address));
    }

    fn explain_transfer(
        &self,
        why: &Why,
        (group, info_hash): (GroupId, InfoHash),
        lines: &mut Vec<String>,
    ) {
        match &why.state {
            _ if why.disk_hangs => {
                let download =
                    self.view().library.download(info_hash).map(|d| d.row.target.clone());
                lines.extend(download.map(|target| self.disks.hanging_text(&target)));
            }
            TransferState::Checking => lines.push(
                "the pieces on disk are being checked, or copied from a file that is here".into(),
            ),
            TransferState::Finishing => {
                lines.push("every piece is here; the whole file is being checked".into())
            }
            _ if !why.metainfo_known => {
                lines.push("nobody who is online has told which pieces the file has".into())
            }
            _ if why.awaits_chain => {
                lines.push("the list that proves its pieces has not come yet".into())
            }
            _ if why.unoffered > 0 => {
                let (count, pieces) = (why.unoffered, counted(why.pieces, "piece"));
                let verb = is_or_are(count);
                lines.push(format!("{count} of {pieces} {verb} offered by nobody who is online"));
            }
            _ if why.links > 0 && why.unchoked == 0 => {
                lines.push("every peer is busy serving others; it is our turn soon".into())
            }
            _ => {}
        }
        lines.extend(why.limit.map(|limit| {
            format!("it is slowed down by a limit of {}/s", super::human_bytes(limit.get()))
        }));
        lines.push(format!(
            "{} of {} {} here; {} {} connected",
            why.have,
            counted(why.pieces, "piece"),
            is_or_are(why.have),
            counted(why.links, "peer"),
            is_or_are(why.links)
        ));
        lines.extend(self.relay_text(why));
        let view = self.view();
        let sources: Vec<GroupId> = view.library.sources_of(info_hash).collect();
        if !sources.is_empty() {
            let names: Vec<String> =
                sources.iter().map(|group| self.names.group_text(*group)).collect();
            lines.push(format!(
                "{} offers it too: it is fetched from there as well",
                names.join(", ")
            ));
        }
        sources.into_iter().chain([group]).for_each(|group| self.learn_names(group, why));
        for seen in why.seen.iter().take(SEEN_MAX) {
            let (who, ago) = (self.name_of(seen.device), ago(seen.ago));
            lines.push(format!(
                "last seen: {who}, {ago}, with {} of {}",
                seen.pieces,
                counted(why.pieces, "piece")
            ));
        }
        for peer in why.unreachable.iter().take(SEEN_MAX) {
            lines.push(format!(
                "{} cannot be reached at {}: {}",
                self.name_of(peer.device),
                peer.address,
                peer.error
            ));
        }
        if why.corrupt > 0 {
            let were = if why.corrupt == 1 { "was" } else { "were" };
            let pieces = counted(why.corrupt, "piece");
            lines.push(format!("{pieces} arrived damaged and {were} requested again"));
        }
        for device in &why.banned {
            lines.push(format!(
                "{} sent bad data twice and is banned for this session",
                self.name_of(*device)
            ));
        }
    }

    /// What a relay does for it, or would.
    fn relay_text(&self, why: &Why) -> Option<String> {
        let relays = self.trackers.relays();
        if why.relayed > 0 {
            let peers = counted(why.relayed, "peer");
            Some(format!(
                "{peers} {} reached through a relay, as no direct connection came about; that is \
                 tried again",
                is_or_are(why.relayed)
            ))
        } else if why.unreachable.is_empty() || why.links > 0 {
            None
        } else if !self.config.relays.uses {
            Some("relays are not used, as --no-relays says".into())
        } else if relays.is_empty() {
            Some("no tracker relays (it would if it were started with --relay)".into())
        } else {
            Some(format!("the relay of {} was asked, too", relays.join(", ")))
        }
    }

    /// Asks a tracker for unknown names; without a tracker, ids are shown.
    fn learn_names(&self, group: GroupId, why: &Why) {
        let devices = why
            .seen
            .iter()
            .map(|seen| seen.device)
            .chain(why.unreachable.iter().map(|peer| peer.device));
        let view = self.view();
        let unknown = devices
            .chain(why.banned.iter().copied())
            .any(|d| view.book.user_of(d).is_some_and(|user| self.names.user(user).is_none()));
        if unknown && self.trackers.is_reachable() {
            // If that fails, ids are shown.
            let _ = self.members(group).all();
        }
    }

    fn name_of(&self, device: DeviceId) -> String {
        let user = self.view().book.user_of(device);
        let label = user.and_then(|user| self.names.user(user));
        label.map_or_else(|| format!("device {:.8}", device.to_string()), |label| label.to_string())
    }
}

/// What is left without a tracker.
fn no_tracker_text(lan: &LanStatus) -> String {
    let begin = "no tracker can be reached, so new peers are not found";
    match lan {
        LanStatus::On(_) => format!("{begin} but on this network"),
        LanStatus::Off(why) => format!("{begin}, not even on this network: {why}"),
    }
}

/// A number of things, as `1 piece` or `2 pieces`.
fn counted(count: u32, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

fn is_or_are(count: u32) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// How long ago something was, in the largest fitting unit.
pub(crate) fn ago(time: Duration) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let seconds = time.as_secs();
    let (size, unit) =
        units.into_iter().find(|(size, _)| seconds >= *size).unwrap_or((1, "second"));
    let count = seconds / size;
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_no_plural() {
        let told = [0, 1, 2].map(|n| format!("{} {} here", counted(n, "piece"), is_or_are(n)));
        assert_eq!(told, ["0 pieces are here", "1 piece is here", "2 pieces are here"]);
    }

    #[test]
    fn without_a_tracker_it_is_told_whether_the_network_is_searched() {
        let off = |why: &str| no_tracker_text(&LanStatus::Off(why.into()));
        assert!(no_tracker_text(&LanStatus::On("id".into())).ends_with(" but on this network"));
        assert!(off("--no-lan").ends_with("not found, not even on this network: --no-lan"));
        let failed = "UDP port 5353 cannot be used: Address already in use";
        assert!(off(failed).ends_with(&format!("network: {failed}")));
    }

    #[test]
    fn times_are_told_in_one_unit() {
        let told = [0, 1, 59, 60, 190, 7_200, 90_000].map(|s| ago(Duration::from_secs(s)));
        let want =
            ["0 seconds", "1 second", "59 seconds", "1 minute", "3 minutes", "2 hours", "1 day"]
                .map(|t| format!("{t} ago"));
        assert_eq!(told, want);
    }
}
