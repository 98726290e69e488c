//! What the directory answers.

use super::Directory;
use crate::types::{
    FileEntry, GroupEntry, GroupId, InfoHash, Label, MemberEntry, Outcome, Part, PasswordHash, RequestEntry, RequestId,
    Sha1Digest, UserEntry, UserId,
};

/// Sizes for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Accounts.
    pub users: u64,
    /// Groups with at least one member.
    pub groups: u64,
    /// Files that somebody shares, counted once a group.
    pub files: u64,
    /// Operations known, of all origins.
    pub operations: u64,
    /// Tracker stores there ever were.
    pub origins: u64,
}

impl Directory {
    /// Users whom the text typed at a login may mean, with their password hashes.
    pub fn login_candidates(&self, _text: &str) -> Vec<(UserEntry, PasswordHash)> {
        Vec::new()
    }
    /// Describes a user.
    pub fn user_entry(&self, _user: UserId) -> Option<UserEntry> {
        None
    }
    /// Finds a user by name as shown.
    pub fn find_user(&self, _text: &str) -> Option<UserId> {
        None
    }
    /// Finds a live group by name as shown.
    pub fn find_group(&self, _text: &str) -> Option<GroupId> {
        None
    }
    /// Tells what a user is to a group.
    pub fn part(&self, _group: GroupId, _user: UserId) -> Part {
        Part::Stranger
    }
    /// Tells whether a user is a member of a live group.
    pub fn is_member(&self, _group: GroupId, _user: UserId) -> bool {
        false
    }
    /// Describes a live group to the user who asks.
    pub fn group(&self, _group: GroupId, _asking: UserId) -> Option<GroupEntry> {
        None
    }
    /// One page of all live groups, sorted by name as shown; true if there are more.
    pub fn groups(&self, _asking: UserId, _after: Option<&Label>, _max: usize) -> (Vec<GroupEntry>, bool) {
        (Vec::new(), false)
    }
    /// One page of the live groups that the user is a member of or asked to join, sorted by name as shown.
    pub fn my_groups(&self, _asking: UserId, _after: Option<&Label>, _max: usize) -> (Vec<GroupEntry>, bool) {
        (Vec::new(), false)
    }
    /// One page of a group's members, longest-standing first.
    pub fn members(&self, _group: GroupId, _after: Option<UserId>, _max: usize) -> (Vec<MemberEntry>, bool) {
        (Vec::new(), false)
    }
    /// One page of a group's pending requests, oldest first.
    pub fn requests(&self, _group: GroupId, _after: Option<UserId>, _max: usize) -> (Vec<RequestEntry>, bool) {
        (Vec::new(), false)
    }
    /// One page of the files somebody shares in a group, sorted by name as shown.
    pub fn files(&self, _group: GroupId, _after: Option<&Label>, _max: usize) -> (Vec<FileEntry>, bool) {
        (Vec::new(), false)
    }
    /// Describes a file that somebody shares.
    pub fn file(&self, _group: GroupId, _info_hash: InfoHash) -> Option<FileEntry> {
        None
    }
    /// Finds a file that somebody shares, by name as shown.
    pub fn find_file(&self, _group: GroupId, _text: &str) -> Option<FileEntry> {
        None
    }
    /// Tells whether a member shares a file.
    pub fn shares(&self, _group: GroupId, _info_hash: InfoHash, _user: UserId) -> bool {
        false
    }
    /// What a repeated request gets; `None` if this tracker has not seen it.
    pub fn outcome(&self, _request: RequestId, _actor: UserId) -> Option<Outcome> {
        None
    }
    /// A digest of all registers, equal on trackers with equal directories.
    pub fn digest(&self) -> Sha1Digest {
        Sha1Digest::from_bytes([0; 20])
    }
    /// Sizes for `status`.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }
}
