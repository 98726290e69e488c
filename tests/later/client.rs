//! The client program of an invented later version.

use std::process::ExitCode;

fn main() -> ExitCode {
    posse::client::main(std::env::args_os())
}
