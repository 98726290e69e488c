//! TLS between a tracker and its database: the server has to show a certificate for the name in the
//! URL, which a trusted authority has issued.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::harness::{Cluster, Process, RawClient, World};

/// The name in the URLs. Nothing resolves it: the address is in the URL too.
const HOST: &str = "db.example.org";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn pem(tag: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, der))
}

/// A cluster that listens at a loopback address which only this test uses, with a certificate for a
/// name or without TLS.
fn cluster(issuer: &Authority, name: Option<&str>) -> (Cluster, SocketAddr) {
    let ssl = if name.is_some() { "ssl=on" } else { "ssl=off" };
    let mut cluster = Cluster::make(&["fsync=off", ssl]);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.unwrap_or(HOST).to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let [a, b, c]: [u8; 3] = rand::random();
    let ip: IpAddr = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254)).into();
    let address = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
    cluster.serve_tls(
        address,
        &pem("CERTIFICATE", certificate.der()),
        &pem("PRIVATE KEY", &key.serialize_der()),
    );
    cluster.start_server();
    (cluster, address)
}

fn url(address: SocketAddr, parameters: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!("postgres://posse@{HOST}:{port}/postgres?hostaddr={ip}{parameters}")
}

fn write(dir: &Path, name: &str, authority: &Authority) -> PathBuf {
    let file = dir.join(name);
    std::fs::write(&file, pem("CERTIFICATE", authority.der())).unwrap();
    file
}

/// Starts a tracker that is to refuse, in an environment that asks for less, and returns its words.
fn refused(dir: &Path, store: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.args(["127.0.0.1", "0", "--new", "--store", store, "--data-dir"]);
    command.arg(dir.join("refused")).env("HOME", dir).env("PGSSLMODE", "disable");
    let finished = Process::spawn("tracker", &mut command).finish(Duration::from_secs(60));
    assert_eq!(finished.status, Some(2), "{finished:?}");
    finished.err.join("\n")
}

#[test]
fn a_database_that_shows_a_trusted_certificate_for_its_name_is_used_and_the_connection_encrypted() {
    let issuer = authority("right");
    let (cluster, address) = cluster(&issuer, Some(HOST));
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "right.crt", &issuer);
    let store = url(address, &format!("&sslrootcert={}", file.display()));
    let world = World::with_options(2, &["--store", &store]);
    RawClient::enter(world.tracker(1), "nik").create_group("lab");
    let connections = |is: &str| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'posse-tracker' AND {is}"
        );
        cluster.sql(&sql).parse::<u32>().unwrap()
    };
    assert!(connections("ssl AND version >= 'TLSv1.2'") >= 2);
    assert_eq!(connections("NOT ssl"), 0);
}

#[test]
fn a_certificate_of_another_authority_or_for_another_name_and_no_tls_at_all_are_refused() {
    let (right, wrong) = (authority("right"), authority("wrong"));
    let dir = tempfile::tempdir().unwrap();
    let of_right = format!("&sslrootcert={}", write(dir.path(), "right.crt", &right).display());
    let of_wrong = format!("&sslrootcert={}", write(dir.path(), "wrong.crt", &wrong).display());

    let (trusted, address) = cluster(&right, Some(HOST));
    let words = refused(dir.path(), &url(address, &of_wrong));
    assert!(words.contains("certificate verify failed"), "{words}");
    assert!(words.contains("give the file with the authority's certificate"), "{words}");
    // The system's authorities did not issue it either.
    let words = refused(dir.path(), &url(address, ""));
    assert!(words.contains("give the file with the authority's certificate"), "{words}");
    drop(trusted);

    let (other, address) = cluster(&right, Some("other.example.org"));
    let words = refused(dir.path(), &url(address, &of_right));
    assert!(words.contains("\"other.example.org\" does not match host name \"db"), "{words}");
    assert!(words.contains("connect by a name for which its certificate was issued"), "{words}");
    // Whoever says so does without the name.
    let store = url(address, &format!("{of_right}&sslmode=verify-ca"));
    drop(World::with_options(1, &["--store", &store]));
    drop(other);

    let (_plain, address) = cluster(&right, None);
    let words = refused(dir.path(), &url(address, &of_right));
    assert!(words.contains("server does not support SSL"), "{words}");
    assert!(words.contains("ssl=on") && words.contains("sslmode=disable"), "{words}");
    drop(World::with_options(1, &["--store", &url(address, "&sslmode=disable")]));
}
