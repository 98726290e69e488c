//! Converts the client's types to those of the interface.

use std::path::PathBuf;
use std::time::SystemTime;

use super::super::api::{
    Account, Addresses, ApiError, Device, Download, DownloadState, ErrorCode, Event, File,
    FoundDevice, Group, Lan, Limited, Limits, Member, Notification, ObservedAddress,
    OfferedAddress, ReachedAddress, Request, RouterMapping, SessionEnded, Shared, Tracker,
    TrackerRole, TrackerState, Trackers, Unreachable, Upload, UserDevice,
};
use super::super::{
    AddressReport, ClientError, ClientEvent, DownloadPhase, DownloadStatus, LanReport,
    LimitsStatus, NotificationKind, RouterAttempt, RouterOutcome, SessionEnd, TrackersStatus,
};
use crate::client;
use crate::swarm::InboundLink;
use crate::types::{
    self, Candidate, FileEntry, GroupEntry, Label, MemberEntry, Part, Refusal, RequestEntry,
    UserEntry,
};

pub(super) fn account(user: UserEntry, must_change_password: bool, stays: bool) -> Account {
    Account { user: user.label, user_id: user.user, must_change_password, stays }
}

pub(super) fn user_device(device: client::Device) -> UserDevice {
    let client::Device { entry, is_this } = device;
    UserDevice {
        device: entry.device,
        name: entry.name.map(|name| name.to_string()),
        this: is_this,
        stays: entry.stays_since.is_some(),
        stays_since_ms: entry.stays_since.map(types::Stamp::ms),
        online: entry.online,
        address: entry.address.map(|address| address.ip().to_string()),
        seen_ms: Some(entry.seen_ms).filter(|at_ms| *at_ms > 0),
    }
}

pub(super) fn notification(one: client::Notification) -> Notification {
    let is_of_user =
        matches!(one.kind, NotificationKind::JoinRequested | NotificationKind::MemberJoined);
    let (user, file) = if is_of_user { (one.about, None) } else { (None, one.about) };
    let is_path = one.kind == NotificationKind::DownloadComplete;
    let (path, reason) = if is_path { (one.detail, None) } else { (None, one.detail) };
    Notification {
        at_ms: one.at_ms,
        event: one.kind.as_str().to_owned(),
        group: one.group,
        user,
        file,
        path,
        reason,
        seen: one.is_seen,
    }
}

pub(super) fn addresses(report: AddressReport) -> Addresses {
    let offered = |candidate: &Candidate| OfferedAddress {
        address: candidate.address,
        kind: candidate.kind.word().into(),
    };
    let observed = |(tracker, address)| ObservedAddress { tracker, address };
    let reached = |(link, user): (InboundLink, Option<Label>)| ReachedAddress {
        device: link.device,
        user,
        at: link.at,
        from: link.from,
    };
    let unreachable = |(address, members)| Unreachable { address, members };
    let until_ms = |until: SystemTime| {
        until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
    };
    let router = |attempt: &RouterAttempt| RouterMapping {
        protocol: attempt.protocol.word().into(),
        router: attempt.router,
        address: attempt.own,
        external: attempt.external(),
        until_ms: match attempt.outcome {
            RouterOutcome::Mapped { until, .. } => until.map(until_ms),
            _ => None,
        },
        behind_another: attempt.is_behind_another(),
        error: match &attempt.outcome {
            RouterOutcome::Failed(error) => Some(error.clone()),
            _ => None,
        },
        text: attempt.to_string(),
    };
    Addresses {
        listen: report.listen,
        offered: report.offered.iter().map(offered).collect(),
        observed: report.observed.into_iter().map(observed).collect(),
        reached: report.reached.into_iter().map(reached).collect(),
        relays: report.relays,
        relaying: report.relaying,
        unreachable: report.unreachable.map(unreachable),
        lan: Some(lan(report.lan)),
        routers: report.routers.iter().map(router).collect(),
        no_mapping: report.no_mapping.map(str::to_owned),
    }
}

fn lan(report: LanReport) -> Lan {
    let found = |found: client::FoundDevice| FoundDevice {
        device: found.device,
        user: found.user,
        addresses: found.addresses,
    };
    let reason = report.announced.clone().err();
    let found = report.found.into_iter().map(found).collect();
    Lan { announced: report.announced.ok(), reason, found }
}

pub(super) fn group(entry: GroupEntry) -> Group {
    Group {
        group: entry.label,
        group_id: entry.group,
        part: entry.part,
        members: entry.member_count,
        owner: entry.owner,
        requests: entry.requests,
        members_invite: entry.settings.map(|settings| settings.members_invite),
    }
}

pub(super) fn member(entry: MemberEntry) -> Member {
    Member {
        user: entry.user.label,
        user_id: entry.user.user,
        part: if entry.owner { Part::Owner } else { Part::Member },
        online: entry.online,
        since_ms: entry.since.ms(),
        invited_by: entry.invited_by,
    }
}

pub(super) fn request(entry: RequestEntry) -> Request {
    let UserEntry { user: user_id, label: user } = entry.user;
    Request { user, user_id, since_ms: entry.since.ms() }
}

pub(super) fn file(entry: FileEntry, group: Option<Label>) -> File {
    let file_id = entry.facts.id();
    File {
        group,
        group_id: entry.group,
        file: entry.label,
        file_id,
        size: entry.facts.len,
        sha1: entry.facts.sha1,
        info_hash: entry.facts.info_hash,
        piece_size: entry.facts.piece_len,
        sharers: entry.sharers,
        sharer_count: entry.sharer_count,
        online: entry.online,
        since_ms: entry.at.ms(),
    }
}

pub(super) fn shared(shared: client::Shared) -> Shared {
    let facts = shared.facts;
    Shared {
        group: shared.group,
        group_id: shared.group_id,
        file: Label::new(facts.name.as_str(), 1),
        file_id: facts.id(),
        size: facts.len,
        sha1: facts.sha1,
        info_hash: facts.info_hash,
        replaces_ms: shared.replaces.map(|at| at.ms()),
    }
}

pub(super) fn upload(upload: client::Upload) -> Upload {
    let to = |(device, bytes_sent)| Device { device, bytes_sent };
    Upload {
        group: upload.group,
        group_id: upload.group_id,
        file: upload.file,
        info_hash: upload.id,
        path: upload.path.to_string_lossy().into_owned(),
        size: upload.len,
        bytes_here: upload.part,
        peers: upload.peers,
        bytes_sent: upload.sent,
        sent_per_second: upload.sent_per_second,
        to: upload.sent_to.into_iter().map(to).collect(),
        bad_data_members: upload.bad_data_members,
        unreachable: upload.unreachable.map(|(address, members)| Unreachable { address, members }),
    }
}

pub(super) fn download(status: DownloadStatus) -> Download {
    let seconds_left = status.time_left().map(|left| left.as_secs());
    let (state, reason, place) = match status.phase {
        DownloadPhase::Running => (DownloadState::Running, None, None),
        DownloadPhase::Queued(place) => (DownloadState::Queued, None, Some(place)),
        DownloadPhase::Paused(reason) => (DownloadState::Paused, reason, None),
        DownloadPhase::Failed(reason) => (DownloadState::Failed, Some(reason), None),
        DownloadPhase::Complete => (DownloadState::Complete, None, None),
    };
    Download {
        group: status.group,
        group_id: status.group_id,
        file: status.file,
        info_hash: status.id,
        state,
        reason,
        path: text(status.path),
        size: status.len,
        bytes_done: status.bytes_done,
        bytes_per_second: status.bytes_per_second,
        bytes_sent: status.sent,
        sent_per_second: status.sent_per_second,
        peers: status.peers,
        lan: status.lan,
        punched: status.punched,
        relayed: status.relayed,
        seconds_left,
        place,
        limit: status.limit,
        ended: status.ended,
    }
}

/// A path as text; bytes that are no UTF-8 are replaced.
fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap_or_else(|path| path.to_string_lossy().into_owned())
}

pub(super) fn limits(status: LimitsStatus) -> Limits {
    let limited = |limited: client::LimitedDownload| Limited {
        group: limited.group,
        group_id: limited.group_id,
        file: limited.file,
        info_hash: limited.id,
        limit: limited.limit,
    };
    Limits {
        upload: status.rates.upload,
        download: status.rates.download,
        downloads: Some(status.downloads_max).filter(|max| *max > 0),
        limited: status.limited.into_iter().map(limited).collect(),
    }
}

pub(super) fn trackers(status: TrackersStatus) -> Trackers {
    let tracker = |tracker: client::TrackerStatus| Tracker {
        number: tracker.number,
        address: tracker.address,
        state: match tracker.state {
            types::TrackerState::Myself | types::TrackerState::Up => TrackerState::Up,
            types::TrackerState::CatchingUp => TrackerState::CatchingUp,
            types::TrackerState::Down => TrackerState::Down,
            types::TrackerState::MustResync => TrackerState::MustResync,
        },
        role: match tracker.role {
            client::TrackerRole::Primary => TrackerRole::Primary,
            client::TrackerRole::Standby => TrackerRole::Standby,
            client::TrackerRole::Spare => TrackerRole::Spare,
            client::TrackerRole::Unreachable => TrackerRole::Down,
        },
        lag: tracker.lag,
        error: tracker.error,
    };
    Trackers {
        trackers: status.trackers.into_iter().map(tracker).collect(),
        degraded: status.degraded,
        safe_on: status.safe_on,
        network: status.network,
    }
}

pub(super) fn event(event: ClientEvent) -> Event {
    match event {
        ClientEvent::DownloadComplete { group, group_id, file, id, path } => {
            let path = path.to_string_lossy().into_owned();
            Event::DownloadComplete { group, group_id, file, info_hash: id, path }
        }
        ClientEvent::DownloadFailed { group, group_id, file, id, reason } => {
            Event::DownloadFailed { group, group_id, file, info_hash: id, reason }
        }
        ClientEvent::DownloadPaused { group, group_id, file, id, reason } => {
            Event::DownloadPaused { group, group_id, file, info_hash: id, reason }
        }
        ClientEvent::ShareNotOffered { group, group_id, file, id, path, reason } => {
            let path = path.to_string_lossy().into_owned();
            Event::ShareNotOffered { group, group_id, file, info_hash: id, path, reason }
        }
        ClientEvent::BadDataReported { group, group_id, file, id, path, members } => {
            let path = path.to_string_lossy().into_owned();
            Event::BadDataReported { group, group_id, file, info_hash: id, path, members }
        }
        ClientEvent::Unreachable { address, members } => Event::Unreachable { address, members },
        ClientEvent::JoinRequested { group, group_id, user, user_id, .. } => {
            Event::JoinRequested { group, group_id, user, user_id }
        }
        ClientEvent::MemberJoined { group, group_id, user, user_id, inviter } => {
            Event::MemberJoined { group, group_id, user, user_id, invited_by: inviter }
        }
        ClientEvent::JoinRejected { group, group_id } => Event::JoinRejected { group, group_id },
        ClientEvent::LoggedInByKey { user, user_id } => {
            let account = Account { user, user_id, must_change_password: false, stays: true };
            Event::LoggedIn { account, by_key: true }
        }
        ClientEvent::StayingEnded { user, user_id, reason } => {
            Event::StayingEnded { user, user_id, reason }
        }
        ClientEvent::Admitted { group, group_id } => Event::Admitted { group, group_id },
        ClientEvent::Removed { group, group_id } => Event::Removed { group, group_id },
        ClientEvent::GroupChanged { group_id, files, members } => {
            Event::GroupChanged { group_id, files, members }
        }
        ClientEvent::TrustedNetwork { network, before, unwritten } => {
            Event::NetworkTrusted { network, before, unwritten }
        }
        ClientEvent::NetworkKey { stage, old, new } => Event::NetworkKey { stage, old, new },
        ClientEvent::ClocksDiffer { trackers, difference } => {
            Event::ClocksDiffer { trackers, difference_ms: difference.as_millis() as u64 }
        }
        ClientEvent::SessionEnded { user, user_id, reason } => Event::SessionEnded(SessionEnded {
            user: Some(user),
            user_id: Some(user_id),
            reason: reason.to_string(),
            code: end_code(reason).to_owned(),
            unfinished: 0,
        }),
    }
}

/// The code of a session's end.
pub(super) fn end_code(end: SessionEnd) -> &'static str {
    match end {
        SessionEnd::PasswordChanged => "password_changed",
        SessionEnd::DeviceForgotten => "device_forgotten",
        SessionEnd::Disabled => "disabled",
        SessionEnd::KeyReplaced => "key_replaced",
        SessionEnd::Expired => "expired",
    }
}

pub(super) fn error(error: ClientError) -> ApiError {
    ApiError::new(code(&error), error.to_string())
}

fn code(error: &ClientError) -> ErrorCode {
    match error {
        ClientError::Refused(refusal) => refusal_code(*refusal),
        ClientError::FileNameTaken { .. } => ErrorCode::Refused,
        ClientError::NoPage | ClientError::Token(_) => ErrorCode::BadArgument,
        ClientError::NoTracker => ErrorCode::NoTracker,
        ClientError::NoAnswer => ErrorCode::NoAnswer,
        ClientError::WrongNetwork(_) | ClientError::OtherNetwork { .. } => ErrorCode::WrongNetwork,
        ClientError::UntrustedTracker { .. } => ErrorCode::UntrustedTracker,
        ClientError::SessionEnded(_) => ErrorCode::SessionRefused,
        ClientError::CannotStay { .. } => ErrorCode::CannotStay,
        ClientError::AlreadyLoggedIn(_) => ErrorCode::AlreadyLoggedIn,
        ClientError::BadArgument(_) => ErrorCode::BadArgument,
        ClientError::Path { .. } => ErrorCode::Path,
        ClientError::NoSuchDownload { .. } => ErrorCode::NoSuchDownload,
        ClientError::NotHere { .. } => ErrorCode::NotHere,
        ClientError::Crowded => ErrorCode::Crowded,
        ClientError::DownloadState(_) => ErrorCode::DownloadState,
        ClientError::DownloadFailed(_) => ErrorCode::DownloadFailed,
        ClientError::TimedOut => ErrorCode::TimedOut,
        ClientError::Abandoned(_) => ErrorCode::Abandoned,
        ClientError::Degraded(_) => ErrorCode::Degraded,
        ClientError::Interrupted => ErrorCode::Interrupted,
        _ => ErrorCode::Failed,
    }
}

/// The code of a refusal.
fn refusal_code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::WrongTime { .. } => ErrorCode::WrongTime,
        Refusal::Overtaken { .. } => ErrorCode::Overtaken,
        Refusal::Quota(_) => ErrorCode::Quota,
        Refusal::NetworkFull => ErrorCode::NetworkFull,
        Refusal::Disabled => ErrorCode::Disabled,
        Refusal::MustChangePassword => ErrorCode::MustChangePassword,
        Refusal::AccountsClosed => ErrorCode::AccountsClosed,
        Refusal::NoSuchInvitation
        | Refusal::InvitationExpired
        | Refusal::InvitationUsedUp
        | Refusal::InvitationRevoked
        | Refusal::InvitationVoid
        | Refusal::InvitationTooOld => ErrorCode::Invitation,
        Refusal::NotSharer => ErrorCode::NotSharer,
        Refusal::Unsupported => ErrorCode::Unsupported,
        _ => ErrorCode::Refused,
    }
}
