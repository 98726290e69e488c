//! Listings, page by page.
//!
//! **Invariant:** a listing holds one page at a time, however long it is. Each page begins after
//! the last entry of the one before.
//!
//! Each page blocks on a tracker.

use super::error::ClientError;
use super::runtime::Pages;
use super::start::Client;
use crate::types::{
    FileEntry, FileOrder, GroupEntry, GroupId, Label, MemberEntry, Pattern, RequestEntry,
};
use crate::wire::tracker::Request;

/// A file found in one of the user's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// The group's display name.
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
        let pages = self
            .inner
            .group_pages(move |after| Request::ListGroups { after, pattern: pattern.clone() });
        self.inner.of_session(pages)
    }

    /// Lists the groups that the user is in or has asked to join, by name.
    ///
    /// # Errors
    /// The pages': [`Refusal::LoginFirst`](crate::types::Refusal::LoginFirst), and those of the
    /// trackers.
    pub fn list_my_groups(&self) -> Pages<'_, GroupEntry> {
        self.inner.of_session(self.inner.my_groups())
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
            self.inner.files(&Request::ListFiles { group, after, pattern, order })
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
            self.find_page(pattern.clone(), after)
        })
    }

    /// The page of files of the user's groups after one of them, and whether more follow.
    pub(crate) fn find_page(
        &self,
        pattern: Pattern,
        after: Option<(GroupId, Label)>,
    ) -> Result<(Vec<FoundFile>, bool), ClientError> {
        let inner = &self.inner;
        let (files, more) = inner.files(&Request::FindFiles { pattern, after })?;
        if files.iter().any(|file| inner.names.group(file.group).is_none()) {
            // Listing the groups stores their names.
            inner.my_groups().all()?;
        }
        // Skips a group that the user has left meanwhile.
        let named =
            |file: FileEntry| Some(FoundFile { group: inner.names.group(file.group)?, file });
        Ok((files.into_iter().filter_map(named).collect(), more))
    }
}
