//! A PostgreSQL of the test's own: a cluster in a temporary directory, at a Unix socket there.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Time for the server to start, and to end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Settings with which the server logs what it is sent.
pub(crate) const LOGGING: [&str; 2] = ["log_statement=all", "log_line_prefix=%a|"];

/// A cluster, which ends with its value.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: TempDir,
    server: Option<Child>,
    settings: Vec<String>,
    /// Where it listens beside its socket, whose name has that port.
    listen: Option<SocketAddr>,
}

/// Where Debian's packages have the server's programs, the latest version first.
fn programs() -> PathBuf {
    if let Some(dir) = std::env::var_os("POSSE_POSTGRES_BIN") {
        return dir.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").expect("the package postgresql is needed");
    let version = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let latest = versions.filter_map(|entry| version(entry.unwrap())).max();
    format!("/usr/lib/postgresql/{}/bin", latest.expect("the package postgresql is needed")).into()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A statement in one line, names without quotation marks and their tables' names, and one kind of
/// comparison and order for all.
fn plain(statement: &str) -> String {
    let words: Vec<&str> = statement.split_whitespace().collect();
    let mut plain = words.join(" ").replace('"', "").replace("( ", "(").replace(" )", ")");
    for table in ["meta", "rows", "entries", "trackers", "feed", "presence"] {
        plain = plain.replace(&format!("posse_{table}."), "");
    }
    plain.replace(" >= ", " > ").replace(" <= ", " < ").replace(" DESC", " ASC")
}

/// One of the server's programs. It refuses to run as root.
fn command(program: &str) -> Command {
    let program = programs().join(program);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn run(mut command: Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A directory of the server's.
fn temporary() -> TempDir {
    let dir = tempfile::Builder::new().prefix("posse-pg-").tempdir().unwrap();
    if is_root() {
        let mut chown = Command::new("chown");
        chown.arg("postgres").arg(dir.path());
        run(chown);
    }
    dir
}

impl Cluster {
    /// Makes a cluster and starts its server.
    pub(crate) fn start() -> Self {
        let mut cluster = Self::make(&["fsync=off"]);
        cluster.start_server();
        cluster
    }

    /// Makes a cluster whose server has these settings, without starting it.
    pub(crate) fn make(settings: &[&str]) -> Self {
        let dir = temporary();
        let settings = settings.iter().map(ToString::to_string).collect();
        let cluster = Self { dir, server: None, settings, listen: None };
        let mut initdb = command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=posse", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "-D"]).arg(cluster.data());
        run(initdb);
        cluster
    }

    /// Makes a copy of a cluster that runs, which follows it, and which it waits for at each commit.
    /// Starts the copy's server.
    pub(crate) fn standby_of(primary: &Self) -> Self {
        let dir = temporary();
        let settings = primary.settings.clone();
        let mut standby = Self { dir, server: None, settings, listen: None };
        let mut copy = command("pg_basebackup");
        copy.args(["-U", "posse", "-c", "fast", "--no-sync", "-R", "-h"]).arg(primary.path());
        copy.arg("-D").arg(standby.data());
        run(copy);
        standby.start_server();
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        primary.sql("SELECT pg_reload_conf()");
        let since = Instant::now();
        while primary.sql("SELECT sync_state FROM pg_stat_replication") != "sync" {
            assert!(since.elapsed() < TIMEOUT, "the standby does not follow: {}", standby.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        standby
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote()"), "t");
    }

    /// The directory of the socket.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The URL of the database.
    pub(crate) fn url(&self) -> String {
        format!("postgres:///postgres?user=posse&host={}", self.dir.path().display())
    }

    /// Puts a certificate and its key into the directory, for `ssl=on`, and has the server listen at
    /// a loopback address too.
    pub(crate) fn serve_tls(&mut self, address: SocketAddr, certificate: &str, key: &str) {
        self.listen = Some(address);
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let file = self.data().join(name);
            fs::write(&file, pem).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                let mut chown = Command::new("chown");
                chown.arg("postgres").arg(file);
                run(chown);
            }
        }
    }

    /// The URL of a place of its own in the database, which is made.
    pub(crate) fn url_of(&self, name: &str) -> String {
        self.sql(&format!("CREATE SCHEMA {name}"));
        format!("{}&options=-csearch_path%3D{name}", self.url())
    }

    /// Starts the server, and waits until it takes connections.
    pub(crate) fn start_server(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut server = command("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(self.dir.path());
        match self.listen {
            Some(address) => {
                server.args(["-c", &format!("listen_addresses={}", address.ip())]);
                server.args(["-c", &format!("port={}", address.port())]);
            }
            None => _ = server.args(["-c", "listen_addresses="]),
        }
        self.settings.iter().for_each(|setting| _ = server.args(["-c", setting]));
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.server = Some(server.spawn().unwrap());
        let since = Instant::now();
        while !self.is_ready() {
            assert!(since.elapsed() < TIMEOUT, "PostgreSQL does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> bool {
        let mut command = Command::new(programs().join("pg_isready"));
        command.arg("-h").arg(self.dir.path()).args(["-U", "posse"]).stdout(Stdio::null());
        self.listen
            .iter()
            .for_each(|address| _ = command.args(["-p", &address.port().to_string()]));
        command.status().unwrap().success()
    }

    /// The port in the name of its socket.
    fn port(&self) -> String {
        self.listen.map_or(5432, |address| address.port()).to_string()
    }

    /// What the server says.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The statements that trackers have sent, as docs/CONFORMANCE.md writes them, if the server has
    /// [`LOGGING`].
    pub(crate) fn statements(&self) -> BTreeSet<String> {
        let log = self.log().replace("\n\t", " ");
        let ours = log.lines().filter_map(|line| line.strip_prefix("posse-tracker|LOG:  "));
        let texts = ours.filter_map(|line| {
            let (what, sql) = line.split_once(": ")?;
            (what == "statement" || what.starts_with("execute ")).then_some(sql)
        });
        let each = texts.flat_map(|sql| sql.split(';')).map(plain);
        each.filter(|statement| !statement.is_empty()).collect()
    }

    /// Runs SQL, and returns what it prints, a row a line, its columns with `|` between them.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let mut psql = Command::new(programs().join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "posse", "-h"]);
        psql.arg(self.dir.path()).args(["-p", &self.port(), "-d", "postgres", "-c", sql]);
        String::from_utf8(run(psql).stdout).unwrap().trim_end().to_owned()
    }

    /// Kills the server with that signal, and waits for its end.
    pub(crate) fn stop_server(&mut self, signal: &str) {
        let Some(mut server) = self.server.take() else { return };
        let mut kill = Command::new("kill");
        kill.arg(format!("-{signal}")).arg(server.id().to_string());
        run(kill);
        server.wait().unwrap();
        // Its children end by themselves when they see that it has gone.
        let since = Instant::now();
        while self.has_children() && since.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Tells whether a process works in the cluster's directory.
    fn has_children(&self) -> bool {
        !self.processes().is_empty()
    }

    /// The processes that work in the cluster's directory: the server, and those that it starts.
    pub(crate) fn processes(&self) -> Vec<String> {
        let data = self.data();
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        processes
            .filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Without a checkpoint: nothing of it is needed any more.
        self.stop_server("QUIT");
    }
}
