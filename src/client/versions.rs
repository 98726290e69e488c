//! Versions of a file in a group: replacing and removing them.

use super::error::ClientError;
use super::runtime::Runtime;
use super::session::input::Command;
use super::start::Client;
use super::trackers::Need;
use crate::types::{FileFacts, GroupId, Label, Refusal};
use crate::wire::tracker::{Reply, Request};

impl Client {
    /// Removes a file from a group: all members stop offering it. Only its first sharer and the
    /// group's owner may. No file on any disk is removed.
    ///
    /// # Errors
    /// [`Refusal::NoSuchFile`], [`Refusal::NotMember`], [`Refusal::NotSharer`].
    pub fn remove_file(&self, group: &str, file: &str) -> Result<(), ClientError> {
        let inner = &self.inner;
        let resolved = inner.resolve(group, None, Some(file))?;
        if !resolved.group.part.is_member() {
            return Err(Refusal::NotMember.into());
        }
        let (group, facts) =
            (resolved.group.group, resolved.file.ok_or(Refusal::NoSuchFile)?.facts);
        let (request, file) = (inner.trackers.request_stamp(), facts.id());
        inner.ask(Command::ExpectRemoval(group, facts.info_hash, file))?;
        if let Err(error) = self.done(&Request::RemoveFile { request, group, file }, Need::Session)
        {
            inner.ask(Command::UnexpectRemoval(group, facts.info_hash))?;
            return Err(error);
        }
        inner.end_version(group, &facts, Some("it was removed from the group"))
    }
}

impl Runtime {
    /// Checks that the directory lists a file that was just shared as it was sent. Returns its
    /// display name.
    pub(crate) fn listed_as_sent(
        &self,
        group: GroupId,
        facts: &FileFacts,
    ) -> Result<Option<Label>, ClientError> {
        match self.trackers.call(&Request::FindFile { group, file: facts.id() }, Need::Session) {
            Ok(Reply::File(entry)) if entry.group == group && entry.facts == *facts => {
                Ok(Some(entry.label))
            }
            Ok(_) => Err(ClientError::ListedOtherwise(facts.name.clone())),
            Err(error) => {
                // The change is acknowledged; the tracker that was asked now may lag behind.
                log::debug!(
                    "{} is shared, but no tracker has answered how it is listed: {error}",
                    facts.name
                );
                Ok(None)
            }
        }
    }

    /// Another file has the name: the error names the members who may replace it.
    pub(crate) fn name_taken(&self, group: &str) -> ClientError {
        match self.group(group) {
            Ok(entry) => ClientError::FileNameTaken { owner: entry.owner },
            Err(_) => Refusal::FileNameTaken.into(),
        }
    }
}
