//! Where a database over PostgreSQL's wire is: the URL, checked and completed.
//!
//! **Invariant:** a URL that is used is valid, and its password is never shown.
//!
//! libpq reads the rest itself: its environment (`PGHOST`, `PGPASSFILE`, ...), `.pgpass`, and
//! `pg_service.conf`.

use std::fmt;
use std::path::Path;

use percent_encoding::percent_decode_str;

use super::tls;

/// Bytes of a file that holds a URL.
const FILE_LEN_MAX: u64 = 16 << 10;
/// What libpq is told where the URL does not say otherwise: a host that does not answer is given up
/// after a few seconds, also in the middle of a statement.
const DEFAULTS: [(&str, &str); 6] = [
    ("connect_timeout", "5"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
    ("fallback_application_name", "posse-tracker"),
];

/// The URL of a database.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineAddress {
    /// With the password, and all that libpq is told.
    url: String,
    /// For messages: without user, password and parameters.
    shown: String,
}

/// Why a text is not the URL of a database that may be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineAddressError {
    /// It has another form.
    #[error(
        "the --store is not a URL of the form postgres://user@host:port/database?parameters, nor a file with one ({0})"
    )]
    Form(&'static str),
    /// A password where every user of the machine can read it.
    #[error(
        "the URL of --store has a password, which every user of this machine can read in the list of processes: put \
         the URL into a file of mode 0600 and name that, or the password into .pgpass or PGPASSFILE"
    )]
    Password,
    /// The file cannot be read.
    #[error("cannot read the URL of the store from {file}: {why}")]
    File {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// Others may read the file.
    #[error(
        "others than its owner may read {file}, which holds the URL of the store: chmod 600 {file}"
    )]
    Readable {
        /// The file.
        file: String,
    },
}

impl EngineAddress {
    /// Takes what was given on the command line: a URL without a password, or the name of a file
    /// that holds a URL and that only its owner may read.
    ///
    /// # Errors
    /// Every [`EngineAddressError`].
    ///
    /// # Blocking
    /// On the disk, for a file.
    pub fn from_argument(text: &str) -> Result<Self, EngineAddressError> {
        if is_url(text) {
            let address = Self::parse(text)?;
            if has_password(text) {
                return Err(EngineAddressError::Password);
            }
            return Ok(address);
        }
        Self::parse(read_file(Path::new(text))?.trim())
    }

    /// Takes a URL, which may have a password.
    ///
    /// # Errors
    /// [`EngineAddressError::Form`].
    pub fn parse(text: &str) -> Result<Self, EngineAddressError> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or(EngineAddressError::Form("it does not begin with postgres://"))?;
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(EngineAddressError::Form("it has a space or a control character"));
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (_, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let parameters: Vec<(String, String)> =
            form_urlencoded::parse(query.replace('+', "%2B").as_bytes()).into_owned().collect();
        let given = |name: &str| {
            let found = parameters.iter().rev().find(|(parameter, _)| parameter == name);
            found.map(|(_, value)| value.as_str())
        };
        let named = ["host", "hostaddr"].into_iter().filter_map(given).flat_map(|h| h.split(','));
        let in_url = hosts.split(',').filter(|host| !host.is_empty()).map(host_of);
        let all: Vec<String> = in_url.chain(named.map(str::to_owned)).collect();
        let mut url = text.to_owned();
        let mut add = |name: &str, value: &str| {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{name}={value}"));
        };
        let is_set = |variable: &str| std::env::var_os(variable).is_some();
        for (name, value) in DEFAULTS.into_iter().filter(|(name, _)| given(name).is_none()) {
            if name != "connect_timeout" || !is_set("PGCONNECT_TIMEOUT") {
                add(name, value);
            }
        }
        for (name, value) in tls::parameters(&all, &|name| given(name).is_some()) {
            add(name, &value);
        }
        if all.len() > 1
            && given("target_session_attrs").is_none()
            && !is_set("PGTARGETSESSIONATTRS")
        {
            add("target_session_attrs", "read-write");
        }
        let place = if all.is_empty() { "the default host".to_owned() } else { all.join(",") };
        let database = if database.is_empty() { "the default database" } else { database };
        Ok(Self { url, shown: format!("{database} at {place}") })
    }

    /// What libpq is given. It may hold a password.
    pub(in crate::store) fn url(&self) -> &str {
        &self.url
    }
}

/// Without user, password and parameters.
impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineAddress({})", self.shown)
    }
}

/// Tells whether a text is meant as a URL: a file is never called so.
fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// Tells whether a URL has a password, before the host or among the parameters.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    user.contains(':') || names.any(|name| name == "password" || name == "sslpassword")
}

/// The host of `host:port`, `[address]:port` or `%2Fdirectory`.
fn host_of(text: &str) -> String {
    let host = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => text.split(':').next().unwrap_or_default(),
    };
    percent_decode_str(host).decode_utf8_lossy().into_owned()
}

fn read_file(path: &Path) -> Result<String, EngineAddressError> {
    let file = path.display().to_string();
    let failed = |why: &dyn fmt::Display| EngineAddressError::File {
        file: file.clone(),
        why: why.to_string(),
    };
    let open = std::fs::File::open(path).map_err(|why| failed(&why))?;
    let metadata = open.metadata().map_err(|why| failed(&why))?;
    if std::os::unix::fs::MetadataExt::mode(&metadata) & 0o077 != 0 {
        return Err(EngineAddressError::Readable { file });
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(open, FILE_LEN_MAX), &mut text)
        .map_err(|why| failed(&why))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn url(text: &str) -> String {
        EngineAddress::parse(text).unwrap().url
    }

    #[test]
    fn a_connection_to_another_machine_verifies_unless_the_url_says_otherwise() {
        let verified = |text: &str| url(text).contains("sslmode=verify-full");
        assert!(verified("postgres://posse@db.example/posse"));
        assert!(verified("postgres://db1:5433,db2/posse?user=posse"));
        assert!(verified("postgresql://[2001:db8::1]:5432/posse"));
        assert!(verified("postgres:///posse?host=db.example"));
        assert!(verified("postgres://127.0.0.1,db.example/posse"));
        for local in ["127.0.0.1", "[::1]:7", "localhost:5432", "%2Fvar%2Frun%2Fpostgresql"] {
            assert!(!verified(&format!("postgres://{local}/posse")), "{local}");
        }
        assert!(!verified("postgres:///posse?host=/var/run/postgresql"));
        let own = url("postgres://db.example/posse?sslmode=require");
        assert!(own.contains("sslmode=require") && !own.contains("verify-full"));
    }

    #[test]
    fn of_several_hosts_the_one_that_takes_writes_is_wanted() {
        let several = url("postgres://a,b/posse?sslmode=verify-ca&connect_timeout=9");
        assert!(several.contains("&target_session_attrs=read-write"), "{several}");
        assert!(several.contains("connect_timeout=9") && !several.contains("connect_timeout=5"));
        assert!(!url("postgres://a/posse").contains("target_session_attrs"));
    }

    #[test]
    fn a_password_is_refused_in_an_argument_and_never_shown() {
        for secret in [
            "postgres://me:secret@db/posse",
            "postgres://db/posse?password=secret",
            "postgres://db/posse?sslmode=require&sslpassword=secret",
        ] {
            assert_eq!(EngineAddress::from_argument(secret), Err(EngineAddressError::Password));
            let address = EngineAddress::parse(secret).unwrap();
            assert!(!format!("{address} {address:?}").contains("secret"));
        }
        let address = EngineAddress::from_argument("postgres://me@db:5433/posse").unwrap();
        assert_eq!(address.to_string(), "posse at db");
        for wrong in ["postgres:/db", "mysql://db/posse", "postgres://db/a b"] {
            let refused = EngineAddress::parse(wrong).unwrap_err();
            assert!(matches!(refused, EngineAddressError::Form(_)), "{wrong}");
        }
    }

    #[test]
    fn a_file_with_the_url_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store");
        std::fs::write(&file, "postgres://me:secret@db/posse\n").unwrap();
        let name = file.to_str().unwrap();
        let set = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o640);
        let refused = EngineAddress::from_argument(name).unwrap_err();
        assert_eq!(refused, EngineAddressError::Readable { file: name.to_owned() });
        set(0o600);
        let address = EngineAddress::from_argument(name).unwrap();
        assert!(address.url().starts_with("postgres://me:secret@db/posse?"));
        let missing = EngineAddress::from_argument("/nowhere/at/all").unwrap_err();
        assert!(matches!(missing, EngineAddressError::File { .. }));
    }
}
