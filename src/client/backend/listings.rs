//! Pages of listings.
//!
//! **Invariant:** a cursor holds everything that the request for the next page needs, so there is no
//! state between pages.

use super::super::api::{File, Group, Listing, Member, Page, Request};
use super::super::{Client, ClientError};
use super::{Backend, convert};
use crate::types::{FileOrder, GroupId, Label, Pattern, UserId};
use crate::wire::tracker::Request as Ask;

/// Entries in one page of a local listing.
const PAGE_LEN: usize = 1000;

type Result<T> = std::result::Result<T, ClientError>;

fn wrong_cursor() -> ClientError {
    ClientError::BadArgument("the cursor is not valid; ask for the first page".into())
}

/// Reads a cursor.
fn parse<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| wrong_cursor())
}

/// Reads a cursor that begins with a group's id.
fn parse_in_group<T: std::str::FromStr>(text: &str) -> Result<(GroupId, T)> {
    let (group, rest) = text.split_once('/').ok_or_else(wrong_cursor)?;
    Ok((parse(group)?, parse(rest)?))
}

/// Makes a page of at most the requested size.
fn page<E, T>(
    (mut entries, mut more): (Vec<E>, bool),
    listing: &Listing,
    next: impl Fn(&E) -> String,
    convert: impl Fn(E) -> T,
) -> Page<T> {
    if let Some(limit) = listing.limit.filter(|limit| *limit < entries.len()) {
        entries.truncate(limit);
        more = true;
    }
    // An empty page has no cursor.
    let next = entries.last().filter(|_| more).map(next);
    let more = more && (next.is_some() || listing.limit == Some(0));
    Page { entries: entries.into_iter().map(convert).collect(), more, next }
}

/// A page of a local list. The cursor is an index.
pub(super) fn part<T>(entries: Vec<T>, listing: &Listing) -> Result<Page<T>> {
    let from: usize = listing.after.as_deref().map_or(Ok(0), parse)?;
    let len = listing.limit.unwrap_or(PAGE_LEN).min(PAGE_LEN);
    let more = entries.len().saturating_sub(from) > len;
    let entries = entries.into_iter().skip(from).take(len).collect();
    Ok(Page { entries, more, next: more.then(|| (from + len).to_string()) })
}

impl Backend {
    pub(super) fn list_groups(
        &self,
        pattern: Option<Pattern>,
        listing: &Listing,
    ) -> Result<Page<Group>> {
        let after: Option<Label> = listing.after.as_deref().map(parse).transpose()?;
        self.client.inner.need_user()?;
        let found = self.client.inner.group_page(&Ask::ListGroups { after, pattern })?;
        Ok(page(found, listing, |group| group.label.to_string(), convert::group))
    }

    pub(super) fn list_my_groups(&self, listing: &Listing) -> Result<Page<Group>> {
        let after: Option<Label> = listing.after.as_deref().map(parse).transpose()?;
        self.client.inner.need_user()?;
        let found = self.client.inner.group_page(&Ask::ListMyGroups { after })?;
        Ok(page(found, listing, |group| group.label.to_string(), convert::group))
    }

    pub(super) fn list_members(&self, group: &str, listing: &Listing) -> Result<Page<Member>> {
        let (group, after) = begin::<UserId>(&self.client, group, listing)?;
        let found = self.client.inner.member_page(group, after)?;
        let next = |member: &crate::types::MemberEntry| format!("{group}/{}", member.user.user);
        Ok(page(found, listing, next, convert::member))
    }

    pub(super) fn list_requests(&self, group: &str, listing: &Listing) -> Result<Page<Request>> {
        let (group, after) = begin::<UserId>(&self.client, group, listing)?;
        let found = self.client.inner.request_page(group, after)?;
        let next = |request: &crate::types::RequestEntry| format!("{group}/{}", request.user.user);
        Ok(page(found, listing, next, convert::request))
    }

    pub(super) fn list_files(
        &self,
        group: &str,
        pattern: Option<Pattern>,
        order: FileOrder,
        listing: &Listing,
    ) -> Result<Page<File>> {
        let (group, after) = begin::<Label>(&self.client, group, listing)?;
        let found = self.client.inner.files(&Ask::ListFiles { group, after, pattern, order })?;
        let next = |file: &crate::types::FileEntry| format!("{group}/{}", file.label);
        Ok(page(found, listing, next, |file| convert::file(file, None)))
    }

    pub(super) fn find(&self, pattern: Pattern, listing: &Listing) -> Result<Page<File>> {
        let after = listing.after.as_deref().map(parse_in_group::<Label>).transpose()?;
        let found = self.client.find_page(pattern, after)?;
        let next =
            |found: &crate::client::FoundFile| format!("{}/{}", found.file.group, found.file.label);
        Ok(page(found, listing, next, |found| convert::file(found.file, Some(found.group))))
    }
}

/// The group and the entry before the page. Only the first page resolves the group's name at a
/// tracker.
fn begin<T: std::str::FromStr>(
    client: &Client,
    group: &str,
    listing: &Listing,
) -> Result<(GroupId, Option<T>)> {
    match &listing.after {
        None => Ok((client.inner.group(group)?.group, None)),
        Some(text) => parse_in_group(text).map(|(group, after)| (group, Some(after))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_pages_that_follow_each_other() {
        let all: Vec<usize> = (0..2500).collect();
        let mut listing = Listing::default();
        let mut read = Vec::new();
        loop {
            let page = part(all.clone(), &listing).unwrap();
            read.extend(page.entries);
            assert_eq!(page.more, page.next.is_some());
            listing.after = page.next;
            if listing.after.is_none() {
                break;
            }
        }
        assert_eq!(read, all);
        let limited = part(all.clone(), &Listing { after: None, limit: Some(3) }).unwrap();
        assert_eq!((limited.entries, limited.next.as_deref()), (vec![0, 1, 2], Some("3")));
        assert!(part(all, &Listing { after: Some("x".into()), limit: None }).is_err());
    }

    #[test]
    fn a_page_goes_on_behind_the_last_entry_that_was_given() {
        let cut = |more, limit| {
            let listing = Listing { after: None, limit };
            let page = page((vec![1, 2, 3], more), &listing, |n| n.to_string(), |n| n);
            (page.entries.len(), page.more, page.next)
        };
        assert_eq!(cut(false, None), (3, false, None));
        assert_eq!(cut(true, None), (3, true, Some("3".into())));
        assert_eq!(cut(false, Some(2)), (2, true, Some("2".into())));
        assert_eq!(cut(true, Some(3)), (3, true, Some("3".into())));
    }
}
