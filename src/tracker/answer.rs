//! What the directory and presence answer to a session's questions.
//!
//! **Invariant:** members only learn what is in a group; anybody logged in may know that it is
//! there.
//!
//! The directory is read on the session's thread, or on the core's by [`is_look_up`]; who is online
//! is filled in on the core's.

use super::presence::Presence;
use super::readers::Look;
use crate::directory::{Directory, Rows};
use crate::types::limits::PAGE_ENTRIES_MAX;
use crate::types::{FileOrder, GroupEntry, GroupId, Label, Part, Pattern, Refusal, UserId};
use crate::wire::codec::{ListItem, count_fitting};
use crate::wire::tracker::{Reply, Request, Resolved};

/// Entries of one page here.
const PAGE_LEN: usize = 1024;
const _: () = assert!(PAGE_LEN <= PAGE_ENTRIES_MAX);
/// Bytes of one page: what a session holds that asks and does not read.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// Answers a question of `asking`, without saying who is online; `None` if the request is none, or
/// the user is not there any more.
pub(crate) fn answer(
    directory: &Directory<impl Rows>,
    asking: UserId,
    request: &Request,
) -> Option<Reply> {
    if directory.user_row(asking)?.must_change {
        return Some(Reply::Refused(Refusal::MustChangePassword));
    }
    let answer = match request {
        Request::Resolve { group, user, file } => {
            resolve(directory, asking, group, user.as_ref(), file.as_ref())
        }
        Request::ListGroups { after, pattern } => {
            let (entries, more) =
                cut(directory.groups(asking, pattern.as_ref(), after.as_ref(), PAGE_LEN));
            Ok(Reply::Groups { entries, more })
        }
        Request::ListMyGroups { after } => {
            let (entries, more) = cut(directory.my_groups(asking, after.as_ref(), PAGE_LEN));
            Ok(Reply::Groups { entries, more })
        }
        Request::ListRequests { group, after } => list_requests(directory, asking, *group, *after),
        Request::ListMembers { group, after } => own_group(directory, asking, *group).map(|_| {
            let (entries, more) = cut(directory.members(*group, *after, PAGE_LEN));
            Reply::Members { entries, more }
        }),
        Request::ListFiles { group, after, pattern, order } => {
            list_files(directory, asking, *group, after.as_ref(), pattern.as_ref(), *order)
        }
        Request::FindFile { group, file } => own_group(directory, asking, *group).and_then(|_| {
            directory.file(*group, *file).map(Reply::File).ok_or(Refusal::NoSuchFile)
        }),
        Request::FindFiles { pattern, after } => {
            let (entries, more) =
                cut(directory.find_files(asking, pattern, after.as_ref(), PAGE_LEN));
            Ok(Reply::Files { entries, more })
        }
        Request::ListInvitations { after } => {
            let (entries, more) = cut(directory.invitations(asking, *after, PAGE_LEN));
            Ok(Reply::Invitations { entries, more })
        }
        Request::WhoAmI => directory.user_entry(asking).map(Reply::User).ok_or(Refusal::LoginFirst),
        _ => return None,
    };
    Some(answer.unwrap_or_else(Reply::Refused))
}

/// How a question is to be looked up.
pub(crate) fn look_of(question: &Request) -> Look {
    match question {
        Request::ListGroups { pattern: Some(_), .. }
        | Request::ListFiles { pattern: Some(_), .. }
        | Request::FindFiles { .. } => Look::Search,
        _ => Look::Up,
    }
}

/// Tells whether a question is about a few rows that it names. The core answers it itself while
/// the tables lag behind: it has these rows in memory, and to move all that waits to the tables
/// takes longer.
pub(crate) fn is_look_up(question: &Request) -> bool {
    matches!(question, Request::Resolve { .. } | Request::FindFile { .. } | Request::WhoAmI)
}

/// Fills in who is online.
pub(crate) fn with_presence(presence: &Presence, mut reply: Reply) -> Reply {
    let files = match &mut reply {
        Reply::Members { entries, .. } => {
            entries.iter_mut().for_each(|entry| entry.online = presence.is_online(entry.user.user));
            return reply;
        }
        Reply::Files { entries, .. } => entries.as_mut_slice(),
        Reply::File(entry) => std::slice::from_mut(entry),
        Reply::Resolved(resolved) => resolved.file.as_mut_slice(),
        _ => return reply,
    };
    files
        .iter_mut()
        .for_each(|entry| entry.online = presence.seeder_count(entry.group, entry.facts.info_hash));
    reply
}

fn resolve(
    directory: &Directory<impl Rows>,
    asking: UserId,
    group: &Label,
    user: Option<&Label>,
    file: Option<&Label>,
) -> Result<Reply, Refusal> {
    let id = directory.find_group(group.as_str()).ok_or(Refusal::NoSuchGroup)?;
    let group = directory.group(id, asking).ok_or(Refusal::NoSuchGroup)?;
    if file.is_some() && !directory.is_member(id, asking) {
        return Err(Refusal::NotMember);
    }
    let user = user
        .and_then(|label| directory.find_user(label.as_str()))
        .and_then(|user| directory.user_entry(user));
    let file = file.and_then(|label| directory.find_file(id, label.as_str()));
    Ok(Reply::Resolved(Resolved { group, user, file }))
}

fn list_requests(
    directory: &Directory<impl Rows>,
    asking: UserId,
    group: GroupId,
    after: Option<UserId>,
) -> Result<Reply, Refusal> {
    match live_group(directory, asking, group)?.part {
        Part::Owner => {
            let (entries, more) = cut(directory.requests(group, after, PAGE_LEN));
            Ok(Reply::Requests { entries, more })
        }
        _ => Err(Refusal::NotOwner),
    }
}

fn list_files(
    directory: &Directory<impl Rows>,
    asking: UserId,
    group: GroupId,
    after: Option<&Label>,
    pattern: Option<&Pattern>,
    order: FileOrder,
) -> Result<Reply, Refusal> {
    own_group(directory, asking, group)?;
    let (entries, more) = cut(directory.files(group, pattern, order, after, PAGE_LEN));
    Ok(Reply::Files { entries, more })
}

/// Ends a page where it has bytes enough.
fn cut<T: ListItem>((mut entries, more): (Vec<T>, bool)) -> (Vec<T>, bool) {
    let (all, fitting) = (entries.len(), count_fitting(&entries, PAGE_BYTES_MAX));
    entries.truncate(fitting);
    (entries, more || fitting < all)
}

fn live_group(
    directory: &Directory<impl Rows>,
    asking: UserId,
    group: GroupId,
) -> Result<GroupEntry, Refusal> {
    directory.group(group, asking).ok_or(Refusal::NoSuchGroup)
}

fn own_group(
    directory: &Directory<impl Rows>,
    asking: UserId,
    group: GroupId,
) -> Result<GroupEntry, Refusal> {
    let entry = live_group(directory, asking, group)?;
    if matches!(entry.part, Part::Member | Part::Owner) {
        Ok(entry)
    } else {
        Err(Refusal::NotMember)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{MemberEntry, Stamp, UserEntry};

    #[test]
    fn a_page_is_bounded_in_bytes_and_says_that_there_is_more() {
        let label = Label::new(&"x".repeat(64), 1);
        let user = UserEntry { user: UserId::NOBODY, label };
        let since = Stamp::default();
        let entry = MemberEntry { user, owner: false, online: false, since, invited_by: None };
        let page = |count: usize, more| cut((vec![entry.clone(); count], more));
        assert!(matches!(page(1024, false), (entries, false) if entries.len() == 1024));
        assert!(matches!(page(1024, true), (_, true)));
        let (entries, more) = page(10_000, false);
        assert!(more && entries.len() > 2000 && entries.len() < 4000);
    }
}
