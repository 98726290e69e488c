//! A real client process with commands typed into its stdin, one at a time.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use posse::trust::KeyPair;
use posse::types::DeviceId;
use serde_json::Value;

use super::process::{Said, set_home};
use super::{Finished, PATIENCE, Process};

/// A client; it ends with this value.
#[derive(Debug)]
pub(crate) struct ClientProcess {
    process: Process,
    json: bool,
    pub(crate) address: SocketAddr,
    /// Its working directory: where downloads go when nothing else is said.
    pub(crate) home: PathBuf,
    out_at: usize,
    err_at: usize,
}

/// The command line of a client; `home` is its working directory and holds its data directory.
pub(crate) fn command(home: &Path, address: SocketAddr, info: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.current_dir(home).arg(address.to_string()).arg(info);
    command.arg("--data-dir").arg(home.join(".posse")).arg("--allow-short-passwords");
    // A test of routers takes it back; the others are not to ask that of this machine.
    command.arg("--no-port-mapping");
    set_home(&mut command, home);
    command
}

/// What came of one command.
enum Answer {
    Out(Vec<String>),
    Err(String),
    Object(Value),
}

impl ClientProcess {
    /// Starts a client that answers plainly or in JSON, and waits until it takes links.
    pub(crate) fn start(home: &Path, address: SocketAddr, info: &Path, json: bool) -> Self {
        Self::start_with(home, address, info, json, &[])
    }

    /// The same with another build of the program, answering in JSON.
    pub(crate) fn start_program(program: &Path, home: &Path, info: &Path) -> Self {
        let mut command = command(home, super::world::any_port(), info);
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut other = Command::new(program);
        other.args(arguments).current_dir(home);
        set_home(&mut other, home);
        command = other;
        command.args(["--on-error", "continue", "--log", "info", "--json"]);
        Self::spawn(command, home, true)
    }

    /// The same with further options.
    pub(crate) fn start_with(
        home: &Path,
        address: SocketAddr,
        info: &Path,
        json: bool,
        options: &[&str],
    ) -> Self {
        let mut command = command(home, address, info);
        command.args(["--on-error", "continue", "--log", "info"]).args(options);
        if json {
            command.arg("--json");
        }
        Self::spawn(command, home, json)
    }

    /// The same through another program, which carries out the rest of its command line.
    pub(crate) fn start_through(
        wrapper: &[&str],
        home: &Path,
        address: SocketAddr,
        info: &Path,
        options: &[&str],
    ) -> Self {
        let inner = command(home, address, info);
        let mut outer = Command::new(wrapper[0]);
        outer.args(&wrapper[1..]).arg(inner.get_program()).args(inner.get_args());
        outer.current_dir(home).args(["--on-error", "continue", "--log", "info", "--json"]);
        outer.args(options);
        set_home(&mut outer, home);
        Self::spawn(outer, home, true)
    }

    fn spawn(mut command: Command, home: &Path, json: bool) -> Self {
        let name = home.file_name().expect("a home has a name").to_string_lossy();
        let process = Process::spawn(&format!("client {name}"), &mut command);
        let address = process.wait_out("that it listens", listening);
        Self { process, json, address, home: home.to_owned(), out_at: 1, err_at: 0 }
    }

    /// Its process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Which device it is: its data directory holds the key.
    pub(crate) fn device(&self) -> DeviceId {
        KeyPair::load(&self.path(".posse/device.key")).expect("a client has a key").device()
    }

    /// A path in its home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Carries out a command that must succeed; a plain client must print exactly these lines, in
    /// which `*` stands for any text.
    #[track_caller]
    pub(crate) fn ok(&mut self, command: &str, lines: &[&str]) {
        self.process.send(command);
        match self.answer(command, lines.len()) {
            Answer::Out(got) => {
                let fits = got.len() == lines.len()
                    && lines.iter().zip(&got).all(|(pattern, line)| matches(pattern, line));
                assert!(fits, "{command:?} printed\n{got:#?}\nand not\n{lines:#?}");
            }
            Answer::Object(object) => {
                assert_eq!(object["ok"], true, "{command:?} was answered by {object}")
            }
            Answer::Err(line) => panic!("{command:?} failed: {line}"),
        }
    }

    /// Carries out a command that must fail, with words that hold `text`.
    #[track_caller]
    pub(crate) fn refused(&mut self, command: &str, text: &str) {
        self.process.send(command);
        // Usage may take several lines; the words looked for stand in the first.
        let error = match self.answer(command, 1) {
            Answer::Err(line) => line,
            Answer::Object(object) if object["ok"] == false => {
                object["error"].as_str().unwrap_or_default().to_owned()
            }
            Answer::Object(object) => {
                panic!("{command:?} should have failed, and was answered by {object}")
            }
            Answer::Out(lines) => panic!("{command:?} should have failed, and printed {lines:#?}"),
        };
        assert!(
            error.to_lowercase().contains(&text.to_lowercase()),
            "{command:?} failed with {error:?}, without {text:?}"
        );
    }

    /// Carries out a command of a JSON client, and returns its result object, whether or not it
    /// succeeded.
    #[track_caller]
    pub(crate) fn object(&mut self, command: &str) -> Value {
        assert!(self.json, "only a JSON client answers in objects");
        self.process.send(command);
        match self.answer(command, 1) {
            Answer::Object(object) => object,
            Answer::Out(lines) => panic!("{command:?} printed {lines:#?}"),
            Answer::Err(line) => panic!("{command:?} failed: {line}"),
        }
    }

    /// The same; the result must come in that time.
    #[track_caller]
    pub(crate) fn object_within(&mut self, command: &str, limit: Duration) -> Value {
        let begun = Instant::now();
        let result = self.object(command);
        let passed = begun.elapsed();
        println!("{command}: {} ms: {}", passed.as_millis(), result["error"]);
        assert!(passed < limit, "{command} was answered after {passed:?}");
        result
    }

    /// Carries out a command of a plain client that prints one line, and returns it.
    #[track_caller]
    pub(crate) fn line(&mut self, command: &str) -> String {
        self.process.send(command);
        match self.answer(command, 1) {
            Answer::Out(mut lines) => lines.remove(0),
            Answer::Object(object) => panic!("a plain client answered {object}"),
            Answer::Err(line) => panic!("{command:?} failed: {line}"),
        }
    }

    /// Bytes of a download that are verified and written.
    #[track_caller]
    pub(crate) fn bytes_done(&mut self, file: &str) -> u64 {
        let download = self.download(file);
        download["bytes_done"].as_u64().unwrap_or_else(|| panic!("no bytes_done in {download}"))
    }

    /// Logs in, which must succeed.
    #[track_caller]
    pub(crate) fn login(&mut self, user: &str) {
        self.ok(&format!("login {user} pw-{user}"), &[&format!("logged in as {user}")]);
    }

    /// Makes an account and logs in.
    #[track_caller]
    pub(crate) fn enter(&mut self, user: &str) {
        self.ok(&format!("create_user {user} pw-{user}"), &[&format!("created user {user}")]);
        self.login(user);
    }

    /// Waits for the result object of a command that was sent before.
    #[track_caller]
    pub(crate) fn object_of(&mut self, command: &str) -> Value {
        match self.answer(command, 1) {
            Answer::Object(object) if object["command"] == command => object,
            _ => panic!("{command:?} was not answered by its object"),
        }
    }

    /// Bytes of files that it has received since the login, those that are not verified too.
    #[track_caller]
    pub(crate) fn bytes_received(&self) -> u64 {
        let mut stream = UnixStream::connect(self.path(".posse/control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = "GET /api/v1/snapshot HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let said: Value = serde_json::from_str(body).unwrap();
        said["traffic"]["bytes_received"].as_u64().unwrap_or_else(|| panic!("{said}"))
    }

    /// The download's line of `show_downloads`, as an object.
    #[track_caller]
    pub(crate) fn download(&mut self, file: &str) -> Value {
        let object = self.object("show_downloads");
        let downloads =
            object["downloads"].as_array().unwrap_or_else(|| panic!("no downloads in {object}"));
        downloads
            .iter()
            .find(|d| d["file"] == file)
            .unwrap_or_else(|| panic!("no {file} in {object}"))
            .clone()
    }

    /// Waits until every download has ended well.
    #[track_caller]
    pub(crate) fn wait_downloads(&mut self) {
        self.process.send("wait 120");
        match self.answer_within("wait", 1, Duration::from_secs(130)) {
            Answer::Object(object) => assert_eq!(object["ok"], true, "a download failed: {object}"),
            Answer::Out(lines) => {
                assert!(lines[0].starts_with("[C] "), "a download failed: {lines:?}")
            }
            Answer::Err(line) => panic!("a download failed: {line}"),
        }
    }

    /// Ends its stdin and waits for its end.
    #[track_caller]
    pub(crate) fn finish(self) -> Finished {
        self.process.finish(PATIENCE)
    }

    #[track_caller]
    fn answer(&mut self, command: &str, lines: usize) -> Answer {
        self.answer_within(command, lines, PATIENCE)
    }

    /// Waits for the end of a command: its object, its lines, or an error.
    #[track_caller]
    fn answer_within(&mut self, command: &str, lines: usize, limit: Duration) -> Answer {
        let (json, out_at, err_at) = (self.json, self.out_at, self.err_at);
        let found = self.process.wait_said(limit, |said| match json {
            true => find_object(said, out_at),
            false => find_plain(said, out_at, err_at, lines),
        });
        let (answer, out_at, err_at) =
            found.unwrap_or_else(|| panic!("{command:?} was never answered"));
        (self.out_at, self.err_at) = (out_at, err_at);
        answer
    }
}

/// The next object that answers a command; events between are passed over.
fn find_object(said: &Said, from: usize) -> Option<(Answer, usize, usize)> {
    said.out.iter().enumerate().skip(from).find_map(|(at, line)| {
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON, {e}: {line:?}"));
        object.get("command").is_some().then(|| (Answer::Object(object.clone()), at + 1, 0))
    })
}

/// The next `count` lines on stdout, or the next error.
fn find_plain(
    said: &Said,
    out_at: usize,
    err_at: usize,
    count: usize,
) -> Option<(Answer, usize, usize)> {
    let error =
        said.err.iter().enumerate().skip(err_at).find(|(_, line)| line.starts_with("error: "));
    if let Some((at, line)) = error {
        return Some((Answer::Err(line.clone()), out_at, at + 1));
    }
    let lines = said.out.get(out_at..out_at + count)?;
    Some((Answer::Out(lines.to_vec()), out_at + count, err_at))
}

/// Reads the address off a client's first line.
fn listening(line: &str) -> Option<SocketAddr> {
    match serde_json::from_str::<Value>(line) {
        Ok(object) if object["event"] == "listening" => object["address"].as_str()?.parse().ok(),
        _ => line.strip_prefix("listening on ")?.parse().ok(),
    }
}

/// Tells whether a line fits a pattern in which `*` stands for any text.
pub(crate) fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
