//! Typed results to rows and fields.

use serde::Serialize;
use serde_json::Value;

use super::answer::Answer;
use super::listing::Look;
use super::output::Format;
use crate::client::api::{
    Download, DownloadState, File, Group, Limited, Limits, Member, Request, Shared, Tracker,
    TrackerRole, TrackerState, Trackers, Upload,
};
use crate::types::{Part, Rate, bad_data_text, human_bytes, unreachable_text};

/// All groups.
pub(super) const GROUPS: Look<'static, Group> = Look {
    field: "groups",
    none: "no groups",
    row: &|g| vec![g.group.to_string(), members_count(g.members), format!("owner {}", g.owner)],
    value: &to_value,
};

/// The user's groups.
pub(super) const MY_GROUPS: Look<'static, Group> = Look {
    field: "groups",
    none: "no groups",
    row: &|g| {
        let mut row = vec![g.group.to_string(), part(g.part).to_owned(), members_count(g.members)];
        row.extend(g.requests.filter(|count| *count > 0).map(|count| match count {
            1 => "1 request to join".to_owned(),
            count => format!("{count} requests to join"),
        }));
        row
    },
    value: &to_value,
};

/// A group's members.
pub(super) const MEMBERS: Look<'static, Member> = Look {
    field: "members",
    none: "no members",
    row: &|m| {
        let mut row = vec![
            m.user.to_string(),
            part(m.part).to_owned(),
            if m.online { "online" } else { "offline" }.to_owned(),
        ];
        row.extend(m.invited_by.as_ref().map(|inviter| format!("invited by {inviter}")));
        row
    },
    value: &to_value,
};

/// A group's pending requests.
pub(super) const REQUESTS: Look<'static, Request> = Look {
    field: "requests",
    none: "no requests",
    row: &|r| vec![r.user.to_string()],
    value: &to_value,
};

/// The JSON of a value of the interface.
pub(super) fn to_value(value: &impl Serialize) -> Value {
    // Only maps with other keys than strings can fail.
    serde_json::to_value(value).unwrap_or_default()
}

fn members_count(count: u32) -> String {
    format!("{count} member{}", if count == 1 { "" } else { "s" })
}

fn part(part: Part) -> &'static str {
    match part {
        Part::Stranger => "stranger",
        Part::Requested => "requested",
        Part::Member => "member",
        Part::Owner => "owner",
    }
}

/// What is shown of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum FileColumns {
    /// Sizes that are read easily, and what was asked for; the sharers last, as that column gives
    /// way on a narrow screen.
    People {
        /// The hash of the content.
        with_sha1: bool,
        /// When it was shared.
        with_date: bool,
    },
    /// Everything, in bytes.
    Script,
}

/// A file's line.
pub(super) fn file_row(file: &File, columns: FileColumns) -> Vec<String> {
    let mut sharers = file.sharers.iter().map(|label| label.as_str()).collect::<Vec<_>>().join(",");
    if let Some(more @ 1..) = file.sharer_count.checked_sub(file.sharers.len() as u32) {
        sharers.push_str(&format!(" and {more} more"));
    }
    let online = format!("{} online", file.online);
    match columns {
        FileColumns::Script => vec![
            file.file.to_string(),
            file.size.to_string(),
            file.sha1.to_string(),
            sharers,
            online,
        ],
        FileColumns::People { with_sha1, with_date } => {
            let mut row = vec![file.file.to_string(), human_bytes(file.size)];
            row.extend(with_date.then(|| date(file.since_ms)));
            row.extend(with_sha1.then(|| file.sha1.to_string()));
            row.extend([online, sharers]);
            row
        }
    }
}

/// A file that is now shared.
pub(super) fn shared(shared: &Shared, format: Format) -> Answer {
    let what = format!("sharing {} in {}", shared.file, shared.group);
    let replaces = shared.replaces_ms.map(|at| format!("replaces the version of {}", date(at)));
    let row = match format {
        // One sentence for people: of a row the last cell would be shortened.
        Format::Table => {
            let replaces = replaces.map(|replaces| format!("; it {replaces}"));
            vec![format!("{what}, {}{}", human_bytes(shared.size), replaces.unwrap_or_default())]
        }
        Format::Plain | Format::Json => {
            let mut row =
                vec![what, format!("{} bytes", shared.size), format!("sha1 {}", shared.sha1)];
            row.extend(replaces);
            row
        }
    };
    Answer { rows: vec![row], ..Answer::default() }.with_all(shared)
}

/// One download's line: `[D] [group] file` and what there is to say.
pub(super) fn download_row(status: &Download) -> Vec<String> {
    let name = |letter: char| format!("[{letter}] [{}] {}", status.group, status.file);
    let per_cent = || format!("{}%", (status.fraction() * 100.0).floor());
    let reason = || status.reason.clone().unwrap_or_default();
    match status.state {
        DownloadState::Running => {
            let rate = format!("{}/s", human_bytes(status.bytes_per_second));
            let left = time_left(status);
            let peers = peers(status);
            let mut cells = vec![name('D'), per_cent(), rate, left, peers];
            cells.extend(status.limit.map(|limit| format!("limit {}/s", human_bytes(limit.get()))));
            cells
        }
        DownloadState::Queued => {
            vec![name('Q'), per_cent(), format!("place {}", status.place.unwrap_or(1))]
        }
        DownloadState::Paused if status.reason.is_none() => {
            vec![name('P'), per_cent(), "paused".into()]
        }
        DownloadState::Paused => vec![name('P'), per_cent(), format!("paused: {}", reason())],
        DownloadState::Failed => vec![name('F'), reason()],
        DownloadState::Complete => vec![name('C'), status.path.clone()],
    }
}

/// How many peers, and how many of them came about in another way than directly.
pub(super) fn peers(status: &Download) -> String {
    let all = format!("{} peer{}", status.peers, if status.peers == 1 { "" } else { "s" });
    let ways = [(status.lan, "LAN"), (status.punched, "punched"), (status.relayed, "relayed")];
    ways.into_iter().filter(|(count, _)| *count > 0).fold(all, |told, (count, way)| {
        if count == status.peers {
            format!("{told}, {way}")
        } else {
            format!("{told}, {count} {way}")
        }
    })
}

/// Every download.
pub(super) fn downloads(downloads: &[Download]) -> Answer {
    let rows = downloads.iter().map(download_row).collect();
    Answer::rows(rows, "no downloads")
        .with("downloads", downloads.iter().map(to_value).collect::<Vec<_>>())
}

/// The limits.
pub(super) fn limits(status: &Limits) -> Answer {
    let rate = |rate: Option<Rate>| {
        rate.map_or_else(|| "off".to_owned(), |rate| format!("{}/s", human_bytes(rate.get())))
    };
    let count = status.downloads.map_or("off".into(), |count| format!("{count} at a time"));
    let mut rows = vec![
        vec!["upload".into(), rate(status.upload)],
        vec!["download".into(), rate(status.download)],
        vec!["downloads".into(), count],
    ];
    let row = |limited: &Limited| {
        vec![format!("[{}] {}", limited.group, limited.file), rate(Some(limited.limit))]
    };
    rows.extend(status.limited.iter().map(row));
    Answer::rows(rows, "no limits").with_all(status)
}

/// What is offered.
pub(super) fn uploads(uploads: &[Upload], format: Format) -> Answer {
    let row = |u: &Upload| {
        let peers = format!("{} peer{}", u.peers, if u.peers == 1 { "" } else { "s" });
        let bytes = |bytes: u64| match format {
            Format::Table => human_bytes(bytes),
            Format::Plain | Format::Json => format!("{bytes} bytes"),
        };
        let name = format!("[{}] {}", u.group, u.file);
        let mut cells = vec![name, peers, format!("{} sent", bytes(u.bytes_sent))];
        cells.extend(u.bytes_here.map(|here| format!("{} are here", bytes(here))));
        let is_bad = u.bad_data_members > 0;
        let bad = is_bad.then(|| bad_data_text(u.bad_data_members, u.file.as_str()));
        cells.extend(bad);
        cells.extend(u.unreachable.as_ref().map(|u| unreachable_text(u.members, u.address)));
        cells
    };
    let values: Vec<Value> = uploads.iter().map(to_value).collect();
    Answer::rows(uploads.iter().map(row).collect(), "no uploads").with("uploads", values)
}

/// Every tracker.
pub(super) fn trackers(status: &Trackers, format: Format) -> Answer {
    let mut rows: Vec<Vec<String>> =
        status.trackers.iter().flat_map(|tracker| tracker_rows(tracker, format)).collect();
    if status.degraded {
        rows.push(vec![safety(status)]);
    }
    rows.extend(status.network.map(|network| vec![format!("network {network}")]));
    Answer::rows(rows, "no trackers").with_all(status)
}

/// On which trackers changes are safe while they are not so on all.
fn safety(status: &Trackers) -> String {
    let is_safe = |t: &&Tracker| status.safe_on.contains(&t.number);
    let (safe, behind): (Vec<_>, Vec<_>) = status.trackers.iter().partition(is_safe);
    let named = |trackers: &[&Tracker]| {
        let numbers: Vec<String> = trackers.iter().map(|t| t.number.to_string()).collect();
        match numbers.split_last() {
            Some((last, [])) => format!("tracker {last}"),
            Some((last, others)) => format!("trackers {} and {last}", others.join(", ")),
            None => "no tracker".into(),
        }
    };
    let alone = if safe.len() == 1 { " alone" } else { "" };
    format!(
        "degraded: changes are at present safe on {}{alone}, not on {}",
        named(&safe),
        named(&behind)
    )
}

/// A tracker's line; for people, why it is not reached stands whole on a line of its own.
fn tracker_rows(tracker: &Tracker, format: Format) -> Vec<Vec<String>> {
    let role = match (tracker.role, format) {
        // Down is what the others say of it; here it is only not connected.
        (TrackerRole::Down, Format::Table) => "not connected",
        (role, _) => tracker_role(role),
    };
    let mut row = vec![
        tracker.number.to_string(),
        tracker.address.clone(),
        tracker_state(tracker.state).to_owned(),
        role.to_owned(),
        format!("lag {}", tracker.lag),
    ];
    match (&tracker.error, format) {
        (Some(error), Format::Table) => vec![row, vec![format!("   {error}")]],
        (error, _) => {
            row.extend(error.clone());
            vec![row]
        }
    }
}

fn tracker_state(state: TrackerState) -> &'static str {
    match state {
        TrackerState::Up => "up",
        TrackerState::CatchingUp => "catching up",
        TrackerState::Down => "down",
        TrackerState::MustResync => "must resync",
    }
}

fn tracker_role(role: TrackerRole) -> &'static str {
    match role {
        TrackerRole::Primary => "primary",
        TrackerRole::Standby => "standby",
        TrackerRole::Spare => "spare",
        TrackerRole::Down => "down",
    }
}

/// A time of the trackers' clocks as a date, in UTC.
pub(super) fn date(ms: u64) -> String {
    let (days, minutes) = ((ms / 86_400_000) as i64, ms / 60_000 % 1440);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": days since 1 March of year 0,
    // in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// How long a download will take at its present rate.
pub(super) fn time_left(status: &Download) -> String {
    let left = status.time_left().map_or_else(|| "--".into(), |left| clock(left.as_secs()));
    format!("{left} left")
}

/// Seconds as `h:mm:ss`.
pub(super) fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn status(state: DownloadState, reason: Option<&str>) -> Download {
        Download { state, reason: reason.map(Into::into), ..samples::download() }
    }

    #[test]
    fn it_is_told_on_which_trackers_changes_are_safe() {
        let tracker = |number: u32| Tracker {
            number,
            address: format!("10.0.0.{number}:5000"),
            state: TrackerState::Up,
            role: TrackerRole::Standby,
            lag: 0,
            error: None,
        };
        let told = |count: u32, safe_on: &[u32]| {
            let trackers = (1..=count).map(tracker).collect();
            let safe_on = safe_on.to_vec();
            safety(&Trackers { trackers, degraded: true, safe_on, network: None })
        };
        let safe = "degraded: changes are at present safe on";
        assert_eq!(told(3, &[1, 3]), format!("{safe} trackers 1 and 3, not on tracker 2"));
        assert_eq!(told(3, &[2]), format!("{safe} tracker 2 alone, not on trackers 1 and 3"));
        assert_eq!(
            told(5, &[1, 2, 4]),
            format!("{safe} trackers 1, 2 and 4, not on trackers 3 and 5")
        );
    }

    #[test]
    fn peers_are_told_with_the_ways_that_are_not_direct() {
        let told = |of: [u32; 4]| {
            let [all, lan, punched, relayed] = of;
            peers(&Download { peers: all, lan, punched, relayed, ..samples::download() })
        };
        assert_eq!(told([0, 0, 0, 0]), "0 peers");
        assert_eq!(told([3, 0, 0, 0]), "3 peers");
        assert_eq!(told([1, 0, 1, 0]), "1 peer, punched");
        assert_eq!(told([2, 2, 0, 0]), "2 peers, LAN");
        assert_eq!(told([5, 1, 1, 2]), "5 peers, 1 LAN, 1 punched, 2 relayed");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_399_999), "2000-02-28 23:59 UTC");
        assert_eq!(date(951_868_799_999), "2000-02-29 23:59 UTC");
        assert_eq!(date(4_107_542_400_000), "2100-03-01 00:00 UTC");
        assert_eq!(date(1_764_365_100_000), "2025-11-28 21:25 UTC");
    }

    #[test]
    fn downloads_are_shown_as_promised() {
        let row = |state, reason| download_row(&status(state, reason)).join("\t");
        assert_eq!(
            row(DownloadState::Running, None),
            "[D] [lab] big.bin\t43%\t8 B/s\t0:01:11 left\t1 peer"
        );
        let slow = Download { seconds_left: None, ..samples::download() };
        assert_eq!(
            download_row(&slow).join("\t"),
            "[D] [lab] big.bin\t43%\t8 B/s\t-- left\t1 peer"
        );
        assert_eq!(to_value(&slow)["seconds_left"], Value::Null);
        let queued =
            Download { state: DownloadState::Queued, place: Some(3), ..samples::download() };
        assert_eq!(download_row(&queued).join("\t"), "[Q] [lab] big.bin\t43%\tplace 3");
        assert_eq!(row(DownloadState::Complete, None), "[C] [lab] big.bin\t/tmp/big.bin");
        assert_eq!(row(DownloadState::Paused, None), "[P] [lab] big.bin\t43%\tpaused");
        assert_eq!(
            row(DownloadState::Paused, Some("disk full")),
            "[P] [lab] big.bin\t43%\tpaused: disk full"
        );
        assert_eq!(row(DownloadState::Failed, Some("gone")), "[F] [lab] big.bin\tgone");
        assert_eq!(downloads(&[]).rows, [["no downloads"]]);
        assert_eq!(human_bytes(12_345_678), "12.3 MB");
        assert_eq!(clock(7_325), "2:02:05");
    }
}
