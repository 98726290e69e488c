//! How a connection to the database is secured.
//!
//! **Invariant:** a connection that leaves this machine verifies the server's certificate and its
//! name. Only the URL can say otherwise: a variable of the environment that is there for other
//! programs, or a service file, does not.

use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// What libpq is told in addition, for these hosts, as names and encoded values.
///
/// `hosts` are those of the URL; without any, libpq takes them from a service file or its
/// environment, or takes a Unix socket.
pub(super) fn parameters(
    hosts: &[String],
    given: &dyn Fn(&str) -> bool,
) -> Vec<(&'static str, String)> {
    let is_set = |variable: &str| std::env::var_os(variable).is_some();
    if given("sslmode") || !may_leave(hosts, given("service") || is_set("PGSERVICE")) {
        return Vec::new();
    }
    let mut added = vec![("sslmode", "verify-full".to_owned())];
    if !given("sslrootcert") && !is_set("PGSSLROOTCERT") && !own_authority().exists() {
        // libpq knows the system's only since version 16.
        if let Some(file) = openssl_probe::probe().cert_file {
            let file = file.to_string_lossy();
            added.push(("sslrootcert", utf8_percent_encode(&file, NON_ALPHANUMERIC).to_string()));
        }
    }
    added
}

/// Where libpq looks for the authorities that it trusts.
fn own_authority() -> PathBuf {
    std::env::home_dir().unwrap_or_default().join(".postgresql/root.crt")
}

/// Tells whether a connection may leave this machine.
fn may_leave(hosts: &[String], has_service: bool) -> bool {
    if !hosts.is_empty() {
        return hosts.iter().any(|host| !is_on_this_machine(host));
    }
    let in_environment = |variable: &str| {
        std::env::var(variable)
            .is_ok_and(|hosts| hosts.split(',').any(|host| !is_on_this_machine(host)))
    };
    has_service || in_environment("PGHOST") || in_environment("PGHOSTADDR")
}

/// Tells whether nobody else can listen on the way to a host: a directory of Unix sockets, or a
/// loopback address.
fn is_on_this_machine(host: &str) -> bool {
    host.is_empty()
        || host.starts_with(['/', '@'])
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What the operator can do about a server that libpq did not trust, by libpq's words.
pub(super) fn advice(why: &str) -> Option<&'static str> {
    let of = |words: &str| why.contains(words);
    if of("certificate verify failed") {
        Some(
            "the authority that issued its certificate is not trusted here: give the file with the authority's \
             certificate, sslrootcert=FILE in the URL",
        )
    } else if of("does not match host name") {
        Some(
            "connect by a name for which its certificate was issued, or have one issued for this name",
        )
    } else if of("server does not support SSL") {
        Some(
            "switch TLS on there (ssl=on, ssl_cert_file, ssl_key_file); only where nobody else can reach the network \
             in between, say sslmode=disable in the URL",
        )
    } else if of("root certificate file") {
        Some("give the file with the authority's certificate, sslrootcert=FILE in the URL")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn mode(hosts: &[&str], said: &[&str]) -> bool {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let added = parameters(&hosts, &|name| said.contains(&name));
        assert!(added.iter().all(|(name, value)| *name != "sslmode" || value == "verify-full"));
        added.iter().any(|(name, _)| *name == "sslmode")
    }

    #[test]
    fn what_may_leave_the_machine_is_verified() {
        for remote in ["db.example", "192.0.2.7", "2001:db8::1", "localhost.example"] {
            assert!(mode(&[remote], &[]), "{remote}");
            assert!(mode(&["127.0.0.1", remote], &[]), "{remote}");
            assert!(!mode(&[remote], &["sslmode"]), "{remote}");
        }
        for local in ["127.9.9.9", "::1", "localhost", "/run/postgresql", "@posse", ""] {
            assert!(!mode(&[local], &[]), "{local}");
        }
        assert!(mode(&[], &["service"]), "the host is in a file that libpq reads");
        assert!(!mode(&["/run/postgresql"], &["service"]), "the URL's host wins");
    }

    #[test]
    fn the_systems_authorities_are_trusted_unless_others_are_named() {
        let hosts = ["db.example".to_owned()];
        let named = parameters(&hosts, &|name| name == "sslrootcert");
        assert_eq!(named, [("sslmode", "verify-full".to_owned())]);
        if let Some(file) = openssl_probe::probe().cert_file.filter(|_| !own_authority().exists()) {
            let added = parameters(&hosts, &|_| false);
            let decoded = percent_encoding::percent_decode_str(&added[1].1).decode_utf8().unwrap();
            assert_eq!((added[1].0, Path::new(&*decoded)), ("sslrootcert", &*file));
        }
    }
}
