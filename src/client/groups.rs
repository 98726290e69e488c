//! Groups: making, joining, leaving, owning and listing them.

use super::account::request_id;
use super::core::Inner;
use super::trackers::{LinkView, Need, TrackerSet};
use super::{Client, ClientError};
use crate::types::{
    FileEntry, Fingerprint, GroupEntry, GroupId, GroupName, Label, MemberEntry, Part, Refusal, RequestEntry, TrackerEntry,
    TrackerState, UserId,
};
use crate::wire::tracker::{Reply, Request, Resolved};

/// What a tracker is to this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackerRole {
    /// Commands go there first.
    Primary,
    /// Connected, and next when the primary fails.
    Standby,
    /// Not connected to this client.
    Unreachable,
}

/// One tracker of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerStatus {
    /// Line in the file, from 1.
    pub number: u32,
    /// `host:port` as configured.
    pub address: String,
    /// Its state: as the primary sees it where the client reaches both, else as the client does.
    pub state: TrackerState,
    /// What it is to this client.
    pub role: TrackerRole,
    /// Operations that the primary knows and it does not.
    pub lag: u64,
    /// Why the client does not reach it, or does not speak to it.
    pub error: Option<String>,
}

/// All trackers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackersStatus {
    /// In the order of the file.
    pub trackers: Vec<TrackerStatus>,
    /// Changes are at present safe on the primary alone.
    pub degraded: bool,
    /// The network whose trackers this device trusts, if it was named or one was met.
    pub network: Option<Fingerprint>,
}

impl Client {
    /// Makes a group owned by the user.
    ///
    /// # Errors
    /// [`ClientError::BadArgument`] for a name that cannot be one, [`Refusal::NameTaken`].
    pub fn create_group(&self, group: &str) -> Result<(), ClientError> {
        self.inner.need_user()?;
        let name: GroupName = group.parse()?;
        self.done(&Request::CreateGroup { request: request_id(), name }, Need::Session)
    }

    /// Asks a group's owner to be let in.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`], [`Refusal::AlreadyMember`], [`Refusal::AlreadyRequested`].
    pub fn join_group(&self, group: &str) -> Result<(), ClientError> {
        let group = self.inner.group(group)?.group;
        self.done(&Request::JoinGroup { request: request_id(), group }, Need::Session)
    }

    /// Leaves a group; the user's shares there stop.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`], [`Refusal::NotMember`].
    pub fn leave_group(&self, group: &str) -> Result<(), ClientError> {
        let group = self.inner.group(group)?.group;
        self.done(&Request::LeaveGroup { request: request_id(), group }, Need::Session)?;
        self.inner.end_membership(group, false);
        Ok(())
    }

    /// Lets in a user who has asked; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::NoSuchRequest`], [`Refusal::NoSuchUser`].
    pub fn accept_request(&self, group: &str, user: &str) -> Result<(), ClientError> {
        let (group, user) = self.inner.owned(group, user, Refusal::NoSuchRequest)?;
        self.done(&Request::AcceptRequest { request: request_id(), group, user }, Need::Session)
    }

    /// Turns down a user who has asked; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::NoSuchRequest`], [`Refusal::NoSuchUser`].
    pub fn reject_request(&self, group: &str, user: &str) -> Result<(), ClientError> {
        let (group, user) = self.inner.owned(group, user, Refusal::NoSuchRequest)?;
        self.done(&Request::RejectRequest { request: request_id(), group, user }, Need::Session)
    }

    /// Ends a user's membership; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::UserNotMember`], [`Refusal::IsOwner`].
    pub fn remove_member(&self, group: &str, user: &str) -> Result<(), ClientError> {
        let (group, user) = self.inner.owned(group, user, Refusal::UserNotMember)?;
        self.done(&Request::RemoveMember { request: request_id(), group, user }, Need::Session)
    }

    /// Hands a group to another member; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::UserNotMember`].
    pub fn transfer_group(&self, group: &str, user: &str) -> Result<(), ClientError> {
        let (group, user) = self.inner.owned(group, user, Refusal::UserNotMember)?;
        self.done(&Request::TransferGroup { request: request_id(), group, user }, Need::Session)
    }

    /// All groups, by name.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`], and those of the trackers.
    pub fn list_groups(&self) -> Result<Vec<GroupEntry>, ClientError> {
        self.inner.groups(|after| Request::ListGroups { after })
    }

    /// The groups that the user is in or has asked to join, by name.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`], and those of the trackers.
    pub fn list_my_groups(&self) -> Result<Vec<GroupEntry>, ClientError> {
        self.inner.my_groups()
    }

    /// A group's members, longest-standing first.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`], [`Refusal::NotMember`].
    pub fn list_members(&self, group: &str) -> Result<Vec<MemberEntry>, ClientError> {
        self.inner.members(self.inner.group(group)?.group)
    }

    /// A group's pending requests, oldest first; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`], [`Refusal::NotOwner`].
    pub fn list_requests(&self, group: &str) -> Result<Vec<RequestEntry>, ClientError> {
        let group = self.inner.group(group)?.group;
        let last = |entry: &RequestEntry| entry.user.user;
        pages(
            &self.inner.trackers,
            last,
            |after| Request::ListRequests { group, after },
            |reply| match reply {
                Reply::Requests { entries, more } => Some((entries, more)),
                _ => None,
            },
        )
    }

    /// A group's files, by name.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`], [`Refusal::NotMember`].
    pub fn list_files(&self, group: &str) -> Result<Vec<FileEntry>, ClientError> {
        let group = self.inner.group(group)?.group;
        let last = |entry: &FileEntry| entry.label.clone();
        pages(
            &self.inner.trackers,
            last,
            |after| Request::ListFiles { group, after },
            |reply| match reply {
                Reply::Files { entries, more } => Some((entries, more)),
                _ => None,
            },
        )
    }

    /// Every tracker's state, as the primary and this client see it. Works, with less to say, when none can be reached.
    ///
    /// # Errors
    /// None at present.
    pub fn trackers(&self) -> Result<TrackersStatus, ClientError> {
        let trackers = &self.inner.trackers;
        let need = if trackers.session().is_some() { Need::Session } else { Need::Tracker };
        let reply = if trackers.is_reachable() { trackers.call(&Request::ListTrackers, need).ok() } else { None };
        let (views, network) = (trackers.views(), self.network());
        Ok(match reply {
            Some(Reply::Trackers { entries, degraded }) => TrackersStatus { trackers: merge(entries, &views), degraded, network },
            _ => TrackersStatus { trackers: views.iter().map(alone).collect(), degraded: false, network },
        })
    }
}

/// Puts together what the primary says and what the client sees.
fn merge(entries: Vec<TrackerEntry>, views: &[LinkView]) -> Vec<TrackerStatus> {
    let only = (views.len() == 1 && entries.len() > 1).then_some(());
    let mut merged: Vec<TrackerStatus> = entries
        .into_iter()
        .map(|entry| {
            let by_number = views.iter().find(|view| view.number == Some(entry.number));
            // A client that was given one tracker's address does not know the numbers of the others.
            let view =
                by_number.or_else(|| views.iter().find(|v| only.is_none() && v.number.is_none() && v.line == entry.number));
            TrackerStatus {
                number: entry.number,
                address: entry.address.to_string(),
                state: if entry.state == TrackerState::Myself { TrackerState::Up } else { entry.state },
                role: view.map_or(TrackerRole::Unreachable, role),
                lag: entry.lag,
                error: view.and_then(|view| view.error.clone()),
            }
        })
        .collect();
    merged.sort_by_key(|status| status.number);
    merged
}

/// What the client knows by itself.
fn alone(view: &LinkView) -> TrackerStatus {
    let state = if view.number.is_some() { TrackerState::Up } else { TrackerState::Down };
    TrackerStatus { number: view.line, address: view.address.clone(), state, role: role(view), lag: 0, error: view.error.clone() }
}

fn role(view: &LinkView) -> TrackerRole {
    match view.number {
        None => TrackerRole::Unreachable,
        Some(_) if view.primary => TrackerRole::Primary,
        Some(_) => TrackerRole::Standby,
    }
}

impl Inner {
    /// Finds what names stand for. A text that can be no name stands for nothing.
    pub(crate) fn resolve(&self, group: &str, user: Option<&str>, file: Option<&str>) -> Result<Resolved, ClientError> {
        self.need_user()?;
        let group: Label = group.parse().map_err(|_| Refusal::NoSuchGroup)?;
        let user = user.and_then(|user| user.parse().ok());
        let file = file.and_then(|file| file.parse().ok());
        match self.trackers.call(&Request::Resolve { group, user, file }, Need::Session)? {
            Reply::Resolved(resolved) => {
                self.group_names.lock().insert(resolved.group.group, resolved.group.label.clone());
                Ok(resolved)
            }
            _ => Err(ClientError::BadAnswer),
        }
    }

    /// Finds a group.
    pub(crate) fn group(&self, group: &str) -> Result<GroupEntry, ClientError> {
        self.resolve(group, None, None).map(|resolved| resolved.group)
    }

    /// Finds a group that the user owns, and another user; `stranger` is the refusal if nobody is called so.
    fn owned(&self, group: &str, user: &str, stranger: Refusal) -> Result<(GroupId, UserId), ClientError> {
        let resolved = self.resolve(group, Some(user), None)?;
        match resolved.user {
            _ if resolved.group.part != Part::Owner => Err(Refusal::NotOwner.into()),
            Some(user) => Ok((resolved.group.group, user.user)),
            None => Err(stranger.into()),
        }
    }

    /// A group's members; their names are kept for `why`.
    pub(crate) fn members(&self, group: GroupId) -> Result<Vec<MemberEntry>, ClientError> {
        let last = |entry: &MemberEntry| entry.user.user;
        let members = pages(
            &self.trackers,
            last,
            |after| Request::ListMembers { group, after },
            |reply| match reply {
                Reply::Members { entries, more } => Some((entries, more)),
                _ => None,
            },
        )?;
        self.names.lock().extend(members.iter().map(|member| (member.user.user, member.user.label.clone())));
        Ok(members)
    }

    /// The groups that the user is in or has asked to join.
    pub(crate) fn my_groups(&self) -> Result<Vec<GroupEntry>, ClientError> {
        self.groups(|after| Request::ListMyGroups { after })
    }

    fn groups(&self, request: impl Fn(Option<Label>) -> Request) -> Result<Vec<GroupEntry>, ClientError> {
        let last = |entry: &GroupEntry| entry.label.clone();
        let groups = pages(&self.trackers, last, request, |reply| match reply {
            Reply::Groups { entries, more } => Some((entries, more)),
            _ => None,
        })?;
        let mine = groups.iter().filter(|entry| is_member(entry.part));
        self.group_names.lock().extend(mine.map(|entry| (entry.group, entry.label.clone())));
        Ok(groups)
    }
}

/// Fetches a listing page by page; `last` names an entry for the next page to begin behind.
fn pages<T, K: PartialEq>(
    trackers: &TrackerSet,
    last: impl Fn(&T) -> K,
    request: impl Fn(Option<K>) -> Request,
    take: impl Fn(Reply) -> Option<(Vec<T>, bool)>,
) -> Result<Vec<T>, ClientError> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map(&last);
        let reply = trackers.call(&request(after), Need::Session)?;
        let (entries, more) = take(reply).ok_or(ClientError::BadAnswer)?;
        // An empty page that promises more would be asked for again and again.
        let more = more && !entries.is_empty();
        all.extend(entries);
        if !more {
            return Ok(all);
        }
    }
}

/// Tells whether somebody with that part is a member.
pub(crate) fn is_member(part: Part) -> bool {
    matches!(part, Part::Member | Part::Owner)
}
