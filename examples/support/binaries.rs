//! Where the programs are: built anew through Cargo where Cargo is at hand, else beside this
//! executable.
//!
//! `cargo run --example` builds the library and the example, not the programs; running last week's
//! tracker against today's client would prove nothing, so Cargo is always asked. It answers in a
//! moment if nothing has changed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Result;

/// The two programs.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    /// The tracker.
    pub(crate) tracker: PathBuf,
    /// The client.
    pub(crate) client: PathBuf,
}

impl Binaries {
    /// Takes the programs that Cargo built together with a benchmark.
    pub(crate) fn given(tracker: &str, client: &str) -> Self {
        Self { tracker: tracker.into(), client: client.into() }
    }

    /// Builds the programs with the profile and into the target directory that this executable came
    /// from.
    pub(crate) fn build() -> Result<Self> {
        let exe = env::current_exe()?;
        // <target directory>[/<target triple>]/<profile>/examples/<this executable>
        let profile_dir = exe
            .ancestors()
            .nth(2)
            .ok_or("this executable is not in a directory that Cargo made")?;
        let example = exe
            .file_stem()
            .and_then(|stem| stem.to_str())
            .ok_or("this executable's name is not UTF-8")?;
        match env::var_os("CARGO") {
            Some(cargo) => build(Command::new(cargo), example, profile_dir),
            None => beside(profile_dir),
        }
    }
}

/// The example is named as well, for its needs decide about the features of shared dependencies:
/// without it Cargo would compile the library a second time.
fn build(mut cargo: Command, example: &str, profile_dir: &Path) -> Result<Binaries> {
    cargo.args([
        "build",
        "--bins",
        "--example",
        example,
        "--message-format",
        "json-render-diagnostics",
        "--manifest-path",
    ]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    cargo.args(location(profile_dir)?);
    println!("building the programs: cargo build --bins, {}", profile_dir.display());
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("cargo build --bins: {}", output.status).into());
    }
    let find = |name: &str| {
        executable(&output.stdout, name)
            .ok_or_else(|| format!("cargo built no program called {name}"))
    };
    Ok(Binaries { tracker: find("tracker")?, client: find("client")? })
}

/// Returns the options that make Cargo build into `profile_dir`.
fn location(profile_dir: &Path) -> Result<Vec<String>> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let profile = name(profile_dir).ok_or("the profile's directory has no name")?;
    let mut args = match profile.as_str() {
        "debug" => vec![],
        "release" => vec!["--release".to_owned()],
        _ => vec!["--profile".to_owned(), profile],
    };
    let parent = profile_dir.parent().ok_or("the profile's directory has no parent")?;
    let target_dir = if parent.join("CACHEDIR.TAG").exists() {
        parent
    } else {
        args.extend([
            "--target".to_owned(),
            name(parent).ok_or("the target's directory has no name")?,
        ]);
        parent.parent().ok_or("the target's directory has no parent")?
    };
    args.extend([
        "--target-dir".to_owned(),
        target_dir.to_str().ok_or("the target directory's path is not UTF-8")?.to_owned(),
    ]);
    Ok(args)
}

/// Finds the path of the program called `name` in Cargo's messages.
fn executable(messages: &[u8], name: &str) -> Option<PathBuf> {
    let objects =
        serde_json::Deserializer::from_slice(messages).into_iter::<serde_json::Value>().flatten();
    let mut programs = objects.filter(|message| {
        message["target"]["name"] == name && message["target"]["kind"][0] == "bin"
    });
    programs.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

fn beside(profile_dir: &Path) -> Result<Binaries> {
    let find = |name: &str| {
        let path = profile_dir.join(format!("{name}{}", env::consts::EXE_SUFFIX));
        if path.exists() {
            Ok(path)
        } else {
            Err(format!("{} is missing; build it with: cargo build --bins", path.display()))
        }
    };
    Ok(Binaries { tracker: find("tracker")?, client: find("client")? })
}
