//! The prompt: line editing, history without passwords, announcements above the line.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, CompletionType, Config, DefaultEditor, Editor};
use zeroize::Zeroizing;

use super::bars::{PromptBars, Ticker};
use super::complete::ShellHelper;
use super::escape::escape;
use super::history::Keeper;
use super::session::{Ended, Shell};
use super::table::{CommandSpec, split};
use crate::client::api::{ApiError, Command, ErrorCode, Reply};

/// Lines kept.
const HISTORY_LEN: usize = 1000;

type LineEditor = Editor<ShellHelper, FileHistory>;

/// Asks for a password without echo.
///
/// # Errors
/// [`ApiError::interrupted`] if the user gave up, and the terminal's errors.
pub(super) fn ask_password(what: &str) -> Result<Zeroizing<String>, ApiError> {
    rpassword::prompt_password(format!("{what}: ")).map(Zeroizing::new).map_err(|e| {
        match e.kind() {
            std::io::ErrorKind::Interrupted | std::io::ErrorKind::UnexpectedEof => {
                ApiError::interrupted()
            }
            _ => ApiError::system("cannot ask for a password", &e),
        }
    })
}

/// Asks for a word.
///
/// # Errors
/// [`ApiError::interrupted`] if the user gave up, and the terminal's errors.
pub(super) fn ask(what: &str) -> Result<String, ApiError> {
    let asked = DefaultEditor::new().and_then(|mut editor| editor.readline(&format!("{what}: ")));
    match asked {
        Ok(answer) => Ok(answer.trim().to_owned()),
        Err(ReadlineError::Interrupted | ReadlineError::Eof) => Err(ApiError::interrupted()),
        Err(error) => Err(ApiError::bad_argument(format!("cannot read the terminal: {error}"))),
    }
}

/// Asks a question that only `y` or `yes` answers with yes.
///
/// # Errors
/// [`ApiError::interrupted`] if the user gave up, and the terminal's errors.
pub(super) fn confirm(question: &str) -> Result<bool, ApiError> {
    let asked = DefaultEditor::new()
        .and_then(|mut editor| editor.readline(&format!("{} [y/N] ", escape(question))));
    match asked {
        Ok(answer) => Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str())),
        Err(ReadlineError::Interrupted | ReadlineError::Eof) => Err(ApiError::interrupted()),
        Err(error) => Err(ApiError::bad_argument(format!("cannot read the terminal: {error}"))),
    }
}

/// Warns of what is about to be done; Enter goes on.
///
/// # Errors
/// [`ApiError::interrupted`] if the user gave up, and the terminal's errors.
pub(super) fn warn(warning: &str) -> Result<(), ApiError> {
    let prompt = format!("{}; Enter goes on, Ctrl-C does not: ", escape(warning));
    match DefaultEditor::new().and_then(|mut editor| editor.readline(&prompt)) {
        // Somebody who types the password here means another.
        Ok(answer) if answer.trim().is_empty() => Ok(()),
        Ok(_) | Err(ReadlineError::Interrupted | ReadlineError::Eof) => {
            Err(ApiError::interrupted())
        }
        Err(error) => Err(ApiError::bad_argument(format!("cannot read the terminal: {error}"))),
    }
}

/// Serves the prompt until the user ends it; returns the exit status.
pub(super) fn run(mut shell: Shell, history: &Path) -> u8 {
    let bars = Arc::new(PromptBars::new(shell.api.clone()));
    match open(&shell, history, &bars) {
        Ok(mut editor) => {
            watch_for_end(&shell);
            let ticker = Ticker::start(bars.clone(), shell.output.clone());
            serve(&mut shell, &mut editor, history, &bars);
            // A history that cannot be written is none.
            let _ = editor.save_history(history);
            // With the editor ends whatever waited for it to print.
            drop(editor);
            ticker.stop();
        }
        Err(error) => {
            shell.fail(None, &ApiError::bad_argument(format!("cannot use this terminal: {error}")))
        }
    }
    shell.output.set_printer(None);
    let _ = shell.end();
    // Whoever types sees each failure; the status tells of none.
    0
}

fn open(shell: &Shell, history: &Path, bars: &Arc<PromptBars>) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .max_history_size(HISTORY_LEN)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .auto_add_history(false)
        // There are no colours; this has the prompt drawn by us.
        .color_mode(ColorMode::Forced)
        .build();
    let mut editor = LineEditor::with_config(config)?;
    editor.set_helper(Some(ShellHelper::new(shell.api.clone(), bars.clone())));
    // The first time there is none.
    let _ = editor.load_history(history);
    if let Ok(printer) = editor.create_external_printer() {
        shell.output.set_printer(Some(Box::new(printer)));
    }
    Ok(editor)
}

fn serve(shell: &mut Shell, editor: &mut LineEditor, history: &Path, bars: &PromptBars) {
    // On these the editor shows a prompt as it was given, once.
    let can_draw = !std::env::var("TERM")
        .is_ok_and(|term| ["dumb", "cons25", "emacs"].contains(&term.as_str()));
    let mut keeper = Keeper::default();
    loop {
        if shell.interrupts.is_ended() || shell.output.is_closed() {
            return;
        }
        let account = shell.call(Command::Whoami).and_then(Reply::account);
        let user = account.map_or_else(|_| "posse".into(), |user| escape(user.user.as_str()));
        let prompt = format!("{user}> ");
        let prompt = if can_draw { bars.raise(&prompt) } else { prompt };
        // Behind a list of candidates the editor clears as many lines as the prompt has above the
        // last: it would clear the list's.
        let has_bars = prompt.contains('\n');
        editor.set_completion_type(if has_bars {
            CompletionType::Circular
        } else {
            CompletionType::List
        });
        // What is typed may hold a password.
        let line = editor.readline(&prompt).map(Zeroizing::new);
        bars.lower();
        match line {
            Ok(line) => {
                if run_lines(shell, editor, &mut keeper, &line) == Ended::Exit {
                    return;
                }
                let _ = editor.append_history(history);
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return,
            Err(ReadlineError::Signal(_)) => {}
            Err(error) => {
                return shell.fail(
                    None,
                    &ApiError::bad_argument(format!("cannot read the terminal: {error}")),
                );
            }
        }
    }
}

/// Carries out what was typed: one command a line, where several were pasted. What a line asks for
/// is typed, not taken from the next one.
fn run_lines(shell: &mut Shell, editor: &mut LineEditor, keeper: &mut Keeper, text: &str) -> Ended {
    let mut ended = Ended::Well;
    for (i, line) in text.lines().enumerate() {
        // Each line is kept before it runs: it may take long, or end the program.
        if let Some(entry) = keeper.entry(line, i > 0) {
            let _ = editor.add_history_entry(entry);
        }
        ended = run_line(shell, line);
        if matches!(ended, Ended::Exit | Ended::Interrupted) || shell.interrupts.is_ended() {
            break;
        }
    }
    ended
}

/// Carries out one line, and asks for the passwords that it leaves out.
fn run_line(shell: &mut Shell, line: &str) -> Ended {
    let Ok(mut words) = split(line) else { return shell.run_line(line) };
    let Some(spec) = words.first().and_then(|name| CommandSpec::find(name)) else {
        return shell.run_line(line);
    };
    match shell.ask_passwords(&mut words) {
        Ok(()) => shell.run_words(&words),
        Err(error) => {
            shell.fail(Some(spec.name), &error);
            if error.code == ErrorCode::Interrupted { Ended::Interrupted } else { Ended::Failed }
        }
    }
}

/// A request to end reaches a prompt that waits for keys: the session is ended in order, and the
/// terminal left as it was.
fn watch_for_end(shell: &Shell) {
    let saved = rustix::termios::tcgetattr(std::io::stdin()).ok();
    let (end_client, lost) = (shell.end_client.clone(), shell.announcer.loss());
    shell.interrupts.on_end(move || {
        end_client();
        if let Some(saved) = &saved {
            // The process ends; a terminal that has gone needs nothing.
            let _ = rustix::termios::tcsetattr(
                std::io::stdin(),
                rustix::termios::OptionalActions::Now,
                saved,
            );
        }
        std::process::exit(i32::from(lost.load(Ordering::Acquire)));
    });
}
