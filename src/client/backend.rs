//! Implements the interface of [`api`] for a client of this process.
//!
//! **Invariant:** this module decides nothing. Each command calls one method of [`Client`], and the
//! result is converted to the types of [`api`].
//!
//! Commands run on the caller's thread. The thread "updates" numbers the events and sends them to
//! the subscribers.

mod convert;
mod listings;
mod updates;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use self::updates::Updates;
use super::api::{
    self, Account, Api, ApiError, Command, Ends, Event, OnProgress, Progress, Reply, SessionEnded,
    Snapshot, Update, Work,
};
use super::trackers::with_caller;
use super::{Client, ClientError};
use crate::net::Stop;

/// Maximum number of ends in one reply; a caller that missed more asks again.
const ENDS_MAX: usize = 10_000;

/// Ends the program that runs the client.
type OnShutdown = Box<dyn Fn() + Send + Sync>;

/// A client of this process, with the interface of front ends.
pub struct Backend {
    client: Arc<Client>,
    updates: Updates,
    on_shutdown: OnShutdown,
}

impl Backend {
    /// Wraps a client. [`Command::Shutdown`] calls `on_shutdown`, which must not block and makes the
    /// program end.
    ///
    /// # Errors
    /// The system's, if it has no room for a thread.
    pub fn new(
        client: Arc<Client>,
        on_shutdown: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let updates = Updates::start(client.clone())
            .map_err(|error| ClientError::system("cannot start a thread", error))?;
        Ok(Self { client, updates, on_shutdown: Box::new(on_shutdown) })
    }

    /// Stops the client, sends the remaining events and disconnects the subscribers. Calling it
    /// again does nothing.
    ///
    /// # Blocking
    /// As [`Client::stop`].
    pub fn stop(&self) {
        self.client.stop();
        self.updates.stop();
    }

    fn carry_out(&self, command: Command, progress: OnProgress<'_>) -> Result<Reply, ClientError> {
        let client = &self.client;
        let done = |()| Reply::Done;
        Ok(match command {
            Command::CreateUser { user, password } => {
                client.create_user(&user, password).map(done)?
            }
            Command::Login { user, password } => {
                client.login(&user, password)?;
                let account = self.account()?;
                self.updates.tell(Event::LoggedIn { account: account.clone() });
                Reply::Account(account)
            }
            Command::Logout => {
                client.logout()?;
                self.updates.tell(Event::LoggedOut);
                Reply::Done
            }
            Command::ChangePassword { old, new } => client.change_password(old, new).map(done)?,
            Command::DeleteAccount => {
                let account = self.account()?;
                client.delete_account()?;
                self.updates.tell(Event::LoggedOut);
                Reply::Account(account)
            }
            Command::Whoami => Reply::Account(self.account()?),
            Command::CreateGroup { group } => client.create_group(&group).map(done)?,
            Command::JoinGroup { group } => client.join_group(&group).map(done)?,
            Command::LeaveGroup { group } => client.leave_group(&group).map(done)?,
            Command::AcceptRequest { group, user } => {
                client.accept_request(&group, &user).map(done)?
            }
            Command::RejectRequest { group, user } => {
                client.reject_request(&group, &user).map(done)?
            }
            Command::RemoveMember { group, user } => {
                client.remove_member(&group, &user).map(done)?
            }
            Command::TransferGroup { group, user } => {
                client.transfer_group(&group, &user).map(done)?
            }
            Command::RenameGroup { group, name } => client.rename_group(&group, &name).map(done)?,
            Command::DeleteGroup { group } => client.delete_group(&group).map(done)?,
            Command::IsMember { group } => Reply::Is(client.is_member(&group)?),
            Command::ListGroups { pattern, listing } => {
                Reply::Groups(self.list_groups(pattern, &listing)?)
            }
            Command::ListMyGroups { listing } => Reply::Groups(self.list_my_groups(&listing)?),
            Command::ListMembers { group, listing } => {
                Reply::Members(self.list_members(&group, &listing)?)
            }
            Command::ListRequests { group, listing } => {
                Reply::Requests(self.list_requests(&group, &listing)?)
            }
            Command::ListFiles { group, pattern, order, listing } => {
                Reply::Files(self.list_files(&group, pattern, order, &listing)?)
            }
            Command::Find { pattern, listing } => Reply::Files(self.find(pattern, &listing)?),
            Command::UploadFile { path, group } => {
                let mut progress =
                    |done, size| progress(Progress { work: Work::Hashing, done, size });
                Reply::Shared(convert::shared(client.upload_file(&path, &group, &mut progress)?))
            }
            Command::ShowUploads { listing } => {
                let uploads = client.show_uploads()?.into_iter().map(convert::upload);
                Reply::Uploads(listings::part(uploads.collect(), &listing)?)
            }
            Command::StopShare { group, file } => client.stop_share(&group, &file).map(done)?,
            Command::RemoveFile { group, file } => client.remove_file(&group, &file).map(done)?,
            Command::DownloadFile { group, file, destination, soon } => {
                let mut progress =
                    |done, size| progress(Progress { work: Work::Comparing, done, size });
                let handle =
                    client.download_file_soon(&group, &file, &destination, &mut progress)?;
                if !soon {
                    client.make_durable()?;
                }
                Reply::Download(convert::download(&handle.status()))
            }
            Command::Sync => client.make_durable().map(done)?,
            Command::ShowDownloads { unfinished, listing } => {
                let downloads = match unfinished {
                    true => {
                        client.whoami()?;
                        client.running_downloads()
                    }
                    false => client.show_downloads()?,
                };
                let downloads = downloads.iter().map(convert::download);
                Reply::Downloads(listings::part(downloads.collect(), &listing)?)
            }
            Command::ShowEnds { after } => Reply::Ends(self.ends(after)),
            Command::PauseDownload { group, file } => {
                client.pause_download(&group, &file).map(done)?
            }
            Command::ResumeDownload { group, file } => {
                client.resume_download(&group, &file).map(done)?
            }
            Command::CancelDownload { group, file } => {
                client.cancel_download(&group, &file).map(done)?
            }
            Command::Prioritize { group, file } => client.prioritize(&group, &file).map(done)?,
            Command::LimitDownload { group, file, limit } => {
                client.limit_download(&group, &file, limit).map(done)?
            }
            Command::Why { group, file } => Reply::Lines(client.why(&group, &file)?),
            Command::Limits => self.limits(),
            Command::LimitUploads { limit } => {
                client.limit_upload(limit);
                self.limits()
            }
            Command::LimitDownloads { limit } => {
                client.limit_download_rate(limit);
                self.limits()
            }
            Command::LimitRunning { count } => {
                client.limit_downloads(count);
                self.limits()
            }
            Command::Trackers => Reply::Trackers(convert::trackers(client.trackers()?)),
            Command::WaitTrackers { timeout_ms } => {
                match client.wait_for_tracker(Duration::from_millis(timeout_ms)) {
                    true => Reply::Done,
                    false => return Err(client.why_no_tracker()),
                }
            }
            Command::Shutdown => {
                (self.on_shutdown)();
                Reply::Done
            }
        })
    }

    fn account(&self) -> Result<Account, ClientError> {
        Ok(convert::account(self.client.whoami()?, self.client.must_change_password()))
    }

    fn limits(&self) -> Reply {
        Reply::Limits(convert::limits(self.client.limits()))
    }

    fn ends(&self, after: u64) -> Ends {
        // In this order: a download that ends in between is reported by the next call.
        let mut has_unfinished = self.client.has_unfinished();
        let (ended, mut last) = self.client.ended_after(after);
        let mut downloads: Vec<_> = ended.iter().map(convert::download).collect();
        if downloads.len() > ENDS_MAX {
            downloads.sort_by_key(|download| download.ended);
            downloads.truncate(ENDS_MAX);
            has_unfinished = true;
            last = downloads.last().and_then(|download| download.ended).unwrap_or(last);
        }
        let stuck = self.client.stuck().as_ref().map(convert::download);
        let session_ended = session_ended(&self.client);
        Ends { downloads, last, has_unfinished, stuck, session_ended }
    }
}

/// The end of the last session, if the session ended by itself.
fn session_ended(client: &Client) -> Option<SessionEnded> {
    client.ended().map(|ended| SessionEnded {
        user: None,
        user_id: None,
        reason: ended.reason.to_string(),
        code: convert::end_code(ended.reason).to_owned(),
        unfinished: ended.unfinished,
    })
}

/// The state of a client, including all updates up to `revision`.
fn snapshot(client: &Client, revision: u64) -> Snapshot {
    let account = client.whoami().ok();
    let downloads = client.show_downloads().unwrap_or_default();
    let is_complete =
        |status: &super::DownloadStatus| status.phase == super::DownloadPhase::Complete;
    Snapshot {
        api: api::VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision,
        address: client.address().to_string(),
        device: client.device(),
        data_dir: client.data_dir().to_string_lossy().into_owned(),
        network: client.network(),
        account: account.map(|user| convert::account(user, client.must_change_password())),
        session_ended: session_ended(client),
        downloads: downloads
            .iter()
            .filter(|status| !is_complete(status))
            .map(convert::download)
            .collect(),
        last_end: client.ended_after(u64::MAX).1,
        limits: convert::limits(client.limits()),
        warning: client.inner.config.unreachable(),
    }
}

impl Api for Backend {
    fn call(
        &self,
        command: Command,
        stop: &Stop,
        progress: OnProgress<'_>,
    ) -> Result<Reply, ApiError> {
        let mut goes_on = |at: Progress| progress(at) && !stop.is_set();
        with_caller(stop, || self.carry_out(command, &mut goes_on)).map_err(convert::error)
    }

    fn snapshot(&self) -> Result<Snapshot, ApiError> {
        Ok(snapshot(&self.client, self.updates.revision()))
    }

    fn subscribe(&self, moving: bool) -> Result<Receiver<Update>, ApiError> {
        Ok(self.updates.subscribe(moving))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}
