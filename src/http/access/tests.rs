//! Tokens, codes and addresses against those who have none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::http::{Method, Request};

#[test]
fn a_token_opens_until_it_is_revoked_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Tokens::open(dir.path()).unwrap();
    let new = tokens.create("nas", Rights::Read, None, None).unwrap();
    assert!(new.secret.starts_with("posse_") && new.secret.len() == 70);
    assert_eq!(tokens.authorize(&new.secret).unwrap().rights, Rights::Read);
    let file = std::fs::read_to_string(dir.path().join("tokens.json")).unwrap();
    assert!(!file.contains(&new.secret[6..]), "the secret is in the file");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(dir.path().join("tokens.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = Tokens::open(dir.path()).unwrap();
    assert!(again.authorize(&new.secret).is_some());
    for wrong in ["", "posse_", &new.secret[..69], &format!("{}0", new.secret)] {
        assert!(again.authorize(wrong).is_none(), "{wrong}");
    }
    again.revoke("nas").unwrap();
    assert!(again.authorize(&new.secret).is_none() && !again.is_valid(&new.entry.token_id));
    assert!(Tokens::open(dir.path()).unwrap().authorize(&new.secret).is_none());
    assert!(matches!(again.revoke("nas"), Err(TokenError::Unknown(_))));
}

#[test]
fn tokens_end_and_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Tokens::open(dir.path()).unwrap();
    let ended = tokens.create("ended", Rights::Manage, Some(0), None).unwrap();
    assert!(tokens.authorize(&ended.secret).is_none() && tokens.list().is_empty());
    for bad in ["", "a\nb", &"x".repeat(NAME_LEN_MAX + 1)] {
        assert!(matches!(tokens.create(bad, Rights::Read, None, None), Err(TokenError::BadName)));
    }
    let page = tokens.create_for_page(None).unwrap();
    for i in 1..TOKENS_MAX {
        tokens.create(&format!("t{i}"), Rights::Read, Some(1), None).unwrap();
    }
    assert!(matches!(tokens.create("t1", Rights::Read, None, None), Err(TokenError::BadName)));
    // A page gives way, what a user has created does not.
    tokens.create("one more", Rights::Read, None, None).unwrap();
    assert!(!tokens.is_valid(&page.entry.token_id));
    assert!(matches!(
        tokens.create("and more", Rights::Read, None, None),
        Err(TokenError::TooMany)
    ));
    assert_eq!(tokens.list().len(), TOKENS_MAX);
}

#[test]
fn a_name_cannot_be_taken_for_a_pages_or_for_an_id() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Tokens::open(dir.path()).unwrap();
    let first = tokens.create("first", Rights::Read, None, None).unwrap();
    for bad in ["page metrics", "page ", &first.entry.token_id] {
        let made = tokens.create(bad, Rights::Read, None, None);
        assert!(matches!(made, Err(TokenError::BadName)), "{bad}");
    }
    tokens.create("pages", Rights::Read, None, None).unwrap();
    // A file of before may have a name that is another token's id.
    let named = tokens.create("named", Rights::Read, None, None).unwrap();
    let path = dir.path().join("tokens.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("\"first\"", &format!("{:?}", named.entry.token_id));
    std::fs::write(&path, text).unwrap();
    let tokens = Tokens::open(dir.path()).unwrap();
    assert_eq!(tokens.revoke(&named.entry.token_id).unwrap().name, "named");
    assert!(tokens.authorize(&first.secret).is_some());
}

#[test]
fn a_name_is_given_once_also_to_those_who_ask_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Tokens::open(dir.path()).unwrap();
    for round in 0..20 {
        let name = format!("t{round}");
        let begin = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    let _ = tokens.create(&name, Rights::Read, None, None);
                });
            }
        });
    }
    assert_eq!(tokens.list().len(), 20);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.json");
    for (text, why) in [
        ("", "damaged"),
        ("{}", "damaged"),
        (r#"{"version":2,"tokens":"of another kind"}"#, "later version"),
        (r#"{"version":1,"tokens":[{"hash":"zz"}]}"#, "damaged"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Tokens::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("tokens.json") && error.contains(why), "{text}: {error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_code_opens_one_time_and_soon() {
    let (codes, now) = (Codes::default(), Instant::now());
    let code = codes.make(None, now).unwrap();
    assert!(codes.take("", now).is_none() && codes.take(&code[1..], now).is_none());
    assert!(codes.take(&code, now + CODE_LIFETIME - Duration::from_secs(1)).is_some());
    assert!(codes.take(&code, now).is_none());
    let old = codes.make(None, now).unwrap();
    assert!(codes.take(&old, now + CODE_LIFETIME).is_none());
    let many: Vec<String> = (0..20).map(|_| codes.make(None, now).unwrap()).collect();
    let open = many.iter().filter(|code| codes.take(code, now).is_some()).count();
    assert_eq!(open, 16);
}

#[test]
fn a_link_is_there_once_the_page_is() {
    let dir = tempfile::tempdir().unwrap();
    let access = Access::open(dir.path()).unwrap();
    assert_eq!(access.link(None).unwrap(), None);
    access.set_url("http://127.0.0.1:1/".into());
    let link = access.link(None).unwrap().unwrap();
    let code = link.strip_prefix("http://127.0.0.1:1/#code=").unwrap();
    let new = access.trade(code).unwrap().unwrap();
    assert_eq!(access.tokens.authorize(&new.secret).unwrap().rights, Rights::Manage);
    assert!(access.trade(code).unwrap().is_none());
}

#[test]
fn what_a_token_makes_ends_with_it_at_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let access = Access::open(dir.path()).unwrap();
    access.set_url("http://127.0.0.1:1/".into());
    let end = now_ms() + 1_000_000;
    let create = |name: &str, days, until| {
        let new = access.tokens.create(name, Rights::Read, days, until).unwrap();
        new.entry.expires_ms
    };
    assert_eq!(create("a", None, Some(end)), Some(end));
    assert_eq!(create("b", Some(30), Some(end)), Some(end));
    assert_eq!(create("c", None, None), None);
    assert!(create("d", Some(1), Some(u64::MAX)).unwrap() < u64::MAX);
    let link = access.link(Some(end)).unwrap().unwrap();
    let (_, code) = link.split_once("#code=").unwrap();
    assert_eq!(access.trade(code).unwrap().unwrap().entry.expires_ms, Some(end));
}

/// The status with which a request with these headers is refused, or 200.
fn status(origins: &Origins, method: Method, headers: &[(&'static str, &str)]) -> u16 {
    use std::io::Write as _;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    (&ours).write_all(format!("{method} / HTTP/1.1\r\n{lines}\r\n").as_bytes()).unwrap();
    let mut wire = crate::http::wire::Wire::new(Arc::new(theirs));
    let request = Request::read(&mut wire).unwrap();
    origins.check(&request).map_or_else(|(status, _)| status.as_u16(), |()| 200)
}

#[test]
fn foreign_names_and_sites_are_refused() {
    let origins = Origins::new(
        "127.0.0.1:8480".parse().unwrap(),
        false,
        &["https://Posse.example/files/".into()],
    )
    .unwrap();
    let host = |host: &str| status(&origins, Method::GET, &[("host", host)]);
    for own in [
        "127.0.0.1:8480",
        "localhost:8480",
        "[::1]:8480",
        "posse.example",
        "POSSE.example",
        // Some proxies say the scheme's own port.
        "posse.example:443",
    ] {
        assert_eq!(host(own), 200, "{own}");
    }
    for foreign in [
        "127.0.0.1",
        "127.0.0.1:80",
        "evil.example:8480",
        "localhost.evil.example:8480",
        "127.0.0.1.evil.example:8480",
        "posse.example:8480",
        "posse.example:80",
        "posse.example:443:443",
        "posse.example.evil.example",
        "user@127.0.0.1:8480",
        "",
    ] {
        assert_eq!(host(foreign), 421, "{foreign}");
    }
    let from = |more: &[(&'static str, &str)]| {
        let headers = [&[("host", "127.0.0.1:8480")], more].concat();
        status(&origins, Method::POST, &headers)
    };
    assert_eq!(from(&[("origin", "http://127.0.0.1:8480")]), 200);
    assert_eq!(
        from(&[("origin", "https://posse.example"), ("sec-fetch-site", "same-origin")]),
        200
    );
    for foreign in [
        "null",
        "https://127.0.0.1:8480",
        "http://127.0.0.1",
        "http://127.0.0.1:8481",
        "http://localhost:8480",
        "https://evil.example",
        "http://posse.example",
        "https://posse.example.evil.example",
    ] {
        assert_eq!(from(&[("origin", foreign)]), 403, "{foreign}");
    }
    assert_eq!(
        from(&[("origin", "http://127.0.0.1:8480"), ("origin", "http://127.0.0.1:8480")]),
        403
    );
    for site in ["cross-site", "same-site", "?"] {
        assert_eq!(from(&[("sec-fetch-site", site)]), 403, "{site}");
    }
    // A link in a mail opens the page, and a script of another site reads nothing.
    let follow = [
        ("host", "127.0.0.1:8480"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert_eq!(status(&origins, Method::GET, &follow), 200);
    assert_eq!(status(&origins, Method::POST, &follow), 403);
    assert_eq!(origins.url(), "https://posse.example/files/");
    for bad in ["posse.example", "ftp://a", "https://", "https://a/?b", "https://u@a"] {
        let listen = "127.0.0.1:1".parse().unwrap();
        assert!(Origins::new(listen, false, &[bad.into()]).is_err(), "{bad}");
    }
}
