//! Listings, page by page.
//!
//! **Invariant:** a listing holds one page at a time, however long it is. Each page begins after
//! the last entry of the one before.
//!
//! Each page blocks on a tracker.

use super::Runtime;
use crate::client::error::ClientError;
use crate::client::trackers::Need;
use crate::types::{FileEntry, GroupEntry, GroupId, Label, MemberEntry, RequestEntry, UserId};
use crate::wire::tracker::{Reply, Request};

/// Asks for the page after an entry; returns it, and whether more follow.
type Ask<'a, T> = Box<dyn FnMut(Option<&T>) -> Result<(Vec<T>, bool), ClientError> + 'a>;

/// A listing as an iterator over its pages. It ends after the first error.
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
    pub(crate) fn new(
        ask: impl FnMut(Option<&T>) -> Result<(Vec<T>, bool), ClientError> + 'a,
    ) -> Self {
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
            // An empty page that promises more would be requested for ever.
            _ => self.is_over = true,
        }
        Some(page.map(|(entries, _)| entries))
    }
}

impl Runtime {
    /// A group's members; their names are kept for `why`.
    pub(crate) fn members(&self, group: GroupId) -> Pages<'_, MemberEntry> {
        Pages::new(move |last: Option<&MemberEntry>| {
            self.member_page(group, last.map(|entry| entry.user.user))
        })
    }

    /// The page of a group's members after one of them, and whether more follow.
    pub(crate) fn member_page(
        &self,
        group: GroupId,
        after: Option<UserId>,
    ) -> Result<(Vec<MemberEntry>, bool), ClientError> {
        match self.trackers.call(&Request::ListMembers { group, after }, Need::Session)? {
            Reply::Members { entries, more } => {
                let names =
                    entries.iter().map(|member| (member.user.user, member.user.label.clone()));
                self.names.learn_users(names);
                Ok((entries, more))
            }
            _ => Err(ClientError::BadAnswer),
        }
    }

    /// The page of a group's pending requests after one of them, and whether more follow.
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

    /// The same listing; each page fails if no user is logged in.
    pub(crate) fn of_session<'a, T: Clone + 'a>(&'a self, mut pages: Pages<'a, T>) -> Pages<'a, T> {
        Pages::new(move |last| {
            self.need_user()?;
            (pages.ask)(last)
        })
    }

    /// The groups that the user is in or has asked to join.
    pub(crate) fn my_groups(&self) -> Pages<'_, GroupEntry> {
        self.group_pages(|after| Request::ListMyGroups { after })
    }

    pub(crate) fn group_pages<'a>(
        &'a self,
        request: impl Fn(Option<Label>) -> Request + 'a,
    ) -> Pages<'a, GroupEntry> {
        Pages::new(move |last: Option<&GroupEntry>| {
            self.group_page(&request(last.map(|entry| entry.label.clone())))
        })
    }

    /// The requested page of groups, and whether more follow.
    pub(crate) fn group_page(
        &self,
        request: &Request,
    ) -> Result<(Vec<GroupEntry>, bool), ClientError> {
        match self.trackers.call(request, Need::Session)? {
            Reply::Groups { entries, more } => {
                let mine = entries.iter().filter(|entry| entry.part.is_member());
                let names = mine.map(|entry| (entry.group, entry.label.clone()));
                self.names.learn_groups(names);
                Ok((entries, more))
            }
            _ => Err(ClientError::BadAnswer),
        }
    }

    pub(crate) fn files(&self, request: &Request) -> Result<(Vec<FileEntry>, bool), ClientError> {
        self.need_user()?;
        match self.trackers.call(request, Need::Session)? {
            Reply::Files { entries, more } => Ok((entries, more)),
            _ => Err(ClientError::BadAnswer),
        }
    }
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
