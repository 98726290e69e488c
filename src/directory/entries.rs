//! The entries of the directory's indexes: their keys and values.
//!
//! | tag | key | value |
//! |---|---|---|
//! | 1, 2 | names and labels of users, see `names` | |
//! | 3, 4 | names and labels of groups | |
//! | 5, 6 | group; names and labels of its files | |
//! | 7 | when a user's password took the place of another, user | |
//! | 8 | user, group: the user is in or waits to be | |
//! | 9 | group, since, user: members | |
//! | 10 | group, since, user: requests to join | |
//! | 11 | group, when a membership ended, user | |
//! | 12 | group, file, since, user: shares in effect | |
//! | 13 | group, user, file: sharing rows that are on, in effect or not | |
//! | 14 | group, info hash, file | |
//! | 15 | group, largest first, file: files listed | |
//! | 16 | group, latest first, file: files listed | |
//! | 17 | user | [`UserSummary`] |
//! | 18 | group | [`GroupSummary`] |
//! | 19 | group, file | [`FileSummary`] |
//! | 20 | | [`Totals`] |
//! | 21 | user, device: device rows that are on | |
//! | 22 | when a device was forgotten, user, device | |
//! | 23 | user, group, invitation: those of the user that were not revoked | |
//! | 24 | group, invitation | how often it was used |
//! | 25 | group, user, request that let the user in, invitation | who had made it |
//! | 26 | group, invitation: those that were not revoked | |
//! | 27 | user | how many invitations of the user there are, revoked ones too |
//!
//! They follow from the rows: [`VERSION`] says in which way, and a store with entries of another
//! version makes them anew.

use super::names::{Id, Names};
use crate::types::{DeviceId, FileId, GroupId, InfoHash, Stamp, UserId};

/// Version of the entries.
pub const VERSION: u32 = 4;

/// A kind of entry.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Tag {
    Replaced = 7,
    UserGroups,
    Members,
    Requests,
    Ended,
    Sharers,
    Shares,
    Contents,
    BySize,
    ByDate,
    User,
    Group,
    File,
    Totals,
    Devices,
    DevicesForgotten,
    Invitations,
    InvitationUses,
    InvitedBy,
    OpenInvitations,
    InvitationsMade,
}

impl Tag {
    /// The entry, or the beginning of the entries, with these parts.
    pub(super) fn key(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
        key.push(self as u8);
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }
}

/// The names of users.
pub(super) fn user_names() -> Names<UserId> {
    Names::new(1, 2, &[])
}

/// The names of groups with a row and a member.
pub(super) fn group_names() -> Names<GroupId> {
    Names::new(3, 4, &[])
}

/// The names of files that a member shares.
pub(super) fn file_names(group: GroupId) -> Names<FileId> {
    Names::new(5, 6, group.as_bytes())
}

/// A stamp in the order of bytes.
pub(super) fn at(stamp: Stamp) -> [u8; 8] {
    stamp.as_u64().to_be_bytes()
}

/// A number in the order of bytes, the largest first.
pub(super) fn down(number: u64) -> [u8; 8] {
    (!number).to_be_bytes()
}

/// The entry of a user in one of a group's lists.
pub(super) fn in_list(tag: Tag, group: GroupId, since: Stamp, user: UserId) -> Vec<u8> {
    tag.key(&[group.as_bytes(), &at(since), user.as_bytes()])
}

/// The entry of a share in effect.
pub(super) fn sharer(group: GroupId, file: FileId, began: Stamp, user: UserId) -> Vec<u8> {
    Tag::Sharers.key(&[group.as_bytes(), file.as_bytes(), &at(began), user.as_bytes()])
}

/// The entry of a content.
pub(super) fn content(group: GroupId, info_hash: InfoHash, file: FileId) -> Vec<u8> {
    Tag::Contents.key(&[group.as_bytes(), info_hash.as_bytes(), file.as_bytes()])
}

/// The id at the end of a key.
pub(super) fn last_id<K: Id, const LEN: usize>(key: &[u8]) -> Option<K> {
    K::from_slice(key.last_chunk::<LEN>()?)
}

/// Time and user at the end of a key.
pub(super) fn last_user(key: &[u8]) -> Option<(Stamp, UserId)> {
    let end = key.last_chunk::<{ 8 + UserId::LEN }>()?;
    let (stamp, user) = end.split_first_chunk()?;
    Some((Stamp::from_u64(u64::from_be_bytes(*stamp)), UserId::from_slice(user)?))
}

/// Time, user and device at the end of a key.
pub(super) fn last_device(key: &[u8]) -> Option<(Stamp, UserId, DeviceId)> {
    let (start, device) = key.split_last_chunk::<{ DeviceId::LEN }>()?;
    let (stamp, user) = last_user(start)?;
    Some((stamp, user, DeviceId::from_bytes(*device)))
}

/// What one account keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UserSummary {
    /// Live groups that the user owns.
    pub(super) owned: u32,
    /// Groups in which the user is a member or waits to be.
    pub(super) ties: u32,
    /// Sharing rows that are on.
    pub(super) shared: u32,
}

impl UserSummary {
    pub(super) fn to_bytes(self) -> Option<Vec<u8>> {
        let Self { owned, ties, shared } = self;
        (self != Self::default()).then(|| [owned, ties, shared].map(u32::to_be_bytes).concat())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let number = |at: usize| {
            bytes.get(4 * at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_be_bytes(*b))
        };
        Self { owned: number(0), ties: number(1), shared: number(2) }
    }
}

/// A group in numbers, and as it is counted elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GroupSummary {
    pub(super) members: u32,
    pub(super) requests: u32,
    /// Files listed.
    pub(super) files: u32,
    /// Files counted in the totals: all that are listed, or none while the group has no row.
    pub(super) counted_files: u32,
    /// The owner for whom the group is counted.
    pub(super) counted_owner: Option<UserId>,
    /// The entry in the index of names: time and name.
    pub(super) listed: Option<(Stamp, Box<str>)>,
}

impl GroupSummary {
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        if *self == Self::default() {
            return None;
        }
        let mut bytes = [self.members, self.requests, self.files, self.counted_files]
            .map(u32::to_be_bytes)
            .concat();
        bytes.extend_from_slice(self.counted_owner.unwrap_or(UserId::NOBODY).as_bytes());
        if let Some((since, name)) = &self.listed {
            bytes.extend_from_slice(&at(*since));
            bytes.extend_from_slice(name.as_bytes());
        }
        Some(bytes)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.split_first_chunk::<16>()?;
        let number =
            |at: usize| numbers[4 * at..].first_chunk().map_or(0, |b| u32::from_be_bytes(*b));
        let (owner, rest) = rest.split_first_chunk::<{ UserId::LEN }>()?;
        let owner = UserId::from_bytes(*owner);
        Some(Self {
            members: number(0),
            requests: number(1),
            files: number(2),
            counted_files: number(3),
            counted_owner: Some(owner).filter(|owner| *owner != UserId::NOBODY),
            listed: name_at(rest),
        })
    }
}

/// A file in a group, as it is counted and listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FileSummary {
    /// Shares in effect.
    pub(super) sharers: u32,
    /// Its length, and the entry in the index of names.
    pub(super) listed: Option<(u64, Stamp, Box<str>)>,
}

impl FileSummary {
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        if *self == Self::default() {
            return None;
        }
        let mut bytes = self.sharers.to_be_bytes().to_vec();
        if let Some((len, since, name)) = &self.listed {
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(&at(*since));
            bytes.extend_from_slice(name.as_bytes());
        }
        Some(bytes)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sharers, rest) = bytes.split_first_chunk()?;
        let listed = rest.split_first_chunk().and_then(|(len, rest)| {
            let (since, name) = name_at(rest)?;
            Some((u64::from_be_bytes(*len), since, name))
        });
        Some(Self { sharers: u32::from_be_bytes(*sharers), listed })
    }
}

fn name_at(bytes: &[u8]) -> Option<(Stamp, Box<str>)> {
    let (since, name) = bytes.split_first_chunk()?;
    Some((Stamp::from_u64(u64::from_be_bytes(*since)), std::str::from_utf8(name).ok()?.into()))
}

/// The whole directory in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) users: u64,
    pub(super) groups: u64,
    pub(super) files: u64,
    /// Rows, and about how many bytes they take on the disk.
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// See `digest`.
    pub(super) digest: u128,
}

impl Totals {
    pub(super) fn to_bytes(self) -> Option<Vec<u8>> {
        let Self { users, groups, files, rows, bytes, digest } = self;
        let mut out = [users, groups, files, rows, bytes].map(u64::to_be_bytes).concat();
        out.extend_from_slice(&digest.to_be_bytes());
        (self != Self::default()).then_some(out)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, digest) = bytes.split_first_chunk::<40>()?;
        let (numbers, []) = numbers.as_chunks::<8>() else { return None };
        let [users, groups, files, rows, bytes] =
            [0, 1, 2, 3, 4].map(|at| u64::from_be_bytes(numbers[at]));
        Some(Self {
            users,
            groups,
            files,
            rows,
            bytes,
            digest: u128::from_be_bytes(digest.try_into().ok()?),
        })
    }
}

/// The key of the entry of the totals.
pub const TOTALS_KEY: [u8; 1] = [Tag::Totals as u8];

/// Adds two entries of the totals, which a store that several trackers write keeps in parts: a
/// change of one tracker then does not wait for those of the others. A part may be less than
/// nothing: the numbers wrap around, and their sum is right again.
pub fn add_totals(one: &[u8], other: &[u8]) -> Vec<u8> {
    Totals::combined(one, other, u64::wrapping_add, u128::wrapping_add)
}

/// Subtracts the second entry of the totals from the first, as [`add_totals`] adds them.
pub fn subtract_totals(from: &[u8], part: &[u8]) -> Vec<u8> {
    Totals::combined(from, part, u64::wrapping_sub, u128::wrapping_sub)
}

impl Totals {
    fn combined(
        one: &[u8],
        other: &[u8],
        combine: fn(u64, u64) -> u64,
        combine_digests: fn(u128, u128) -> u128,
    ) -> Vec<u8> {
        let [one, other] = [one, other].map(|bytes| Self::from_bytes(bytes).unwrap_or_default());
        let sum = Self {
            users: combine(one.users, other.users),
            groups: combine(one.groups, other.groups),
            files: combine(one.files, other.files),
            rows: combine(one.rows, other.rows),
            bytes: combine(one.bytes, other.bytes),
            digest: combine_digests(one.digest, other.digest),
        };
        sum.to_bytes().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_empty_is_not_kept() {
        let user = UserSummary { owned: 1, ties: 2, shared: u32::MAX };
        assert_eq!(UserSummary::from_bytes(&user.to_bytes().unwrap()), user);
        let listed = Some((Stamp::new(5, 6), "lab".into()));
        let owner = Some(UserId::from_bytes([7; 16]));
        let group = GroupSummary {
            members: 1,
            requests: 2,
            files: 3,
            counted_files: 3,
            counted_owner: owner,
            listed,
        };
        assert_eq!(GroupSummary::from_bytes(&group.to_bytes().unwrap()), Some(group.clone()));
        let bare = GroupSummary { counted_owner: None, listed: None, ..group };
        assert_eq!(GroupSummary::from_bytes(&bare.to_bytes().unwrap()), Some(bare));
        let file = FileSummary { sharers: 2, listed: Some((9, Stamp::new(1, 2), "a.pdf".into())) };
        assert_eq!(FileSummary::from_bytes(&file.to_bytes().unwrap()), Some(file));
        let unlisted = FileSummary { sharers: 2, listed: None };
        assert_eq!(FileSummary::from_bytes(&unlisted.to_bytes().unwrap()), Some(unlisted));
        let totals =
            Totals { users: 1, groups: 2, files: 3, rows: 4, bytes: 5, digest: u128::MAX - 1 };
        assert_eq!(Totals::from_bytes(&totals.to_bytes().unwrap()), Some(totals));
        let bytes = totals.to_bytes().unwrap();
        let less = subtract_totals(&[], &bytes);
        assert_eq!(add_totals(&less, &bytes), Vec::<u8>::new());
        assert_eq!(add_totals(&add_totals(&less, &bytes), &bytes), bytes);
        assert_eq!(UserSummary::default().to_bytes(), None);
        assert_eq!(GroupSummary::default().to_bytes(), None);
        assert_eq!(FileSummary::default().to_bytes(), None);
        assert_eq!(Totals::default().to_bytes(), None);
    }
}
