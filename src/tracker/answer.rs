//! What the directory and presence answer to a session's questions.
//!
//! **Invariant:** members only learn what is in a group; anybody logged in may know that it is there.
//!
//! Called on the core's thread; nothing here blocks or changes anything.

use super::core::View;
use crate::types::limits::PAGE_ENTRIES_MAX;
use crate::types::{FileEntry, FileId, FileOrder, GroupEntry, GroupId, Label, Part, Pattern, Refusal, UserId};
use crate::wire::codec::{ListItem, count_fitting};
use crate::wire::tracker::{Reply, Request, Resolved};

/// Entries of one page here.
const PAGE_LEN: usize = 1024;
const _: () = assert!(PAGE_LEN <= PAGE_ENTRIES_MAX);
/// Bytes of one page: what a session holds that asks and does not read.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// Answers a question of `asking`; `None` if the request is none.
pub(crate) fn answer(view: &View<'_>, asking: UserId, request: &Request) -> Option<Reply> {
    let answer = match request {
        Request::Resolve { group, user, file } => resolve(view, asking, group, user.as_ref(), file.as_ref()),
        Request::ListGroups { after, pattern } => {
            let (entries, more) = cut(view.directory().groups(asking, pattern.as_ref(), after.as_ref(), PAGE_LEN));
            Ok(Reply::Groups { entries, more })
        }
        Request::ListMyGroups { after } => {
            let (entries, more) = cut(view.directory().my_groups(asking, after.as_ref(), PAGE_LEN));
            Ok(Reply::Groups { entries, more })
        }
        Request::ListRequests { group, after } => list_requests(view, asking, *group, *after),
        Request::ListMembers { group, after } => list_members(view, asking, *group, *after),
        Request::ListFiles { group, after, pattern, order } => {
            list_files(view, asking, *group, after.as_ref(), pattern.as_ref(), *order)
        }
        Request::FindFile { group, file } => find_file(view, asking, *group, *file),
        Request::FindFiles { pattern, after } => {
            let (entries, more) = cut(view.directory().find_files(asking, pattern, after.as_ref(), PAGE_LEN));
            let entries = entries.into_iter().map(|entry| with_seeders(view, entry)).collect();
            Ok(Reply::Files { entries, more })
        }
        Request::WhoAmI => view.directory().user_entry(asking).map(Reply::User).ok_or(Refusal::LoginFirst),
        _ => return None,
    };
    Some(answer.unwrap_or_else(Reply::Refused))
}

fn resolve(view: &View<'_>, asking: UserId, group: &Label, user: Option<&Label>, file: Option<&Label>) -> Result<Reply, Refusal> {
    let directory = view.directory();
    let id = directory.find_group(group.as_str()).ok_or(Refusal::NoSuchGroup)?;
    let group = directory.group(id, asking).ok_or(Refusal::NoSuchGroup)?;
    if file.is_some() && !directory.is_member(id, asking) {
        return Err(Refusal::NotMember);
    }
    let user = user.and_then(|label| directory.find_user(label.as_str())).and_then(|user| directory.user_entry(user));
    let file = file.and_then(|label| directory.find_file(id, label.as_str())).map(|entry| with_seeders(view, entry));
    Ok(Reply::Resolved(Resolved { group, user, file }))
}

fn list_requests(view: &View<'_>, asking: UserId, group: GroupId, after: Option<UserId>) -> Result<Reply, Refusal> {
    match live_group(view, asking, group)?.part {
        Part::Owner => {
            let (entries, more) = cut(view.directory().requests(group, after, PAGE_LEN));
            Ok(Reply::Requests { entries, more })
        }
        _ => Err(Refusal::NotOwner),
    }
}

fn list_members(view: &View<'_>, asking: UserId, group: GroupId, after: Option<UserId>) -> Result<Reply, Refusal> {
    own_group(view, asking, group)?;
    let (mut entries, more) = cut(view.directory().members(group, after, PAGE_LEN));
    entries.iter_mut().for_each(|entry| entry.online = view.presence.is_online(entry.user.user));
    Ok(Reply::Members { entries, more })
}

fn list_files(
    view: &View<'_>,
    asking: UserId,
    group: GroupId,
    after: Option<&Label>,
    pattern: Option<&Pattern>,
    order: FileOrder,
) -> Result<Reply, Refusal> {
    own_group(view, asking, group)?;
    let (entries, more) = cut(view.directory().files(group, pattern, order, after, PAGE_LEN));
    Ok(Reply::Files { entries: entries.into_iter().map(|entry| with_seeders(view, entry)).collect(), more })
}

fn find_file(view: &View<'_>, asking: UserId, group: GroupId, file: FileId) -> Result<Reply, Refusal> {
    own_group(view, asking, group)?;
    let entry = view.directory().file(group, file).ok_or(Refusal::NoSuchFile)?;
    Ok(Reply::File(with_seeders(view, entry)))
}

/// Ends a page where it has bytes enough.
fn cut<T: ListItem>((mut entries, more): (Vec<T>, bool)) -> (Vec<T>, bool) {
    let (all, fitting) = (entries.len(), count_fitting(&entries, PAGE_BYTES_MAX));
    entries.truncate(fitting);
    (entries, more || fitting < all)
}

fn live_group(view: &View<'_>, asking: UserId, group: GroupId) -> Result<GroupEntry, Refusal> {
    view.directory().group(group, asking).ok_or(Refusal::NoSuchGroup)
}

fn own_group(view: &View<'_>, asking: UserId, group: GroupId) -> Result<GroupEntry, Refusal> {
    let entry = live_group(view, asking, group)?;
    if matches!(entry.part, Part::Member | Part::Owner) { Ok(entry) } else { Err(Refusal::NotMember) }
}

fn with_seeders(view: &View<'_>, entry: FileEntry) -> FileEntry {
    let online = view.presence.seeder_count(entry.group, entry.facts.info_hash);
    FileEntry { online, ..entry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{MemberEntry, Stamp, UserEntry};

    #[test]
    fn a_page_is_bounded_in_bytes_and_says_that_there_is_more() {
        let label = Label::new(&"x".repeat(64), 1);
        let user = UserEntry { user: UserId::NOBODY, label };
        let entry = MemberEntry { user, owner: false, online: false, since: Stamp::default() };
        let page = |count: usize, more| cut((vec![entry.clone(); count], more));
        assert!(matches!(page(1024, false), (entries, false) if entries.len() == 1024));
        assert!(matches!(page(1024, true), (_, true)));
        let (entries, more) = page(10_000, false);
        assert!(more && entries.len() > 2000 && entries.len() < 4000);
    }
}
