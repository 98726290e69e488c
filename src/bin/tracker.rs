//! The tracker's program: parse, start, wait, exit code.

use std::process::ExitCode;

use clap::Parser;
use posse::Tracker;
use posse::tracker::console::{AdminOptions, Console, Options, refuse};

fn main() -> ExitCode {
    if let Some(admin) = AdminOptions::from_arguments(std::env::args_os()) {
        return admin.run();
    }
    let options = Options::parse();
    options.start_log();
    let config = match options.config() {
        Ok(config) => config,
        Err(why) => return refuse(why),
    };
    let console = match Console::new() {
        Ok(console) => console,
        Err(why) => return refuse(format_args!("cannot listen for signals: {why}")),
    };
    match Tracker::start(config) {
        Ok(tracker) => console.run(tracker),
        Err(why) => refuse(why),
    }
}
