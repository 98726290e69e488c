//! The client program: parse, start, wait, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    posse::client::main(std::env::args_os())
}
