//! Listings, page by page.
//!
//! **Invariant:** a listing holds one page at a time, however long it is, and begins each behind
//! the last entry of the one before.
//!
//! Each page blocks on a tracker.

use std::collections::HashMap;

use super::error::ClientError;
use super::runtime::Pages;
use super::start::Client;
use super::trackers::Need;
use crate::types::{
    FileEntry, FileOrder, GroupEntry, GroupId, Label, MemberEntry, Pattern, RequestEntry,
};
use crate::wire::tracker::{Reply, Request};

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
            let after = last.map(|entry| entry.user.user);
            match self
                .inner
                .trackers
                .call(&Request::ListRequests { group, after }, Need::Session)?
            {
                Reply::Requests { entries, more } => Ok((entries, more)),
                _ => Err(ClientError::BadAnswer),
            }
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
        // The groups' names, once a file of an unknown one was found.
        let mut names: HashMap<GroupId, Label> = HashMap::new();
        Pages::new(move |last: Option<&FoundFile>| {
            let after = last.map(|found| (found.file.group, found.file.label.clone()));
            let (files, more) =
                self.inner.files(&Request::FindFiles { pattern: pattern.clone(), after })?;
            if files.iter().any(|file| !names.contains_key(&file.group)) {
                for page in self.inner.my_groups() {
                    names.extend(page?.into_iter().map(|entry| (entry.group, entry.label)));
                }
            }
            // A group that the user has left in between is not shown.
            let named =
                |file: FileEntry| Some(FoundFile { group: names.get(&file.group)?.clone(), file });
            Ok((files.into_iter().filter_map(named).collect(), more))
        })
    }
}
