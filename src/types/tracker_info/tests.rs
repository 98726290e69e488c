use super::*;

fn shown(text: &str) -> Vec<String> {
    TrackerInfo::parse(text)
        .unwrap()
        .iter()
        .map(|(number, address)| format!("{number} {address}"))
        .collect()
}

#[test]
fn every_form_is_understood() {
    let text = "\u{feff}# trackers\r\n\r\nExample.org:5000 # ours\n2 10.0.0.1 7000\n[::1]:1\n::0002 2\n5 [::3] 3\n6 host:4\nlocalhost 0";
    let want = [
        "1 example.org:5000",
        "2 10.0.0.1:7000",
        "3 [::1]:1",
        "4 [::2]:2",
        "5 [::3]:3",
        "6 host:4",
        "7 localhost:0",
    ];
    assert_eq!(shown(text), want);
    let info = TrackerInfo::parse(text).unwrap();
    assert_eq!((info.count(), info.get(0), info.get(8)), (7, None, None));
    assert_eq!(info.get(3).unwrap().host(), "::1");
    assert_eq!(info.get(3).unwrap().to_label().as_str(), "[::1]:1");
}

#[test]
fn bad_files_are_refused_with_their_line() {
    for bad in [
        "",
        "# nothing\n",
        "host",
        "a:b:1",
        "host:65536",
        "host:+1",
        "a b c d",
        "1.2.3.4.5:1",
        "é:1",
        "-x:1",
        "h ost:1 2",
    ] {
        assert!(TrackerInfo::parse(bad).is_err(), "{bad:?}");
    }
    let error = TrackerInfo::parse("a:1\n\nbad").unwrap_err();
    assert_eq!(error.to_string(), "line 3: host:port is expected, not \"bad\"");
    let error = TrackerInfo::parse("a:1\n1 b 2").unwrap_err();
    assert_eq!(error, TrackerInfoError::Number { line: 2, number: 1, place: 2 });
    let error = TrackerInfo::parse("a:1\nA 1").unwrap_err();
    assert_eq!(error.to_string(), "line 2: a:1 is named twice");
    let many: String = (1..=TRACKERS_MAX + 1).map(|port| format!("a:{port}\n")).collect();
    assert_eq!(TrackerInfo::parse(&many), Err(TrackerInfoError::TooMany));
}

#[test]
fn the_network_is_the_same_however_the_file_is_laid_out() {
    let one = TrackerInfo::parse("HOST:1\n::1 2\n").unwrap();
    let two = TrackerInfo::parse("# x\n1 host 1\n\n[0::1]:2").unwrap();
    assert_eq!(one.network(), two.network());
    assert_ne!(one.network(), TrackerInfo::parse("host:1").unwrap().network());
}

#[test]
fn a_scoped_ipv6_address_is_taken_in_every_form() {
    let text = "fe80::1%eth0 5000\n[FE80::2%eth0]:5000\n3 fe80::3%Br-1.2 5000\n";
    assert_eq!(
        shown(text),
        ["1 [fe80::1%eth0]:5000", "2 [fe80::2%eth0]:5000", "3 [fe80::3%Br-1.2]:5000"]
    );
    let info = TrackerInfo::parse(text).unwrap();
    assert_eq!(info.get(1).unwrap().host(), "fe80::1%eth0");
    assert_eq!(TrackerInfo::parse(&info.to_string()), Ok(info));
}

#[test]
fn files_are_compared_by_the_trackers_they_name() {
    let parse = |text| TrackerInfo::parse(text).unwrap();
    let (ours, turned) = (parse("a:1\nb:2\nc:3"), parse("# moved\nc 3\n\n2 A 1\nb:2"));
    assert_eq!(ours.members_digest(), turned.members_digest());
    assert_eq!(ours.differences(turned.addresses()), None);
    let other = parse("a:1\nd:4\nb:2\ne:5");
    assert_ne!(ours.members_digest(), other.members_digest());
    assert_eq!(
        ours.differences(other.addresses()).unwrap(),
        "only here: c:3; only there: d:4, e:5"
    );
    assert_eq!(ours.differences(&ours.addresses()[..2]).unwrap(), "only here: c:3");
    let [b, d] = [ours.get(2).unwrap(), other.get(2).unwrap()];
    assert_eq!(
        (ours.number_of(b), turned.number_of(b), ours.number_of(d)),
        (Some(2), Some(3), None)
    );
}

#[test]
fn trackers_are_added_and_taken_out() {
    let info = TrackerInfo::parse("a:1\nb:2").unwrap();
    let [a, b, c] = ["a:1", "b:2", "c:3"].map(|text| text.parse::<TrackerAddress>().unwrap());
    let more = info.with_added(c.clone()).unwrap();
    assert_eq!(more.to_string(), "a:1\nb:2\nc:3\n");
    assert_eq!(info.with_added(a.clone()), Err(TrackerInfoError::Known(a.clone())));
    assert_eq!(more.without(&a).unwrap().to_string(), "b:2\nc:3\n");
    assert_eq!(info.without(&c), Err(TrackerInfoError::Unknown(c)));
    assert_eq!(info.without(&a).unwrap().without(&b), Err(TrackerInfoError::Last(b)));
    let many: String = (1..=TRACKERS_MAX).map(|port| format!("a:{port}\n")).collect();
    let full = TrackerInfo::parse(&many).unwrap();
    assert_eq!(full.with_added("b:1".parse().unwrap()), Err(TrackerInfoError::TooMany));
}
