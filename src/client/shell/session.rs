//! One run of the program: carries out lines, remembers whether any failed, and ends in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use crossbeam_channel::select;
use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};

use super::EXIT_FAILED;
use super::announce::Announcer;
use super::answer::Answer;
use super::held::{DOWNLOAD, Held};
use super::input::{Line, Lines};
use super::interrupt::{Calls, Interrupts};
use super::output::{Format, Output};
use super::paging;
use super::table::{Argument, ArgumentKind, CommandSpec, split};
use crate::client::api::{Api, ApiError, Command, ErrorCode, Listing, Page, Reply};
use crate::types::invitation_link::is_link;

/// How long the end of the input is waited for when nothing can be written any more.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Window in which a failing command and the announcer may report the same loss.
const LOSS_TOLD: Duration = Duration::from_secs(5);

/// How often a wait for the first tracker looks for signals.
const SIGNAL_INTERVAL: Duration = Duration::from_secs(5);

/// What happens when a command of a script fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// The next command is carried out.
    Continue,
    /// The program ends.
    Stop,
}

/// Stops the program's own client; does nothing when attached.
pub(crate) type EndClient = Arc<dyn Fn() + Send + Sync>;

/// Remembers how the program was started.
pub(crate) type KeepSetup = Box<dyn FnOnce()>;

/// The settings of a shell.
pub(crate) struct Settings {
    /// What happens when a command fails, unless commands are typed.
    pub(crate) on_error: OnError,
    /// Short passwords need no confirmation.
    pub(crate) allows_short_passwords: bool,
    /// The client belongs to another process and goes on when this one ends.
    pub(crate) is_attached: bool,
    /// Called at the end.
    pub(crate) end_client: EndClient,
    /// Remembers how the program was started, if that waits until its network has proven itself.
    pub(crate) keep_setup: Option<KeepSetup>,
}

/// The program's state.
pub(super) struct Shell {
    pub(super) api: Arc<dyn Api>,
    /// Interrupts the calls of the main thread.
    pub(super) calls: Calls,
    pub(super) output: Output,
    pub(super) interrupts: Interrupts,
    on_error: OnError,
    /// A command or a download failed.
    failed: bool,
    pub(super) announcer: Announcer,
    /// Whether the loss of the client has been reported.
    loss: Arc<Loss>,
    /// More lines are likely to be there already.
    pub(super) is_script: bool,
    /// Passwords that a script leaves out are asked for.
    pub(super) asks_passwords: bool,
    /// Passwords of few characters are taken without a word.
    pub(super) allows_short_passwords: bool,
    /// Answers to downloads that were begun and are not durable yet.
    pub(super) held: Held,
    /// How long the last `wait` was to last, if it was bounded: the end of a script waits no longer.
    pub(super) wait_limit: Option<Duration>,
    /// Sequence number of the last end that `wait` has reported or skips.
    pub(super) last_end: u64,
    /// The client belongs to another process and goes on when this one ends.
    pub(super) is_attached: bool,
    pub(super) end_client: EndClient,
    keep_setup: Option<KeepSetup>,
}

/// Whether the loss of the client has been reported, by the announcer or as the error of a command.
#[derive(Default)]
struct Loss(Mutex<Option<Instant>>);

impl Loss {
    /// Notes that it is said; false if it was said just now.
    fn is_news(&self) -> bool {
        let said = self.0.lock().replace(Instant::now());
        said.is_none_or(|at| at.elapsed() > LOSS_TOLD)
    }
}

/// How a line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing was wrong.
    Well,
    /// It failed, and has said so.
    Failed,
    /// A signal ended it, and it has said so.
    Interrupted,
    /// It asks the program to end; a script's downloads are finished first.
    Exit,
    /// It asks the program to end, and has said which downloads are unfinished.
    Abandoned,
}

impl Shell {
    /// Makes a shell and starts its announcer. `wait` skips ends up to number `last_end`.
    ///
    /// # Errors
    /// Those of [`Api::subscribe`].
    pub(super) fn new(
        api: Arc<dyn Api>,
        output: Output,
        interrupts: Interrupts,
        settings: Settings,
        last_end: u64,
    ) -> Result<Self, ApiError> {
        let (updates, of_loss) = (api.subscribe(false)?, output.clone());
        let loss = Arc::new(Loss::default());
        let telling = loss.clone();
        let announcer = Announcer::start(updates, output.clone(), move || {
            if telling.is_news() {
                of_loss.error_line(
                    "error: the client that this program was attached to has ended; start it again",
                );
            }
            // The usual way out, which restores the terminal.
            let _ = kill_process(getpid(), Signal::TERM);
        });
        Ok(Self {
            api,
            calls: interrupts.calls().clone(),
            output,
            interrupts,
            on_error: settings.on_error,
            failed: false,
            announcer,
            loss,
            is_script: false,
            asks_passwords: false,
            allows_short_passwords: settings.allows_short_passwords,
            held: Held::default(),
            wait_limit: None,
            last_end,
            is_attached: settings.is_attached,
            end_client: settings.end_client,
            keep_setup: settings.keep_setup,
        })
    }

    /// Remembers how the program was started, if that has waited so far.
    pub(super) fn keep_setup(&mut self) {
        if let Some(keep) = self.keep_setup.take() {
            keep();
        }
    }

    /// Calls the client. A signal interrupts the call.
    pub(super) fn call(&self, command: Command) -> Result<Reply, ApiError> {
        self.api.call(command, &self.calls.stop(), &mut |_| true)
    }

    /// All entries of a listing.
    pub(super) fn all<T>(
        &self,
        ask: impl Fn(Listing) -> Command,
        take: fn(Reply) -> Result<Page<T>, ApiError>,
    ) -> Result<Vec<T>, ApiError> {
        paging::all(&*self.api, &self.calls.stop(), ask, take)
    }

    /// Waits for the first tracker.
    ///
    /// # Errors
    /// Why there is none in that time; or a signal came.
    pub(super) fn wait_for_tracker(&mut self, patience: Duration) -> Result<(), ApiError> {
        let deadline = Instant::now() + patience;
        loop {
            // Again and again: a signal just before the client waits would be missed.
            let is_interrupted = self.interrupts.is_interrupted();
            let left = deadline.saturating_duration_since(Instant::now());
            let step = if is_interrupted { Duration::ZERO } else { left.min(SIGNAL_INTERVAL) };
            match self.call(Command::WaitTrackers { timeout_ms: step.as_millis() as u64 }) {
                Ok(_) if !is_interrupted => return Ok(()),
                Err(error) if left.is_zero() || is_interrupted => return Err(error),
                Err(error) if error.code == ErrorCode::ClientGone => return Err(error),
                Ok(_) => return Err(ApiError::interrupted()),
                Err(_) => {}
            }
        }
    }

    /// Carries out lines until they end, `exit`, a signal, or a failure that is to stop them;
    /// finishes downloads after the first two; returns the exit status. Passwords that are left out
    /// are asked for if it `can_ask`.
    pub(super) fn run_lines(mut self, mut lines: Lines, can_ask: bool) -> u8 {
        let mut finish = true;
        (self.is_script, self.asks_passwords) = (true, can_ask);
        self.interrupts.keep_all();
        loop {
            if lines.are_waited_for() {
                self.release();
            }
            if self.must_stop() {
                finish = false;
                break;
            }
            if self.output.is_closed() {
                if !lines.are_over(END_TIMEOUT) {
                    self.fail(None, &output_lost());
                    finish = false;
                }
                break;
            }
            let Some(line) = self.next_line(&mut lines) else { break };
            let ended = match line {
                Ok(line) => self.run_line(&line),
                Err(text) => {
                    self.fail(None, &ApiError::bad_argument(text));
                    Ended::Failed
                }
            };
            // A command that was interrupted ends the script: the user, or the system, wants an
            // end.
            let interrupted = ended == Ended::Interrupted || self.interrupts.is_interrupted();
            let stops = ended == Ended::Failed && self.on_error == OnError::Stop;
            if stops || interrupted || ended == Ended::Abandoned {
                finish = false;
                break;
            }
            if ended == Ended::Exit {
                break;
            }
        }
        self.release();
        if finish && !self.must_stop() && !self.interrupts.is_interrupted() {
            self.finish_downloads();
        }
        self.end()
    }

    /// The next line, or the end: of the input, or by a signal.
    fn next_line(&mut self, lines: &mut Lines) -> Option<Line> {
        match lines {
            Lines::Ready(lines) => lines.next().map(Ok),
            Lines::Coming(lines) => select! {
                recv(lines) -> line => line.ok(),
                recv(self.interrupts.channel()) -> _ => {
                    // At a script, SIGINT asks for the same as SIGTERM.
                    self.interrupts.note(super::interrupt::Interrupt::End);
                    None
                }
            },
        }
    }

    /// Carries out one line.
    pub(super) fn run_line(&mut self, line: &str) -> Ended {
        match split(line) {
            Ok(words) if words.is_empty() => Ended::Well,
            Ok(mut words) => match self.add_passwords(&mut words) {
                Ok(()) => self.run_words(&words),
                Err(error) => {
                    self.fail(Some(&words[0]), &error);
                    how(&error)
                }
            },
            Err(text) => {
                self.fail(None, &ApiError::bad_argument(text));
                Ended::Failed
            }
        }
    }

    /// In a script that somebody started at a terminal, passwords may be left out as at the prompt.
    fn add_passwords(&mut self, words: &mut Vec<String>) -> Result<(), ApiError> {
        if !self.asks_passwords {
            return Ok(());
        }
        self.release();
        self.ask_passwords(words)
    }

    /// Carries out one command.
    pub(super) fn run_words(&mut self, words: &[String]) -> Ended {
        let name = words[0].as_str();
        if name != DOWNLOAD || self.held.is_due() {
            self.release();
            if self.must_stop() {
                return Ended::Failed;
            }
        }
        if name == DOWNLOAD {
            self.output.hold_downloads();
        }
        let result = match CommandSpec::find(name) {
            None => Err(unknown(name)),
            Some(spec) => self.execute_checked(spec, &words[1..]),
        };
        match result {
            Ok(mut answer) => {
                let (end, failed) = (answer.end, answer.failed.take());
                if name == DOWNLOAD {
                    if !self.is_script || self.held.is_due() {
                        self.release();
                    }
                } else if !answer.is_written {
                    match &failed {
                        Some(error) => self.output.failed_answer(name, answer, error),
                        None => self.show(name, answer),
                    }
                }
                self.failed |= failed.is_some();
                // At the prompt behind a joining that failed.
                if failed.is_none() && ["login", "join"].contains(&name) {
                    self.keep_setup();
                }
                match failed {
                    Some(error) => how(&error),
                    None if end => Ended::Exit,
                    None => Ended::Well,
                }
            }
            Err(error) => {
                self.release();
                self.fail(Some(name), &error);
                how(&error)
            }
        }
    }

    fn execute_checked(
        &mut self,
        spec: &CommandSpec,
        words: &[String],
    ) -> Result<Answer, ApiError> {
        let (words, flags) = spec.take_flags(words).map_err(ApiError::bad_argument)?;
        check_count(spec, words.len())?;
        check_link(spec, &words)?;
        self.execute(spec.name, &words, &flags)
    }

    /// Tells whether there is a person to ask.
    pub(super) fn is_at_prompt(&self) -> bool {
        !self.is_script
    }

    /// Makes durable what was begun, and says so.
    fn release(&mut self) {
        self.held.release(&*self.api, &self.output);
    }

    /// Something that was to be durable was not, and failures stop a script.
    fn must_stop(&self) -> bool {
        self.is_script && self.held.has_failed() && self.on_error == OnError::Stop
    }

    /// Shows an error and remembers it for the exit status.
    pub(super) fn fail(&mut self, command: Option<&str>, error: &ApiError) {
        self.failed = true;
        // A command that ends because the client is gone has nothing to add for people.
        let is_of_loss = match error.code {
            ErrorCode::ClientGone => !self.loss.is_news() && self.announcer.is_lost(),
            ErrorCode::Interrupted => self.announcer.is_lost(),
            _ => false,
        };
        if !is_of_loss || self.output.format() == Format::Json {
            self.output.failure(command, error);
        }
    }

    /// Ends the session and everything else in order; returns the exit status.
    pub(super) fn end(self) -> u8 {
        let has_failed = self.failed || self.held.has_failed() || self.announcer.is_lost();
        self.announcer.expect_end();
        (self.end_client)();
        self.announcer.stop();
        if has_failed || self.output.has_failed() { EXIT_FAILED } else { 0 }
    }
}

/// The error of a script that cannot tell its results any more.
fn output_lost() -> ApiError {
    ApiError::bad_argument(
        "standard output is closed; the commands that are left were not carried out",
    )
}

/// How a line ended that failed so.
fn how(error: &ApiError) -> Ended {
    match error.code {
        ErrorCode::Interrupted => Ended::Interrupted,
        ErrorCode::Abandoned => Ended::Abandoned,
        _ => Ended::Failed,
    }
}

/// The error for a word that is no command.
pub(super) fn unknown(name: &str) -> ApiError {
    let hint = CommandSpec::nearest(name)
        .map(|command| format!("did you mean {}? ", command.name))
        .unwrap_or_default();
    ApiError::bad_argument(format!("unknown command {name:?}; {hint}help lists all"))
}

fn check_count(spec: &CommandSpec, count: usize) -> Result<(), ApiError> {
    if (spec.needed()..=spec.arguments.len()).contains(&count) {
        return Ok(());
    }
    let what = if count < spec.needed() { "words are missing" } else { "there are too many words" };
    Err(ApiError::bad_argument(format!("{what}; usage: {}", spec.usage())))
}

/// Refuses a password that was typed without quotes: what follows it is no link.
fn check_link(spec: &CommandSpec, words: &[String]) -> Result<(), ApiError> {
    let places = spec.arguments.iter().zip(words);
    let is_odd = |(argument, word): (&Argument, &String)| {
        argument.optional && argument.kind == ArgumentKind::Link && !is_link(word)
    };
    match places.into_iter().any(is_odd) {
        true => check_count(spec, usize::MAX),
        false => Ok(()),
    }
}
