//! Implements the interface of [`api`] for a client of this process.
//!
//! **Invariant:** this module decides nothing. Each command calls one method of [`Client`], and the
//! result is converted to the types of [`api`].
//!
//! Commands run on the caller's thread. The thread "updates" numbers the events and sends them to
//! the subscribers.

mod content;
mod convert;
mod invitations;
mod listings;
mod peers;
mod updates;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use self::updates::Updates;
use super::api::{
    self, Account, Api, ApiError, Begun, Command, Content, Download, Ends, Event, Link, NewToken,
    OnProgress, Progress, Reply, SessionEnded, Snapshot, Update, Work,
};
use super::downloads::Beginning;
use super::shares::Reading;
use super::trackers::with_caller;
use super::{Client, ClientError, DownloadPhase, DownloadStatus};
use crate::http::access::{Access, CODE_LIFETIME};
use crate::net::Stop;
use crate::types::invitation_link::InvitationLink;
use crate::types::{InfoHash, UserEntry};

/// Maximum number of ends in one reply; a caller that missed more asks again.
const ENDS_MAX: usize = 10_000;

/// Maximum number of downloads that wait for [`Command::Sync`].
const BEGUN_MAX: usize = 1000;

/// Ends the program that runs the client.
type OnShutdown = Box<dyn Fn() + Send + Sync>;

/// A client of this process, with the interface of front ends.
pub struct Backend {
    client: Arc<Client>,
    updates: Updates,
    warning: OnceLock<String>,
    on_shutdown: OnShutdown,
    access: Arc<Access>,
    /// Downloads that are being begun, until [`Command::Sync`]; at most [`BEGUN_MAX`].
    begun: Mutex<Vec<(InfoHash, Beginning)>>,
}

impl Backend {
    /// Wraps a client. [`Command::Shutdown`] calls `on_shutdown`, which must not block and makes the
    /// program end.
    ///
    /// # Errors
    /// The system's, if it has no room for a thread, and those of the file of tokens.
    pub fn new(
        client: Arc<Client>,
        on_shutdown: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let updates = Updates::start(client.clone())
            .map_err(|error| ClientError::system("cannot start a thread", error))?;
        let access = Access::open(client.data_dir())?;
        let (begun, access, on_shutdown) =
            (Mutex::default(), Arc::new(access), Box::new(on_shutdown));
        let warning = OnceLock::new();
        Ok(Self { client, updates, warning, on_shutdown, access, begun })
    }

    /// Shows a warning to front ends, beside those of the client.
    pub fn warn(&self, text: String) {
        // The start has one.
        let _ = self.warning.set(text);
    }

    /// The tokens of the HTTP API, and where its page is.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
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
            Command::CreateUser { user, password, invitation: None } => {
                client.create_user(&user, password).map(done)?
            }
            Command::CreateUser { user, password, invitation: Some(link) } => {
                let link = InvitationLink::parse(link.expose())?;
                client.create_invited_user(&user, password, &link).map(done)?
            }
            Command::Login { user, password, stay } => {
                client.login_with(&user, password, stay)?;
                let account = self.account()?;
                let event = Event::LoggedIn { account: account.clone(), by_key: false };
                self.updates.tell(event);
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
            Command::Devices => {
                let devices = client.devices()?;
                Reply::Devices(devices.into_iter().map(convert::user_device).collect())
            }
            Command::ForgetDevice { device } => {
                let device = client.forget_device(&device)?;
                if device.is_this {
                    self.updates.tell(Event::LoggedOut);
                }
                Reply::Devices(vec![convert::user_device(device)])
            }
            Command::Notifications { all } => {
                let shown = client.notifications(all)?;
                Reply::Notifications(shown.into_iter().map(convert::notification).collect())
            }
            Command::CreateGroup { group } => client.create_group(&group).map(done)?,
            Command::JoinGroup { group } => client.join_group(&group).map(done)?,
            Command::Invite { group, uses, days } => {
                Reply::NewInvite(self.invite(&group, uses, days)?)
            }
            Command::Invites { listing } => Reply::Invites(self.invites(&listing)?),
            Command::RevokeInvite { invite } => Reply::Invite(self.revoke_invite(invite.expose())?),
            Command::Join { link } => Reply::Joined(invitations::join(client, link.expose())?),
            Command::GroupSettings { group, members_invite } => {
                let entry = match members_invite {
                    Some(on) => client.let_members_invite(&group, on)?,
                    None => client.group_settings(&group)?,
                };
                Reply::GroupSettings(invitations::group_settings(entry))
            }
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
            Command::UploadFile { path, group, trust_stamp, is_resolved } => {
                let mut progress =
                    |done, size| progress(Progress { work: Work::Hashing, done, size });
                let how = Reading { trusts_stamp: trust_stamp, follows_link: !is_resolved };
                let shared = client.share_file(&path, &group, how, &mut progress)?;
                Reply::Shared(convert::shared(shared))
            }
            Command::ShowUploads { listing } => {
                let uploads = client.show_uploads()?.into_iter().map(convert::upload);
                Reply::Uploads(listings::part(uploads.collect(), &listing)?)
            }
            Command::StopShare { group, file } => client.stop_share(&group, &file).map(done)?,
            Command::RemoveFile { group, file } => client.remove_file(&group, &file).map(done)?,
            Command::DownloadFile { group, file, destination, rename_safe, soon } => {
                let mut progress =
                    |done, size| progress(Progress { work: Work::Comparing, done, size });
                let place = (destination.as_path(), rename_safe);
                let begun = client.begin_download(&group, &file, place, &mut progress)?;
                if soon {
                    Reply::Download(self.keep_begun(begun))
                } else {
                    Reply::Download(convert::download(begun.wait()?.status()))
                }
            }
            Command::Sync { downloads } => {
                Reply::Begun(downloads.into_iter().map(|id| self.wait_begun(id)).collect())
            }
            Command::ShowDownloads { unfinished, listing } => {
                let downloads = match unfinished {
                    true => {
                        client.whoami()?;
                        client.running_downloads()
                    }
                    false => client.show_downloads()?,
                };
                let downloads = downloads.into_iter().map(convert::download);
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
            Command::ShowPeers { group, file } => {
                let (facts, links) = client.peers(&group, &file)?;
                Reply::Peers(peers::peers(&facts, links))
            }
            Command::ShowPieces { group, file } => {
                let (facts, map) = client.pieces(&group, &file)?;
                Reply::Pieces(peers::pieces(&facts, &map))
            }
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
            Command::Addresses => Reply::Addresses(convert::addresses(client.addresses())),
            Command::Trackers => Reply::Trackers(convert::trackers(client.trackers()?)),
            Command::WaitTrackers { timeout_ms } => {
                let deadline = Instant::now() + Duration::from_millis(timeout_ms);
                if !client.wait_for_tracker(deadline.saturating_duration_since(Instant::now())) {
                    return Err(client.why_no_tracker());
                }
                // The first command of a device that stays finds its session.
                if !client.wait_for_staying(deadline.saturating_duration_since(Instant::now())) {
                    return Err(ClientError::NoAnswer);
                }
                Reply::Done
            }
            Command::Page { until_ms } => Reply::Link(self.link_to_page(until_ms)?),
            Command::Tokens => Reply::Tokens(self.access.tokens.list()),
            Command::CreateToken { name, rights, days, until_ms } => {
                let new = self.access.tokens.create(&name, rights, days, until_ms)?;
                Reply::Token(NewToken { token: new.secret, entry: new.entry })
            }
            Command::RevokeToken { token } => {
                self.access.tokens.revoke(&token)?;
                Reply::Done
            }
            Command::Shutdown => {
                (self.on_shutdown)();
                Reply::Done
            }
        })
    }

    fn account(&self) -> Result<Account, ClientError> {
        Ok(account_of(&self.client, self.client.whoami()?))
    }

    fn link_to_page(&self, until_ms: Option<u64>) -> Result<Link, ClientError> {
        let link =
            self.access.link(until_ms).map_err(|e| ClientError::system("cannot make a link", e))?;
        let valid_ms = u64::try_from(CODE_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        link.map(|url| Link { url, valid_ms }).ok_or(ClientError::NoPage)
    }

    fn limits(&self) -> Reply {
        Reply::Limits(convert::limits(self.client.limits()))
    }

    /// Keeps a download that is being begun until [`Command::Sync`].
    fn keep_begun(&self, begun: Beginning) -> Download {
        let status = DownloadStatus::of_row(begun.row());
        let surplus = {
            let mut kept = self.begun.lock();
            kept.push((status.id, begun));
            let surplus = kept.len().saturating_sub(BEGUN_MAX);
            kept.drain(..surplus).collect::<Vec<_>>()
        };
        // Their callers never came back.
        surplus.into_iter().for_each(|(_, begun)| _ = begun.wait());
        convert::download(status)
    }

    fn wait_begun(&self, id: InfoHash) -> Begun {
        let kept = {
            let mut kept = self.begun.lock();
            let at = kept.iter().position(|(of, _)| *of == id);
            at.map(|at| kept.remove(at).1)
        };
        let ended = || ClientError::BadArgument("that download is not being begun".into());
        let begun = kept.ok_or_else(ended).and_then(Beginning::wait);
        match begun {
            Ok(handle) => {
                let download = Some(convert::download(handle.status()));
                Begun { info_hash: id, download, error: None }
            }
            Err(error) => {
                Begun { info_hash: id, download: None, error: Some(convert::error(error)) }
            }
        }
    }

    fn ends(&self, after: u64) -> Ends {
        let noted = self.client.noted_downloads();
        let mut has_unfinished = noted.iter().any(DownloadStatus::is_unfinished);
        let is_stuck = |status: &&DownloadStatus| {
            status.ended.is_some() && matches!(status.phase, DownloadPhase::Paused(Some(_)))
        };
        let stuck = noted.iter().find(is_stuck).cloned().map(convert::download);
        let mut ended: Vec<DownloadStatus> = noted
            .into_iter()
            .filter(|status| status.has_ended() && status.ended > Some(after))
            .collect();
        ended.sort_by_key(|status| status.ended);
        has_unfinished |= ended.len() > ENDS_MAX;
        ended.truncate(ENDS_MAX);
        let last = ended.last().and_then(|status| status.ended).unwrap_or(after);
        // After the look: the end of a session is noted before its downloads go.
        let session_ended = session_ended(&self.client);
        let downloads = ended.into_iter().map(convert::download).collect();
        Ends { downloads, last, has_unfinished, stuck, session_ended }
    }
}

fn account_of(client: &Client, user: UserEntry) -> Account {
    let stays = client.stays_as().as_ref() == Some(&user.label);
    convert::account(user, client.must_change_password(), stays)
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
    let mut last_end = 0;
    let unfinished = |status: DownloadStatus| {
        last_end = last_end.max(status.ended.unwrap_or(0));
        (status.phase != DownloadPhase::Complete).then(|| convert::download(status))
    };
    let downloads = client.session_downloads(unfinished).into_iter().flatten().collect();
    Snapshot {
        api: api::VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision,
        address: client.address().to_string(),
        device: client.device(),
        data_dir: client.data_dir().to_string_lossy().into_owned(),
        network: client.network(),
        account: account.map(|user| account_of(client, user)),
        session_ended: session_ended(client),
        downloads,
        last_end,
        limits: convert::limits(client.limits()),
        traffic: peers::traffic(client.traffic()),
        page: None,
        warning: client.inner.config.unreachable(client.inner.address),
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
        let mut snapshot = snapshot(&self.client, self.updates.revision());
        let warnings = snapshot.warning.take().into_iter().chain(self.warning.get().cloned());
        snapshot.page = self.access.url().map(str::to_owned);
        snapshot.warning = warnings.reduce(|one, other| format!("{one}; {other}"));
        Ok(snapshot)
    }

    fn subscribe(&self, moving: bool) -> Result<Receiver<Update>, ApiError> {
        Ok(self.updates.subscribe(moving))
    }

    fn open(&self, group: &str, file: &str) -> Result<Box<dyn Content>, ApiError> {
        match self.client.open_file(group, file) {
            Ok(open) => Ok(Box::new(open)),
            Err(error) => Err(convert::error(error)),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}
