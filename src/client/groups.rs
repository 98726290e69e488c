//! Groups: creating, joining, leaving, transferring, renaming and deleting them; and the state of
//! the trackers.

use super::error::ClientError;
use super::recorder::now_ms;
use super::runtime::Runtime;
use super::session::input::Command;
use super::start::Client;
use super::trackers::{LinkView, Need};
use crate::types::{
    Fingerprint, GroupEntry, GroupId, GroupName, Label, Part, Refusal, TrackerEntry, TrackerState,
    UserId,
};
use crate::wire::tracker::{Reply, Request, Resolved};

/// The role of a tracker for this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackerRole {
    /// Commands go there first.
    Primary,
    /// Connected, and next when the primary fails.
    Standby,
    /// Not connected, since others are enough: it is when one of them fails.
    Spare,
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
    /// Its state: as the primary sees it if the client reaches both, else as the client sees it.
    pub state: TrackerState,
    /// Its role for this client.
    pub role: TrackerRole,
    /// Number of operations that the primary has and this tracker lacks.
    pub lag: u64,
    /// Why the client cannot reach it, or does not trust it.
    pub error: Option<String>,
}

/// All trackers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackersStatus {
    /// In the order of the file.
    pub trackers: Vec<TrackerStatus>,
    /// At present changes are not on every tracker when they are acknowledged.
    pub degraded: bool,
    /// The numbers of the trackers that have a change when it is acknowledged, in order; empty if
    /// no tracker answers.
    pub safe_on: Vec<u32>,
    /// The network that this device trusts, if one was named or met.
    pub network: Option<Fingerprint>,
}

impl Client {
    /// Creates a group owned by the user.
    ///
    /// # Errors
    /// [`ClientError::BadArgument`] for an invalid name, [`Refusal::NameTaken`].
    pub fn create_group(&self, group: &str) -> Result<(), ClientError> {
        self.inner.need_user()?;
        let name: GroupName = group.parse()?;
        self.done(
            &Request::CreateGroup { request: self.inner.trackers.request_stamp(), name },
            Need::Session,
        )
    }

    /// Asks a group's owner to accept the user.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`], [`Refusal::AlreadyMember`], [`Refusal::AlreadyRequested`].
    pub fn join_group(&self, group: &str) -> Result<(), ClientError> {
        let user = self.inner.need_user()?.user;
        let GroupEntry { group, label, .. } = self.inner.group(group)?;
        let (asked_ms, trackers) = (now_ms(), &self.inner.trackers);
        let done = self
            .done(&Request::JoinGroup { request: trackers.request_stamp(), group }, Need::Session);
        if matches!(done, Ok(()) | Err(ClientError::Refused(Refusal::AlreadyRequested))) {
            self.inner.store.note_asked(user, group, &label, asked_ms)?;
        }
        done
    }

    /// Leaves a group; the user's shares there stop.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`], [`Refusal::NotMember`].
    pub fn leave_group(&self, group: &str) -> Result<(), ClientError> {
        let group = self.inner.group(group)?.group;
        let user = self.inner.need_user()?.user;
        let request = self.inner.trackers.request_stamp();
        self.end_by_choice(group, &Request::LeaveGroup { request, group })?;
        self.inner.store.take_asked(user, group).map(drop).map_err(ClientError::from)
    }

    /// Accepts a user's request to join; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::NoSuchRequest`], [`Refusal::NoSuchUser`].
    pub fn accept_request(&self, group: &str, user: &str) -> Result<(), ClientError> {
        let (group, user) = self.inner.owned(group, user, Refusal::NoSuchRequest)?;
        self.done(
            &Request::AcceptRequest { request: self.inner.trackers.request_stamp(), group, user },
            Need::Session,
        )
    }

    /// Rejects a user's request to join; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::NoSuchRequest`], [`Refusal::NoSuchUser`].
    pub fn reject_request(&self, group: &str, user: &str) -> Result<(), ClientError> {
        let (group, user) = self.inner.owned(group, user, Refusal::NoSuchRequest)?;
        self.done(
            &Request::RejectRequest { request: self.inner.trackers.request_stamp(), group, user },
            Need::Session,
        )
    }

    /// Ends a user's membership; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::UserNotMember`], [`Refusal::IsOwner`].
    pub fn remove_member(&self, group: &str, user: &str) -> Result<(), ClientError> {
        let (group, user) = self.inner.owned(group, user, Refusal::UserNotMember)?;
        self.done(
            &Request::RemoveMember { request: self.inner.trackers.request_stamp(), group, user },
            Need::Session,
        )
    }

    /// Transfers a group to another member; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::UserNotMember`].
    pub fn transfer_group(&self, group: &str, user: &str) -> Result<(), ClientError> {
        let (group, user) = self.inner.owned(group, user, Refusal::UserNotMember)?;
        self.done(
            &Request::TransferGroup { request: self.inner.trackers.request_stamp(), group, user },
            Need::Session,
        )
    }

    /// Renames a group; the owner only. Files, members and shares stay as they are.
    ///
    /// # Errors
    /// [`ClientError::BadArgument`] for an invalid name, [`Refusal::NotOwner`],
    /// [`Refusal::NameTaken`].
    pub fn rename_group(&self, group: &str, name: &str) -> Result<(), ClientError> {
        let name: GroupName = name.parse()?;
        let group = self.inner.group(group)?.group;
        let request = self.inner.trackers.request_stamp();
        self.done(&Request::RenameGroup { request, group, name }, Need::Session)?;
        // Shows its shares and downloads under the new name; if no tracker answers now, from the
        // next login on.
        if let Ok(groups) = self.inner.my_groups().all()
            && let Some(entry) = groups.into_iter().find(|entry| entry.group == group)
        {
            self.inner.ask(Command::Relabel(group, entry.label))?;
        }
        Ok(())
    }

    /// Deletes a group: its memberships and shares end, its downloads stop. The owner only.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`], [`Refusal::NoSuchGroup`].
    pub fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let group = self.inner.group(group)?.group;
        let request = self.inner.trackers.request_stamp();
        self.end_by_choice(group, &Request::DeleteGroup { request, group })
    }

    /// Ends the user's membership at the user's request. Another tracker may report that first, as
    /// if another member had caused it; subscribers do not hear of it.
    fn end_by_choice(&self, group: GroupId, request: &Request) -> Result<(), ClientError> {
        self.inner.ask(Command::ExpectLeaving(Some(group)))?;
        let done = self.done(request, Need::Session);
        match done {
            Ok(()) => drop(self.inner.ask(Command::Left(group))?),
            Err(ClientError::Refused(_)) => {
                self.inner.ask(Command::UnexpectLeaving(Some(group)))?;
            }
            // It may have been carried out all the same.
            Err(_) => {}
        }
        done
    }

    /// Tells whether the user is a member of a group of that name.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`], and those of unreachable trackers.
    pub fn is_member(&self, group: &str) -> Result<bool, ClientError> {
        match self.inner.group(group) {
            Ok(entry) => Ok(entry.part.is_member()),
            Err(ClientError::Refused(Refusal::NoSuchGroup)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every tracker's state, as the primary and this client see it. If no tracker can be reached,
    /// as the client alone sees it.
    ///
    /// # Errors
    /// None at present.
    pub fn trackers(&self) -> Result<TrackersStatus, ClientError> {
        let trackers = &self.inner.trackers;
        let need = if trackers.session().is_some() { Need::Session } else { Need::Tracker };
        let reply = if trackers.is_reachable() {
            trackers.call(&Request::ListTrackers, need).ok()
        } else {
            None
        };
        let (views, network) = (trackers.views(), self.network());
        Ok(match reply {
            Some(Reply::Trackers { entries, degraded }) => {
                let safe_on = safe_on(&entries);
                TrackersStatus { trackers: merge(entries, &views), degraded, safe_on, network }
            }
            _ => TrackersStatus {
                trackers: views.iter().map(alone).collect(),
                degraded: false,
                safe_on: Vec::new(),
                network,
            },
        })
    }
}

/// The numbers of the trackers that have a change when the answering tracker acknowledges it:
/// itself, and those whose acknowledgement it waits for.
fn safe_on(entries: &[TrackerEntry]) -> Vec<u32> {
    let has =
        |entry: &&TrackerEntry| matches!(entry.state, TrackerState::Myself | TrackerState::Up);
    let mut numbers: Vec<u32> = entries.iter().filter(has).map(|entry| entry.number).collect();
    numbers.sort_unstable();
    numbers
}

/// Merges the primary's report with the client's own view.
fn merge(entries: Vec<TrackerEntry>, views: &[LinkView]) -> Vec<TrackerStatus> {
    let only = (views.len() == 1 && entries.len() > 1).then_some(());
    let mut merged: Vec<TrackerStatus> = entries
        .into_iter()
        .map(|entry| {
            let by_number = views.iter().find(|view| view.number == Some(entry.number));
            let by_number = by_number
                .or_else(|| views.iter().find(|view| view.address == entry.address.as_str()));
            // A client that was given one tracker's address does not know the numbers of the
            // others.
            let view = by_number.or_else(|| {
                views
                    .iter()
                    .find(|v| only.is_none() && v.number.is_none() && v.line == entry.number)
            });
            TrackerStatus {
                number: entry.number,
                address: entry.address.to_string(),
                state: if entry.state == TrackerState::Myself {
                    TrackerState::Up
                } else {
                    entry.state
                },
                role: view.map_or(TrackerRole::Unreachable, role),
                lag: entry.lag,
                error: view.and_then(|view| view.error.clone()),
            }
        })
        .collect();
    merged.sort_by_key(|status| status.number);
    merged
}

/// The client's own view of a tracker.
fn alone(view: &LinkView) -> TrackerStatus {
    let state = if view.number.is_some() { TrackerState::Up } else { TrackerState::Down };
    TrackerStatus {
        number: view.line,
        address: view.address.clone(),
        state,
        role: role(view),
        lag: 0,
        error: view.error.clone(),
    }
}

fn role(view: &LinkView) -> TrackerRole {
    match view.number {
        None if view.is_spare => TrackerRole::Spare,
        None => TrackerRole::Unreachable,
        Some(_) if view.primary => TrackerRole::Primary,
        Some(_) => TrackerRole::Standby,
    }
}

impl Runtime {
    /// Finds a group, and a user and a file in it, by name. An invalid name finds nothing.
    pub(crate) fn resolve(
        &self,
        group: &str,
        user: Option<&str>,
        file: Option<&str>,
    ) -> Result<Resolved, ClientError> {
        self.need_user()?;
        let group: Label = group.parse().map_err(|_| Refusal::NoSuchGroup)?;
        let user = user.and_then(|user| user.parse().ok());
        let file = file.and_then(|file| file.parse().ok());
        match self.trackers.call(&Request::Resolve { group, user, file }, Need::Session)? {
            Reply::Resolved(resolved) => {
                let GroupEntry { group, label, .. } = &resolved.group;
                self.names.learn_groups([(*group, label.clone())].into_iter());
                Ok(resolved)
            }
            _ => Err(ClientError::BadAnswer),
        }
    }

    /// Finds a group.
    pub(crate) fn group(&self, group: &str) -> Result<GroupEntry, ClientError> {
        self.resolve(group, None, None).map(|resolved| resolved.group)
    }

    /// Finds a group that the user owns, and another user; `stranger` is the refusal if there is no
    /// such user.
    fn owned(
        &self,
        group: &str,
        user: &str,
        stranger: Refusal,
    ) -> Result<(GroupId, UserId), ClientError> {
        let resolved = self.resolve(group, Some(user), None)?;
        match resolved.user {
            _ if resolved.group.part != Part::Owner => Err(Refusal::NotOwner.into()),
            Some(user) => Ok((resolved.group.group, user.user)),
            None => Err(stranger.into()),
        }
    }
}
