//! The rows of a large directory, one after the other.

use posse::types::{
    Content, FileFacts, FileRow, GroupId, GroupRow, InfoHash, MembershipRow, MembershipState,
    PasswordHash, Place, RequestId, Row, Sha1Digest, SharingRow, Stamp, StoreId, UserId, UserRow,
    Version,
};

use crate::NOW_MS;

/// The group with a tenth of all files.
pub(crate) const BIG_GROUP: GroupId = GroupId::from_bytes([0xbb; 16]);

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) users: u64,
    pub(crate) groups: u64,
    pub(crate) files: u64,
}

impl Sizes {
    /// How many files are in each group but the big one.
    pub(crate) fn in_others(self) -> u64 {
        (self.files - self.files / 10) / (self.groups - 1).max(1)
    }

    /// The first file of a group, by its number.
    pub(crate) fn first_of(self, group: u64) -> u64 {
        if group == 0 { 0 } else { self.files / 10 + (group - 1) * self.in_others() }
    }
}

/// All rows: accounts, then group by group. `round` makes every row later than those of the round
/// before.
pub(crate) fn all(sizes: Sizes, round: u64) -> impl Iterator<Item = Row> {
    let Sizes { users, groups, files } = sizes;
    let accounts = (0..users).map(account);
    let per_group = (users / groups.max(1)).max(1);
    let in_others = sizes.in_others();
    let first = move |number: u64| sizes.first_of(number);
    let rest = (0..groups).flat_map(move |number| {
        let id = group(number);
        let count = if number == 0 { files / 10 } else { in_others };
        let owner = user(number * per_group);
        let name = format!("group-{number}").parse().expect("a plain name");
        let head = [
            Content::Group(id, Some(GroupRow { name, created_by: owner, created: stamp(number) })),
            Content::Owner(id, owner),
        ];
        let members = (0..per_group).map(move |member| {
            let row =
                MembershipRow { state: MembershipState::Member, since: stamp(member), ended: None };
            Content::Membership(id, user(number * per_group + member), row)
        });
        let files = (0..count).flat_map(move |file| {
            let sharer = user(number * per_group + file % per_group);
            let facts = facts(first(number) + file);
            let file_id = facts.id();
            let row = FileRow {
                facts,
                shared_by: sharer,
                at: stamp(file),
                replaces: None,
                removed: None,
            };
            let sharing = SharingRow { on: true, admission: RequestId::from_bytes([0; 16]) };
            [Content::File(id, file_id, Some(row)), Content::Sharing(id, file_id, sharer, sharing)]
        });
        head.into_iter().chain(members).chain(files)
    });
    accounts.chain(rest).enumerate().map(move |(index, content)| {
        let index = index as u64;
        let request =
            RequestId::from_bytes((u128::from(round) << 64 | u128::from(index)).to_be_bytes());
        // Later than the memberships, which are in effect from their own time on.
        let is_share = u64::from(matches!(content, Content::Sharing(..)));
        let version =
            Version { stamp: Stamp::new(NOW_MS - 1_000_000 + round * 1000 + is_share, 0), request };
        let place = Place { store: StoreId::from_bytes([0; 16]), sequence: 1 };
        Row { content, version, place, extra: Box::default() }
    })
}

pub(crate) fn user(number: u64) -> UserId {
    UserId::from_bytes(spread(number).to_be_bytes())
}

/// The name of an account.
pub(crate) fn user_name(number: u64) -> String {
    format!("user-{number}")
}

pub(crate) fn group(number: u64) -> GroupId {
    if number == 0 { BIG_GROUP } else { GroupId::from_bytes((!spread(number)).to_be_bytes()) }
}

/// A file's facts.
pub(crate) fn facts(number: u64) -> FileFacts {
    let mut hash = [0; InfoHash::LEN];
    hash[..16].copy_from_slice(&spread(number).to_be_bytes());
    FileFacts {
        info_hash: InfoHash::from_bytes(hash),
        name: format!("Recording of the seminar {number}.mkv").parse().expect("a plain name"),
        len: 1 << 20 | number << 8,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([7; Sha1Digest::LEN]),
        chain: None,
    }
}

fn account(number: u64) -> Content {
    // Of the password with which the sessions of the benches log in.
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AdweBLwcflnNX2HVW8i1Mtu7frrn4Ki7h/rYSGuU7Is";
    let row = UserRow {
        name: user_name(number).parse().expect("a plain name"),
        hash: PasswordHash::from_phc(hash.to_owned()),
        created: stamp(number),
        replaced: None,
        must_change: false,
        is_disabled: false,
    };
    Content::User(user(number), Some(row))
}

fn stamp(number: u64) -> Stamp {
    Stamp::new(NOW_MS - 100_000_000 + number, 0)
}

/// Ids are as good as random.
fn spread(number: u64) -> u128 {
    u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}
