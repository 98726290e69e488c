//! Joining by an invitation: for a user who is logged in, or through a new account or a login.
//!
//! **Invariant:** a link is never printed.
//!
//! Blocks on the terminal or the input, and on the client.

use std::io::BufRead as _;

use zeroize::Zeroizing;

use super::answer::Answer;
use super::input::Lines;
use super::session::Shell;
use super::terminal;
use crate::client::api::{ApiError, Command, Joined, LinkText, Reply};
use crate::types::invitation_link::InvitationLink;
use crate::types::{Password, Refusal};

type Result<T> = std::result::Result<T, ApiError>;

/// The command that joins by an invitation.
const JOIN: &str = "join";

/// An invitation with which the program was started.
pub(crate) struct Invitation {
    /// The link.
    pub(crate) link: Zeroizing<String>,
    /// Where the user's name and password come from.
    pub(crate) answers: Answers,
    /// The device has met no network so far: it will trust the one that the link names.
    pub(crate) is_first_contact: bool,
}

/// Where the answers to questions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// A person at the terminal.
    Terminal,
    /// The next lines of the script.
    Script,
    /// Standard input, which the script does not use.
    Stdin,
}

/// Who is to join.
enum Newcomer {
    /// A new account.
    New(String, Password),
    /// An account that is there.
    Known(String, Password),
    /// The one or the other.
    Any(String, Password),
}

impl Shell {
    /// Carries out `join`.
    pub(super) fn join(&mut self, link: &str) -> Result<Answer> {
        let parsed = parse(link)?;
        if self.is_logged_in() || !self.is_at_prompt() {
            return self.use_link(link).map(|joined| joined_answer(Vec::new(), joined));
        }
        let newcomer = self.ask(&parsed, "")?;
        self.enter(link, newcomer, "")
    }

    /// Joins by the invitation with which the program was started; tells whether it has.
    pub(super) fn begin_by_joining(
        &mut self,
        invitation: &Invitation,
        lines: Option<&mut Lines>,
    ) -> bool {
        match self.join_at_start(invitation, lines) {
            Ok(answer) => {
                self.show(JOIN, answer);
                true
            }
            Err(error) => {
                self.fail(Some(JOIN), &error);
                false
            }
        }
    }

    fn join_at_start(
        &mut self,
        invitation: &Invitation,
        lines: Option<&mut Lines>,
    ) -> Result<Answer> {
        let link = &invitation.link;
        let parsed = parse(link)?;
        if self.is_logged_in() {
            return match self.use_link(link) {
                Ok(joined) => Ok(joined_answer(Vec::new(), joined)),
                Err(error) => Err(error),
            };
        }
        let place = if invitation.is_first_contact { new_network(&parsed) } else { String::new() };
        let newcomer = match (invitation.answers, lines) {
            (Answers::Terminal, _) => self.ask(&parsed, &place)?,
            (Answers::Script, Some(lines)) => read(|| lines.next_line())?,
            (Answers::Script | Answers::Stdin, _) => read(read_stdin)?,
        };
        // A tracker has proven itself, and the user goes on.
        self.keep_setup();
        let mut answer = self.enter(link, newcomer, &place)?;
        // Who has joined has joined, whether or not the page can be opened.
        if invitation.answers == Answers::Terminal
            && self.api.snapshot().is_ok_and(|snapshot| snapshot.page.is_some())
            && let Ok(page) = self.page_at(&format!("&to=/group/{}", parsed.group))
        {
            answer.rows.push(vec!["to go on in a browser:".into()]);
            answer.rows.extend(page.rows);
        }
        Ok(answer)
    }

    /// Asks a person at the terminal who is to join. `place` is said of a network that is new here.
    fn ask(&self, link: &InvitationLink, place: &str) -> Result<Newcomer> {
        self.output.announce(&[format!("this invites you to the group {}{place}", link.label)]);
        let user = terminal::ask("user name")?;
        let password = ask_secret("password")?;
        let again =
            terminal::ask_password("password again, or Enter if you have an account there")?;
        match again.as_str() {
            "" => Ok(Newcomer::Known(user, password)),
            again if again == password.expose() => Ok(Newcomer::New(user, password)),
            _ => Err(ApiError::bad_argument(
                "the two passwords differ; nothing was changed, join once more",
            )),
        }
    }

    /// Makes an account or logs in, and joins. `place` is said of a network that is new here.
    fn enter(&mut self, link: &str, newcomer: Newcomer, place: &str) -> Result<Answer> {
        let is_taken = |error: &ApiError| error.message == Refusal::NameTaken.to_string();
        let mut said = Vec::new();
        let (user, password, is_member) = match newcomer {
            Newcomer::Known(user, password) => (user, password, false),
            Newcomer::New(user, password) => match self.make(link, &user, &password) {
                Ok(()) => (user, password, true),
                Err(error) if is_taken(&error) => {
                    let question =
                        format!("the name {user} is taken{place}; log in as {user} instead?");
                    if !terminal::confirm(&question)? {
                        return Err(error);
                    }
                    (user, ask_secret("password")?, false)
                }
                Err(error) => return Err(error),
            },
            Newcomer::Any(user, password) => match self.make(link, &user, &password) {
                Ok(()) => (user, password, true),
                Err(error) if is_taken(&error) => (user, password, false),
                Err(error) => return Err(error),
            },
        };
        if is_member {
            said.push(format!("created user {user}"));
        }
        let login = Command::Login { user: user.clone(), password, stay: false };
        let account = self.call(login)?.account()?;
        said.push(format!("logged in as {}", account.user));
        if account.must_change_password {
            return Err(ApiError::bad_argument(
                "the operator has set this password: choose your own with change_password, then \
                 join once more",
            ));
        }
        let joined = if is_member { joined_by(&parse(link)?) } else { self.use_link(link)? };
        Ok(joined_answer(said, joined).with("user", user))
    }

    fn make(&mut self, link: &str, user: &str, password: &Password) -> Result<()> {
        self.check_new_password(password.expose())?;
        let (user, password) = (user.to_owned(), password.clone());
        let invitation = Some(LinkText::new(link.to_owned()));
        self.call(Command::CreateUser { user, password, invitation }).map(drop)
    }

    fn use_link(&self, link: &str) -> Result<Joined> {
        self.call(Command::Join { link: LinkText::new(link.to_owned()) })?.joined()
    }

    fn is_logged_in(&self) -> bool {
        self.call(Command::Whoami).and_then(Reply::account).is_ok()
    }
}

fn parse(link: &str) -> Result<InvitationLink> {
    InvitationLink::parse(link).map_err(|error| ApiError::bad_argument(error.to_string()))
}

/// The group of a new account, by its name when the link was made.
fn joined_by(link: &InvitationLink) -> Joined {
    Joined { group: link.label.clone(), group_id: link.group }
}

fn joined_answer(mut said: Vec<String>, joined: Joined) -> Answer {
    let group = joined.group.as_str();
    said.push(format!("you are a member of {group}; list_files shows its files"));
    let rows = said.into_iter().map(|line| vec![line]).collect();
    Answer::rows(rows, "").with_all(&joined)
}

/// What tells a person that passwords of other networks do not belong here.
fn new_network(link: &InvitationLink) -> String {
    let tracker = link.trackers.first().map(ToString::to_string).unwrap_or_default();
    let network = link.network;
    format!(" in a network that is new to this device, with tracker {tracker} and key {network}")
}

fn ask_secret(what: &str) -> Result<Password> {
    let mut typed = terminal::ask_password(what)?;
    Ok(Password::new(std::mem::take(&mut *typed))?)
}

/// Reads a name and a password, one a line.
fn read(mut next: impl FnMut() -> Result<Option<Zeroizing<String>>>) -> Result<Newcomer> {
    let missing = || {
        ApiError::bad_argument(
            "behind the link the input has to hold a user name and a password, one a line",
        )
    };
    let user = next()?.ok_or_else(missing)?.trim().to_owned();
    let mut password = next()?.ok_or_else(missing)?;
    Ok(Newcomer::Any(user, Password::new(std::mem::take(&mut *password))?))
}

/// Reads a line of standard input, which nothing else reads.
///
/// # Errors
/// The system's.
pub(crate) fn read_stdin() -> Result<Option<Zeroizing<String>>> {
    let mut line = Zeroizing::new(String::with_capacity(8 << 10));
    let read = std::io::stdin().lock().read_line(&mut line);
    let count = read.map_err(|e| ApiError::system("cannot read the standard input", &e))?;
    let len = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(len);
    Ok((count > 0).then_some(line))
}

/// Asks for a link at the terminal. It is not shown.
///
/// # Errors
/// [`ApiError::interrupted`] if the user gave up, and the terminal's errors.
pub(crate) fn ask_link() -> Result<Zeroizing<String>> {
    terminal::ask_password("invitation link (it is not shown)")
}
