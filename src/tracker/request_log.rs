//! What is asked, for the log: with `--log debug` one line a request, with the user, the group, the
//! outcome and the time that it took.
//!
//! **Invariant:** no password, token or ticket is in a line: of a request it names the kind and the
//! group, and of a login the name that was typed. Without that level nothing is looked up.
//!
//! Runs on the session's thread, which may wait for a reader of the store.

use std::time::Instant;

use log::{Level, debug, log_enabled};

use super::readers::Look;
use super::shared::Shared;
use crate::types::{GroupId, Label, UserId, escape};
use crate::wire::tracker::{Reply, Request};

/// A request whose answer is not there yet; nothing unless requests are logged.
pub(super) struct Logged(Option<Noted>);

struct Noted {
    started: Instant,
    kind: &'static str,
    group: Option<GroupId>,
    /// A name that the request gives itself.
    name: Option<String>,
}

impl Logged {
    pub(super) fn begin(request: &Request) -> Self {
        Self(log_enabled!(Level::Debug).then(|| Noted {
            started: Instant::now(),
            kind: kind(request),
            group: group(request),
            name: name(request),
        }))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the line: who asked, from where, and what came of it.
    pub(super) fn end(self, shared: &Shared, who: (Option<UserId>, &str), reply: &Reply) {
        let Some(Noted { started, kind, group, name }) = self.0 else { return };
        let took = started.elapsed().as_millis();
        let (user, from) = who;
        let label = |group: GroupId| {
            let user = user.unwrap_or(UserId::NOBODY);
            let look = shared.readers.look(Look::Up, |directory| directory.group(group, user));
            let label = look.ok().flatten().flatten().map(|entry| entry.label.to_string());
            label.unwrap_or_else(|| format!("{:.8}", group.to_string()))
        };
        let group = group.map(|group| format!(", group {}", label(group))).unwrap_or_default();
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        let outcome = match reply {
            Reply::Refused(why) => format!("refused: {why}"),
            _ => "ok".to_owned(),
        };
        debug!("{from}: {kind}{name}{group}: {outcome} ({took} ms)");
    }
}

/// Who a session's log lines are about.
pub(super) fn who(label: Option<&Label>) -> String {
    label.map_or_else(|| "nobody".to_owned(), |label| escape(label.as_str()).to_string())
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::Ping => "ping",
        Request::CreateUser { .. } => "create_user",
        Request::Login { .. } => "login",
        Request::Logout => "logout",
        Request::ChangePassword { .. } => "change_password",
        Request::CreateGroup { .. } => "create_group",
        Request::JoinGroup { .. } => "join_group",
        Request::LeaveGroup { .. } => "leave_group",
        Request::AcceptRequest { .. } => "accept_request",
        Request::RejectRequest { .. } => "reject_request",
        Request::RemoveMember { .. } => "remove_member",
        Request::TransferGroup { .. } => "transfer_group",
        Request::ShareFile { .. } => "share_file",
        Request::StopShare { .. } => "stop_share",
        Request::ReplaceFile { .. } => "replace_file",
        Request::RemoveFile { .. } => "remove_file",
        Request::RenameGroup { .. } => "rename_group",
        Request::DeleteGroup { .. } => "delete_group",
        Request::DeleteAccount { .. } => "delete_account",
        Request::Resolve { .. } => "resolve",
        Request::ListGroups { .. } => "list_groups",
        Request::ListMyGroups { .. } => "list_my_groups",
        Request::ListRequests { .. } => "list_requests",
        Request::ListMembers { .. } => "list_members",
        Request::ListFiles { .. } => "list_files",
        Request::FindFile { .. } => "find_file",
        Request::FindFiles { .. } => "find_files",
        Request::WhoAmI => "whoami",
        Request::ListTrackers => "list_trackers",
        Request::Announce { .. } => "announce",
        Request::Tickets { .. } => "tickets",
        Request::Resume { .. } => "resume",
        Request::Renew => "renew",
        Request::StayOnDevice { .. } => "stay_on_device",
        Request::ForgetDevice { .. } => "forget_device",
        Request::LoginByKey { .. } => "login_by_key",
        Request::ListDevices => "list_devices",
        Request::ReportBadData { .. } => "report_bad_data",
        Request::ReportUnreachable { .. } => "report_unreachable",
        Request::CreateInvitation { .. } => "invite",
        Request::RevokeInvitation { .. } => "revoke_invite",
        Request::UseInvitation { .. } => "join",
        Request::CreateInvitedUser { .. } => "create_invited_user",
        Request::ListInvitations { .. } => "invites",
        Request::SetGroup { .. } => "group_settings",
        Request::Candidates { .. } => "candidates",
        Request::RelayUse { .. } => "relay_use",
        Request::AskRelay { .. } => "ask_relay",
        Request::Punch { .. } => "punch",
        Request::Unknown { .. } => "unknown request",
    }
}

/// The group that a request is about; of several the first.
fn group(request: &Request) -> Option<GroupId> {
    match request {
        Request::JoinGroup { group, .. }
        | Request::LeaveGroup { group, .. }
        | Request::AcceptRequest { group, .. }
        | Request::RejectRequest { group, .. }
        | Request::RemoveMember { group, .. }
        | Request::TransferGroup { group, .. }
        | Request::ShareFile { group, .. }
        | Request::StopShare { group, .. }
        | Request::ReplaceFile { group, .. }
        | Request::RemoveFile { group, .. }
        | Request::RenameGroup { group, .. }
        | Request::DeleteGroup { group, .. }
        | Request::ListRequests { group, .. }
        | Request::ListMembers { group, .. }
        | Request::ListFiles { group, .. }
        | Request::FindFile { group, .. }
        | Request::ReportBadData { group, .. }
        | Request::ReportUnreachable { group, .. }
        | Request::AskRelay { group, .. }
        | Request::Punch { group, .. }
        | Request::CreateInvitation { group, .. }
        | Request::RevokeInvitation { group, .. }
        | Request::UseInvitation { group, .. }
        | Request::CreateInvitedUser { group, .. }
        | Request::SetGroup { group, .. } => Some(*group),
        Request::Announce { entries } => entries.first().map(|entry| entry.group),
        Request::Tickets { groups } => groups.first().copied(),
        _ => None,
    }
}

/// The name that a request gives: what it is about is not there yet, or has not been found.
fn name(request: &Request) -> Option<String> {
    match request {
        Request::CreateUser { name, .. } | Request::CreateInvitedUser { name, .. } => {
            Some(name.to_string())
        }
        Request::Login { name, .. } => Some(escape(name.as_str()).to_string()),
        Request::CreateGroup { name, .. } => Some(name.to_string()),
        Request::Resolve { group, .. } => Some(escape(group.as_str()).to_string()),
        _ => None,
    }
}
