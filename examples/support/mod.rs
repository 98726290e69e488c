//! Runs the real programs for the demonstration and the measurements: starts trackers and clients
//! as processes, types commands into them, reads their JSON, and ends them whatever happens.
//!
//! **Invariant:** every process started here is gone when its owner is dropped.
//!
//! Shared by `examples/local_swarm.rs` and the programs in `benches/`, each of which uses its part
//! of it.
#![allow(dead_code, unused_imports)]

pub(crate) mod binaries;
pub(crate) mod content;
pub(crate) mod member;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod show;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

pub(crate) use binaries::Binaries;
pub(crate) use member::Member;
pub(crate) use network::Network;
pub(crate) use process::{Process, Usage};

/// What went wrong, in words for whoever ran the program.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;
/// A step's end.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Lines of each process's log that a failure shows.
const LOG_LINES_SHOWN: usize = 15;

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Runs `work` in a fresh directory within `parent`, or within the system's temporary one; on
/// failure says why, with the end of every process's log.
pub(crate) fn run(
    name: &str,
    parent: Option<&Path>,
    work: impl FnOnce(&Path) -> Result<()>,
) -> ExitCode {
    let result = watch_signals().and_then(|()| {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf).canonicalize()?;
        let dir = tempfile::Builder::new().prefix("posse-").tempdir_in(parent)?;
        let result = work(dir.path());
        if result.is_err() && !INTERRUPTED.load(Ordering::Relaxed) {
            show_logs(dir.path());
        }
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Makes Ctrl-C and SIGTERM end the next wait, so that everything is cleaned up on the way out.
fn watch_signals() -> Result<()> {
    for signal in
        [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
    {
        signal_hook::flag::register(signal, INTERRUPTED.clone())?;
    }
    Ok(())
}

/// Fails once the user has interrupted the program; called in every loop that waits.
pub(crate) fn check_interrupt() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

pub(crate) fn show_logs(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut logs: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    for log in logs {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        if !lines.is_empty() {
            eprintln!("--- the end of {}", log.file_name().unwrap_or_default().display());
            lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..]
                .iter()
                .for_each(|line| eprintln!("{line}"));
        }
    }
}
