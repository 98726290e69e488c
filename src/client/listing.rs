//! Listings, page by page.
//!
//! **Invariant:** a listing holds one page at a time, however long it is, and begins each behind
//! the last entry of the one before.
//!
//! Each page blocks on a tracker.

use std::collections::HashMap;

use super::core::Inner;
use super::groups::is_member;
use super::trackers::Need;
use super::{Client, ClientError};
use crate::types::{
    FileEntry, FileOrder, GroupEntry, GroupId, Label, MemberEntry, Pattern, RequestEntry, UserId,
};
use crate::wire::tracker::{Reply, Request};

/// Names of users and groups that are remembered; beyond it they are learned anew.
const NAMES_MAX: usize = 65_536;

/// What is asked for the page behind an entry, and what comes with whether more follows.
type Ask<'a, T> = Box<dyn FnMut(Option<&T>) -> Result<(Vec<T>, bool), ClientError> + 'a>;

/// A listing as an iterator over its pages. It ends behind the first error.
///
/// # Example
/// ```no_run
/// # fn show(client: &posse::Client) -> Result<(), posse::ClientError> {
/// for page in client.list_files("lab", None, Default::default())? {
///     for file in page? {
///         println!("{} has {} bytes", file.label, file.facts.len);
///     }
/// }
/// # Ok(()) }
/// ```
pub struct Pages<'a, T> {
    ask: Ask<'a, T>,
    last: Option<T>,
    is_over: bool,
}

impl<'a, T: Clone> Pages<'a, T> {
    fn new(ask: impl FnMut(Option<&T>) -> Result<(Vec<T>, bool), ClientError> + 'a) -> Self {
        Self { ask: Box::new(ask), last: None, is_over: false }
    }

    /// Collects all entries.
    ///
    /// # Errors
    /// Those of the trackers.
    pub fn all(self) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        for page in self {
            all.extend(page?);
        }
        Ok(all)
    }
}

impl<T: Clone> Iterator for Pages<'_, T> {
    type Item = Result<Vec<T>, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let page = (self.ask)(self.last.as_ref());
        match &page {
            Ok((entries, more)) if *more && !entries.is_empty() => {
                self.last = entries.last().cloned()
            }
            // An empty page that promises more would be asked for again and again.
            _ => self.is_over = true,
        }
        Some(page.map(|(entries, _)| entries))
    }
}

/// A file that was found in one of the user's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// The group's name as shown.
    pub group: Label,
    /// The file.
    pub file: FileEntry,
}

impl Client {
    /// Lists all groups whose names match, by name.
    ///
    /// # Errors
    /// The pages': [`Refusal::LoginFirst`](crate::types::Refusal::LoginFirst), and those of the
    /// trackers.
    pub fn list_groups(&self, pattern: Option<Pattern>) -> Pages<'_, GroupEntry> {
        self.inner.group_pages(move |after| Request::ListGroups { after, pattern: pattern.clone() })
    }

    /// Lists the groups that the user is in or has asked to join, by name.
    ///
    /// # Errors
    /// The pages': [`Refusal::LoginFirst`](crate::types::Refusal::LoginFirst), and those of the
    /// trackers.
    pub fn list_my_groups(&self) -> Pages<'_, GroupEntry> {
        self.inner.my_groups()
    }

    /// Lists a group's members, the longest-standing first.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`](crate::types::Refusal::NoSuchGroup); the pages':
    /// [`Refusal::NotMember`](crate::types::Refusal::NotMember).
    pub fn list_members(&self, group: &str) -> Result<Pages<'_, MemberEntry>, ClientError> {
        Ok(self.inner.members(self.inner.group(group)?.group))
    }

    /// Lists a group's pending requests, the oldest first; the owner only.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`](crate::types::Refusal::NoSuchGroup); the pages':
    /// [`Refusal::NotOwner`](crate::types::Refusal::NotOwner).
    pub fn list_requests(&self, group: &str) -> Result<Pages<'_, RequestEntry>, ClientError> {
        let group = self.inner.group(group)?.group;
        Ok(Pages::new(move |last: Option<&RequestEntry>| {
            self.inner.request_page(group, last.map(|entry| entry.user.user))
        }))
    }

    /// Lists a group's files whose names match.
    ///
    /// # Errors
    /// [`Refusal::NoSuchGroup`](crate::types::Refusal::NoSuchGroup); the pages':
    /// [`Refusal::NotMember`](crate::types::Refusal::NotMember).
    pub fn list_files(
        &self,
        group: &str,
        pattern: Option<Pattern>,
        order: FileOrder,
    ) -> Result<Pages<'_, FileEntry>, ClientError> {
        let group = self.inner.group(group)?.group;
        Ok(Pages::new(move |last: Option<&FileEntry>| {
            let (after, pattern) = (last.map(|entry| entry.label.clone()), pattern.clone());
            self.inner.file_page(&Request::ListFiles { group, after, pattern, order })
        }))
    }

    /// Lists the files of all the user's groups whose names match, group by group.
    ///
    /// # Errors
    /// The pages': [`Refusal::LoginFirst`](crate::types::Refusal::LoginFirst), and those of the
    /// trackers.
    pub fn find(&self, pattern: Pattern) -> Pages<'_, FoundFile> {
        Pages::new(move |last: Option<&FoundFile>| {
            let after = last.map(|found| (found.file.group, found.file.label.clone()));
            self.inner.find_page(pattern.clone(), after)
        })
    }
}

impl Inner {
    /// A group's members; their names are kept for `why`.
    pub(crate) fn members(&self, group: GroupId) -> Pages<'_, MemberEntry> {
        Pages::new(move |last: Option<&MemberEntry>| {
            self.member_page(group, last.map(|entry| entry.user.user))
        })
    }

    /// The page of a group's members behind one of them, and whether others follow.
    pub(crate) fn member_page(
        &self,
        group: GroupId,
        after: Option<UserId>,
    ) -> Result<(Vec<MemberEntry>, bool), ClientError> {
        match self.trackers.call(&Request::ListMembers { group, after }, Need::Session)? {
            Reply::Members { entries, more } => {
                let names =
                    entries.iter().map(|member| (member.user.user, member.user.label.clone()));
                remember::<UserId>(&mut self.names.lock(), names);
                Ok((entries, more))
            }
            _ => Err(ClientError::BadAnswer),
        }
    }

    /// The page of a group's pending requests behind one of them, and whether others follow.
    pub(crate) fn request_page(
        &self,
        group: GroupId,
        after: Option<UserId>,
    ) -> Result<(Vec<RequestEntry>, bool), ClientError> {
        match self.trackers.call(&Request::ListRequests { group, after }, Need::Session)? {
            Reply::Requests { entries, more } => Ok((entries, more)),
            _ => Err(ClientError::BadAnswer),
        }
    }

    /// The page of files of the user's groups behind one of them, and whether others follow.
    pub(crate) fn find_page(
        &self,
        pattern: Pattern,
        after: Option<(GroupId, Label)>,
    ) -> Result<(Vec<FoundFile>, bool), ClientError> {
        let (files, more) = self.file_page(&Request::FindFiles { pattern, after })?;
        let is_unknown = |file: &FileEntry| !self.group_names.lock().contains_key(&file.group);
        if files.iter().any(is_unknown) {
            // Going through them remembers their names.
            self.my_groups().all()?;
        }
        let names = self.group_names.lock();
        // A group that the user has left in between is not shown.
        let named =
            |file: FileEntry| Some(FoundFile { group: names.get(&file.group)?.clone(), file });
        Ok((files.into_iter().filter_map(named).collect(), more))
    }

    /// The groups that the user is in or has asked to join.
    pub(crate) fn my_groups(&self) -> Pages<'_, GroupEntry> {
        self.group_pages(|after| Request::ListMyGroups { after })
    }

    fn group_pages<'a>(
        &'a self,
        request: impl Fn(Option<Label>) -> Request + 'a,
    ) -> Pages<'a, GroupEntry> {
        Pages::new(move |last: Option<&GroupEntry>| {
            self.group_page(&request(last.map(|entry| entry.label.clone())))
        })
    }

    /// The page of groups that is asked for, and whether others follow.
    pub(crate) fn group_page(
        &self,
        request: &Request,
    ) -> Result<(Vec<GroupEntry>, bool), ClientError> {
        self.need_user()?;
        match self.trackers.call(request, Need::Session)? {
            Reply::Groups { entries, more } => {
                let mine = entries.iter().filter(|entry| is_member(entry.part));
                remember(
                    &mut self.group_names.lock(),
                    mine.map(|entry| (entry.group, entry.label.clone())),
                );
                Ok((entries, more))
            }
            _ => Err(ClientError::BadAnswer),
        }
    }

    /// The page of files that is asked for, and whether others follow.
    pub(crate) fn file_page(
        &self,
        request: &Request,
    ) -> Result<(Vec<FileEntry>, bool), ClientError> {
        self.need_user()?;
        match self.trackers.call(request, Need::Session)? {
            Reply::Files { entries, more } => Ok((entries, more)),
            _ => Err(ClientError::BadAnswer),
        }
    }
}

fn remember<K: std::hash::Hash + Eq>(
    names: &mut HashMap<K, Label>,
    new: impl Iterator<Item = (K, Label)>,
) {
    if names.len() >= NAMES_MAX {
        names.clear();
    }
    names.extend(new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Refusal;

    #[test]
    fn a_listing_goes_on_behind_the_last_entry_and_ends_at_the_first_error() {
        let numbers = |fails: bool| {
            Pages::new(move |last: Option<&u32>| match last {
                None => Ok((vec![1, 2], true)),
                Some(2) => Ok((vec![3], true)),
                Some(3) if fails => Err(Refusal::Busy.into()),
                Some(3) => Ok((Vec::new(), true)),
                other => panic!("asked behind {other:?}"),
            })
        };
        assert_eq!(numbers(false).all().unwrap(), [1, 2, 3], "an empty page is the last one");
        assert!(numbers(true).all().is_err());
        assert_eq!(numbers(true).count(), 3);
    }
}
