//! Invitations: a link lets its bearer into a group, from an empty data directory to a download;
//! and what ends a link, ends it.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use posse::trust::KeyPair;
use posse::types::TrackerInfo;
use posse::types::invitation_link::InvitationLink;
use posse::{Tracker, TrackerConfig};
use serde_json::Value;

use crate::harness::{
    ClientProcess, Content, Finished, PATIENCE, Process, World, set_home, sha1_of,
};

/// Makes a link, with these options behind the group.
#[track_caller]
fn invite(client: &mut ClientProcess, what: &str) -> String {
    let made = client.object(&format!("invite {what}"));
    assert_eq!(made["ok"], true, "{made}");
    let link = made["link"].as_str().unwrap().to_owned();
    assert!(link.starts_with("posse:join/"), "{link}");
    link
}

/// The command line of `client join` of a device that has never been started.
fn join_command(home: &Path, arguments: &[&str]) -> Command {
    std::fs::create_dir_all(home).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.current_dir(home).arg("join").args(arguments);
    command.args(["--allow-short-passwords", "--json", "--log", "debug"]);
    set_home(&mut command, home);
    command
}

/// Runs `client join` to its end with these lines on stdin.
#[track_caller]
fn join(home: &Path, arguments: &[&str], lines: &[&str]) -> Finished {
    let mut process = Process::spawn("client join", &mut join_command(home, arguments));
    let _ = process.send_bytes((lines.join("\n") + "\n").as_bytes());
    process.finish(PATIENCE)
}

/// The result objects of a client's commands.
fn results(finished: &Finished) -> Vec<Value> {
    let objects = finished.out.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.filter(|object| object.get("command").is_some()).collect()
}

#[test]
fn a_newcomer_joins_by_a_link_and_downloads() {
    let mut world = World::new(2);
    let content = Content::new("a.bin", 3 << 20, 77);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.enter("nik");
    nik.ok("create_group lab", &[]);
    nik.ok("upload_file a.bin lab", &[]);
    let link = invite(&mut nik, "lab");
    world.wait_synced();
    let home = world.path().join("newcomer");
    let lines = [&link, "ann", "pw-ann", "download_file lab a.bin", "wait 60", "whoami"];
    let done = join(&home, &[], &lines);
    assert_eq!(done.status, Some(0), "{done:?}");
    let results = results(&done);
    assert_eq!((&results[0]["command"], &results[0]["group"]), (&"join".into(), &"lab".into()));
    assert_eq!(sha1_of(&home.join("a.bin")), content.sha1());
    // The owner is told once, whichever trackers tell.
    let told = |out: &[String]| {
        let objects = out.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects.filter(|object| object["event"] == "member_joined").collect::<Vec<_>>()
    };
    let events =
        nik.process().wait_said(PATIENCE, |said| Some(told(&said.out)).filter(|t| !t.is_empty()));
    let event = &events.unwrap()[0];
    assert_eq!((&event["user"], &event["group"]), (&"ann".into(), &"lab".into()), "{event}");
    assert_eq!(event["invited_by"], "nik");
    let members = nik.object("list_members lab");
    assert_eq!(members["members"][1]["user"], "ann", "{members}");
    let notifications = nik.object("notifications");
    let kinds: Vec<&Value> = notifications["notifications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["event"])
        .filter(|event| *event == "member_joined")
        .collect();
    assert_eq!((kinds.len(), told(&nik.process().said().out).len()), (1, 1), "{notifications}");
    assert_eq!(members["members"][1]["invited_by"], "nik");
    let open = nik.object("invites");
    assert_eq!((&open["invites"][0]["used"], &open["invites"][0]["uses"]), (&1.into(), &1.into()));
    // The device is set up from then on.
    let mut again = Command::new(env!("CARGO_BIN_EXE_client"));
    again.current_dir(&home).args(["--json", "-c", "login ann pw-ann", "-c", "list_my_groups"]);
    set_home(&mut again, &home);
    let again = Process::spawn("client again", &mut again).finish(PATIENCE);
    assert!(again.out.iter().any(|line| line.contains("\"group\":\"lab\"")), "{again:?}");
    // No secret is in what was logged, nor on any disk.
    assert!(done.err.iter().all(|line| !line.contains(&link[11..])), "{:?}", done.err);
    let parsed = InvitationLink::parse(&link).unwrap();
    for tracker in &mut world.trackers {
        let said = tracker.process().said();
        assert!(said.err.iter().all(|line| !line.contains(&link[11..])));
    }
    for needle in [&parsed.secret.as_bytes()[..], &link.as_bytes()[11 + 64..]] {
        assert_eq!(files_with(world.path(), needle), Vec::<PathBuf>::new());
    }
}

/// The files below a directory that hold these bytes.
fn files_with(directory: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(needle.len()).any(|window| window == needle)
        {
            found.push(path);
        }
    }
    found
}

/// Runs a command of the operator.
#[track_caller]
fn admin(world: &World, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.arg("admin").arg("--data-dir").arg(world.trackers[0].data_dir()).args(arguments);
    let done = Process::spawn("tracker admin", &mut command).finish(PATIENCE);
    assert_eq!(done.status, Some(0), "{done:?}");
    done.out
}

/// A client that owns the group lab, and the network.
fn lab(trackers: usize) -> (World, ClientProcess) {
    let mut world = World::new(trackers);
    let mut nik = world.client("nik");
    nik.enter("nik");
    nik.ok("create_group lab", &[]);
    world.wait_synced();
    (world, nik)
}

/// A newcomer joins by a link, and ends.
#[track_caller]
fn joins(world: &World, link: &str, user: &str) {
    let home = world.path().join(format!("new-{user}"));
    let done = join(&home, &["-"], &[link, user, &format!("pw-{user}")]);
    assert_eq!(done.status, Some(0), "{done:?}");
}

/// A newcomer is told why not, and has no account.
#[track_caller]
fn turned_away(world: &World, link: &str, user: &str, why: &str) {
    let home = world.path().join(format!("new-{user}"));
    let done = join(&home, &[], &[link, user, &format!("pw-{user}"), "create_group mine"]);
    assert_eq!(done.status, Some(1), "{done:?}");
    let results = results(&done);
    assert_eq!(results.len(), 1, "what follows is not carried out: {done:?}");
    let error = results[0]["error"].as_str().unwrap();
    assert!(error.contains(why), "{error}");
    assert!(!error.contains(&link[11..]));
    assert_eq!(results[0]["code"], "invitation", "{}", results[0]);
    let mut again = world.client(&format!("check-{user}"));
    again.refused(&format!("login {user} pw-{user}"), "wrong user name or password");
}

#[test]
fn what_ends_an_invitation_is_told_to_a_newcomer() {
    let (world, mut nik) = lab(1);
    let used_up = invite(&mut nik, "lab");
    joins(&world, &used_up, "ann");
    turned_away(&world, &used_up, "bob", "used as often as it may be");
    let revoked = invite(&mut nik, "lab --uses 5");
    let id = nik.object("invites")["invites"].as_array().unwrap().iter().find_map(|invite| {
        (invite["uses"] == 5).then(|| invite["invite"].as_str().unwrap().to_owned())
    });
    let gone = nik.object(&format!("revoke_invite {}", &id.unwrap()[..8]));
    assert_eq!((&gone["ok"], &gone["group"]), (&true.into(), &"lab".into()), "{gone}");
    turned_away(&world, &revoked, "cat", "revoked");
    let by_link = invite(&mut nik, "lab");
    nik.ok(&format!("revoke_invite {by_link}"), &[]);
    turned_away(&world, &by_link, "dan", "revoked");
    nik.refused("revoke_invite ffff", "invites lists them");
    let void = invite(&mut nik, "lab");
    nik.ok("delete_group lab --yes", &[]);
    turned_away(&world, &void, "eve", "void");
    for (options, why) in [("--uses 0", "1 to 1000 users"), ("--days 61", "1 to 60 days")] {
        nik.ok("create_group den", &[]);
        nik.refused(&format!("invite den {options}"), why);
        nik.ok("delete_group den --yes", &[]);
    }
    nik.refused("invite den --uses x", "not a number");
    nik.refused("invite nowhere", "no such group");
}

#[test]
fn a_short_password_in_a_pipe_is_refused() {
    let (world, mut nik) = lab(1);
    let link = invite(&mut nik, "lab");
    let home = world.path().join("new-ann");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.current_dir(&home).args(["join", "--json"]);
    set_home(&mut command, &home);
    let mut process = Process::spawn("client join", &mut command);
    // A line that would answer a question is no answer, as nobody is asked.
    process.send_bytes(format!("{link}\nann\nshort\nyes\n").as_bytes()).unwrap();
    let done = process.finish(PATIENCE);
    assert_eq!(done.status, Some(1), "{done:?}");
    let error = results(&done)[0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("fewer than 8 characters"), "{error}");
    joins(&world, &link, "ann");
}

#[test]
fn an_invitation_ends_with_its_time() {
    let (mut world, mut nik) = lab(1);
    let [short, long] = ["lab --days 1", "lab --days 2"].map(|what| invite(&mut nik, what));
    drop(nik);
    // The same tracker, a day and a bit later.
    world.trackers[0].kill9();
    let info = TrackerInfo::parse(&std::fs::read_to_string(&world.info).unwrap()).unwrap();
    let key = Arc::new(KeyPair::load(&world.network_key()).unwrap());
    let data = world.trackers[0].data_dir().to_owned();
    let mut config = TrackerConfig::new(info, 1, data, key);
    config.limits.clock_offset_ms = 25 * 3_600_000;
    let tracker = Tracker::start(config).unwrap();
    turned_away(&world, &short, "ann", "has expired");
    joins(&world, &long, "bob");
    tracker.stop().unwrap();
}

#[test]
fn a_link_of_another_network_is_refused_before_a_tracker_sees_it() {
    let (_elsewhere, mut stranger) = lab(1);
    let foreign = invite(&mut stranger, "lab");
    let (world, mut nik) = lab(1);
    let network = InvitationLink::parse(&foreign).unwrap().network.to_string();
    let refused = nik.object(&format!("join {foreign}"));
    assert_eq!(refused["code"], "wrong_network", "{refused}");
    assert!(refused["error"].as_str().unwrap().contains(&network), "{refused}");
    // A data directory keeps its network.
    let home = world.path().join("newcomer");
    let data = home.join("data");
    let arguments = ["--data-dir", data.to_str().unwrap()];
    let own = invite(&mut nik, "lab");
    assert_eq!(join(&home, &arguments, &[&own, "ann", "pw-ann"]).status, Some(0));
    let done = join(&home, &arguments, &[&foreign, "bob", "pw-bob"]);
    assert_eq!(done.status, Some(2), "{done:?}");
    assert!(done.errors()[0].contains("--profile NAME"), "{done:?}");
    // A device of the network, with a session of its own, uses the next one as it is.
    let next = invite(&mut nik, "lab");
    let done = join(&home, &arguments, &[&next, "bob", "pw-bob", "whoami"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(done.out.last().unwrap().contains("\"user\":\"bob\""), "{done:?}");
}

#[test]
fn what_is_no_link_is_said_so() {
    let (world, mut nik) = lab(1);
    let link = invite(&mut nik, "lab");
    let home = world.path().join("newcomer");
    let (cut, two) =
        (link[..link.len() - 5].to_owned(), format!("{} {}", &link[..40], &link[40..]));
    let elsewhere = "https://posse.example/join";
    for (bad, why) in
        [(&*cut, "cut short"), (&*two, "spaces"), (elsewhere, "begins with posse:join/")]
    {
        let done = join(&home, &[], &[bad, "ann", "pw-ann"]);
        assert_eq!(done.status, Some(2), "{done:?}");
        assert!(done.errors()[0].contains(why), "{done:?}");
        let quoted = format!("join '{bad}'");
        nik.refused(&quoted, why);
    }
    let done = join(&home, &[], &[]);
    assert_eq!(done.status, Some(2), "{done:?}");
    let done = join(&home, &[], &[&link, "ann"]);
    assert!(results(&done)[0]["error"].as_str().unwrap().contains("a user name and a password"));
    for (wrong, why) in [
        (&["--service"][..], "without --service"),
        (&["6001"], "behind join"),
        (&["-", "--link-file", "x"], "behind join"),
        (&["--link-file", "/nowhere"], "cannot read the link"),
    ] {
        let done = join(&home, wrong, &[]);
        assert_eq!(done.status, Some(2), "{done:?}");
        assert!(done.errors()[0].contains(why), "{done:?}");
    }
    assert!(!home.join(".local").exists(), "nothing was set up");
}

#[test]
fn a_link_that_leads_nowhere_leaves_nothing_behind() {
    let (world, mut nik) = lab(1);
    let link = invite(&mut nik, "lab --uses 2");
    let real = InvitationLink::parse(&link).unwrap();
    // The trackers of this network, and the key of another.
    let group = (real.group, real.label.clone());
    let other = KeyPair::generate().unwrap().network().fingerprint();
    let forged = InvitationLink::new(other, group, real.secret.clone(), &real.trackers).to_text();
    let home = world.path().join("newcomer");
    let done = join(&home, &["--wait-trackers", "1"], &[&forged, "ann", "pw-ann"]);
    assert_eq!(done.status, Some(3), "{done:?}");
    let start = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        command.current_dir(&home).args(words);
        set_home(&mut command, &home);
        Process::spawn("client", &mut command).finish(PATIENCE)
    };
    let done = start(&["-c", "trackers"]);
    assert_eq!(done.status, Some(2), "{done:?}");
    assert!(done.errors()[0].contains("no client has been set up"), "{done:?}");
    // A true one is not hindered.
    let done = join(&home, &[], &[&link, "ann", "pw-ann"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    let done = start(&["-c", "login ann pw-ann", "-c", "list_files lab"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    // Nor does it change whom a device trusts that has met no network.
    let data = home.join("earlier");
    let tracker = real.trackers[0].to_string();
    let (ip, port) = tracker.split_once(':').unwrap();
    let at = ["--data-dir", data.to_str().unwrap(), "--wait-trackers", "1"];
    let words = [&at[..], &["127.0.0.1", "0", "127.0.0.1", "1", "-c", "trackers"]].concat();
    start(&words);
    let done = join(&home, &at, &[&forged, "bob", "pw-bob"]);
    assert!([Some(2), Some(3)].contains(&done.status), "{done:?}");
    let words = [&at[..2], &["127.0.0.1", "0", ip, port, "-c", "login ann pw-ann"]].concat();
    assert_eq!(start(&words).status, Some(0));
}

#[test]
fn a_link_does_not_stay_in_the_process_list() {
    let (world, mut nik) = lab(1);
    let link = invite(&mut nik, "lab --uses 3");
    let home = world.path().join("newcomer");
    let mut process = Process::spawn("client join", &mut join_command(&home, &[&link]));
    process.wait_out("that it listens", |line| line.contains("listening").then_some(()));
    let (pid, proc) = (process.id(), PathBuf::from("/proc"));
    let arguments = std::fs::read(proc.join(pid.to_string()).join("cmdline")).unwrap();
    let arguments = String::from_utf8(arguments).unwrap();
    assert!(arguments.contains("join") && arguments.contains("--link-file"), "{arguments}");
    assert!(!arguments.contains("posse:"), "{arguments}");
    let environment = std::fs::read(proc.join(pid.to_string()).join("environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("posse:join"));
    process.send("ann\npw-ann\nwhoami");
    let done = process.finish(PATIENCE);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(done.out.last().unwrap().contains("\"user\":\"ann\""), "{done:?}");
    // A link alone asks for the same.
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.current_dir(&home).arg(&link).args(["--profile", "eve", "--allow-short-passwords"]);
    set_home(&mut command, &home);
    let mut process = Process::spawn("client link", &mut command);
    process.send("eve\npw-eve\nwhoami");
    let done = process.finish(PATIENCE);
    assert_eq!(done.out.last().map(String::as_str), Some("eve"), "{done:?}");
    // From a file, with commands that come from elsewhere.
    let file = home.join("link.txt");
    std::fs::write(&file, format!("{link}\n")).unwrap();
    let data = home.join("other");
    let arguments = [
        "--link-file",
        file.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
        "-c",
        "list_members lab",
    ];
    let done = join(&home, &arguments, &["bob", "pw-bob"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    let members = &results(&done)[1];
    assert_eq!(members["members"].as_array().unwrap().len(), 4, "{members}");
}

#[test]
fn members_invite_if_the_owner_lets_them() {
    let (world, mut nik) = lab(2);
    let link = invite(&mut nik, "lab");
    let mut ann = world.client("ann");
    ann.ok(&format!("create_user ann pw-ann {link}"), &[]);
    ann.login("ann");
    ann.refused("invite lab", "only the owner of the group may invite");
    ann.refused("group_settings lab --members-invite on", "only the owner");
    assert_eq!(ann.object("group_settings lab")["members_invite"], false);
    nik.ok("group_settings lab --members-invite on", &[]);
    nik.refused("group_settings lab --members-invite perhaps", "on or off");
    assert_eq!(ann.object("list_my_groups")["groups"][0]["members_invite"], true);
    let link = invite(&mut ann, "lab --uses 2");
    joins(&world, &link, "bob");
    let members = nik.object("list_members lab");
    assert_eq!(members["members"][2]["invited_by"], "ann", "{members}");
    // The owner sees and ends what members have made; they see their own.
    let mut seen = nik.object("invites");
    let listed = seen["invites"].as_array_mut().unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(ann.object("invites")["invites"].as_array().unwrap().len(), 1);
    nik.ok("remove_member lab ann", &[]);
    turned_away(&world, &link, "eve", "void");
    // Who was removed does not come back by what was made before.
    let [spare, other] = [(); 2].map(|()| invite(&mut nik, "lab --uses 9"));
    ann.ok(&format!("join {spare}"), &[]);
    // The invitation by which ann had come ends, and the owner is told of the one that is left.
    let removed = nik.object("remove_member lab ann");
    assert_eq!(removed["open_invites"], 1, "{removed}");
    assert_eq!(removed["revoked_invites"].as_array().unwrap().len(), 1, "{removed}");
    turned_away(&world, &spare, "ann2", "revoked");
    ann.refused(&format!("join {other}"), "since the invitation was made");
    let audit = admin(&world, &["audit", "--since", "1h"]).join("\n");
    assert!(audit.contains("bob: create_user lab"), "{audit}");
    assert!(audit.contains("invited by ann"), "{audit}");
    assert!(!audit.contains(&link[11 + 64..]), "{audit}");
}

#[test]
fn accounts_by_invitation_are_made_with_a_link_alone() {
    let (world, mut nik) = lab(1);
    admin(&world, &["accounts", "invite"]);
    let mut eve = world.client("eve");
    eve.refused("create_user eve pw-eve", "only with an invitation");
    let link = invite(&mut nik, "lab");
    // The name is taken: with its password the account joins, with another one nothing happens.
    let home = world.path().join("again");
    let done = join(&home, &[], &[&link, "nik", "wrong-one"]);
    assert!(results(&done)[0]["error"].as_str().unwrap().contains("wrong user name"), "{done:?}");
    joins(&world, &link, "ann");
    eve.refused(&format!("create_user eve pw-eve {link}"), "used as often");
    admin(&world, &["accounts", "closed"]);
    let link = invite(&mut nik, "lab");
    eve.refused(&format!("create_user eve pw-eve {link}"), "takes no new accounts");
}

#[test]
fn a_tracker_that_dies_between_loses_no_newcomer() {
    let (mut world, mut nik) = lab(2);
    let [first, second] = [(); 2].map(|()| invite(&mut nik, "lab"));
    world.wait_synced();
    world.trackers[0].kill9();
    joins(&world, &first, "ann");
    world.trackers[1].kill9();
    // The first one has not heard of ann: it lets another one in by the same link.
    world.trackers[0].restart();
    joins(&world, &first, "bob");
    world.trackers[1].restart();
    world.wait_synced();
    let members = nik.object("list_members lab");
    assert_eq!(members["members"].as_array().unwrap().len(), 3, "{members}");
    let open = nik.object("invites");
    let used: Vec<u64> =
        open["invites"].as_array().unwrap().iter().map(|i| i["used"].as_u64().unwrap()).collect();
    assert!(used.contains(&2) && used.contains(&0), "both count: {open}");
    turned_away(&world, &first, "eve", "used as often");
    joins(&world, &second, "eve");
}

#[test]
fn a_scripted_client_joins_by_a_line_that_is_a_link() {
    let (world, mut nik) = lab(1);
    let link = invite(&mut nik, "lab");
    let mut ann = world.client("ann");
    ann.refused(&link, "log in first");
    ann.enter("ann");
    let joined = ann.object(&link);
    assert_eq!((&joined["command"], &joined["group"]), (&"join".into(), &"lab".into()), "{joined}");
    let again = ann.object(&link);
    assert_eq!((&again["ok"], &again["group"]), (&true.into(), &"lab".into()), "{again}");
    assert_eq!(nik.object("invites")["invites"][0]["used"], 1, "it counts once");
    ann.ok("list_files lab", &[]);
    let plain = world.plain("bob");
    drop(plain);
    let said = world.script("nik-plain", &["-c", "login nik pw-nik", "-c", "invite lab"], &[]);
    let lines: Vec<&String> = said.out.iter().filter(|line| line.starts_with("posse:")).collect();
    assert_eq!(lines.len(), 1, "a script gets the link and no drawing: {said:?}");
}

#[test]
fn client_join_uses_a_client_that_runs() {
    let (world, mut nik) = lab(1);
    let mut ann = world.client("ann");
    ann.enter("ann");
    let data = ann.path(".posse");
    let link = invite(&mut nik, "lab");
    let done = join(&ann.home.clone(), &["--data-dir", data.to_str().unwrap()], &[&link, "whoami"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    let results = results(&done);
    assert_eq!((&results[0]["command"], &results[0]["group"]), (&"join".into(), &"lab".into()));
    assert_eq!(results[1]["user"], "ann", "the session of the running client is used: {done:?}");
    ann.ok("list_files lab", &[]);
}

/// The script that the desktop starts for `posse:` links, with a terminal that notes its arguments.
#[test]
fn the_desktop_hands_a_link_over_without_naming_it_to_the_terminal() {
    let (world, mut nik) = lab(1);
    let link = invite(&mut nik, "lab");
    let home = world.path().join("newcomer");
    let tools = home.join("bin");
    std::fs::create_dir_all(&tools).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_client"), tools.join("posse")).unwrap();
    let noted = home.join("noted");
    let terminal =
        format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >'{}'\nshift\nexec \"$@\"\n", noted.display());
    let path = tools.join("x-terminal-emulator");
    std::fs::write(&path, terminal).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/desktop/posse-join");
    let mut command = Command::new("sh");
    command.arg(&script).arg(&link).current_dir(&home);
    set_home(&mut command, &home);
    command.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    command.env("XDG_RUNTIME_DIR", &home);
    let mut process = Process::spawn("posse-join", &mut command);
    process.send("ann\npw-ann-long\nwhoami");
    let done = process.finish(PATIENCE);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(done.out.last().map(String::as_str), Some("ann"), "{done:?}");
    let noted = std::fs::read_to_string(noted).unwrap();
    assert!(noted.starts_with("-e\nsh\n") && !noted.contains("posse:join"), "{noted}");
    let left = || {
        let names = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.as_bytes().starts_with(b"posse-link")).collect::<Vec<_>>()
    };
    assert!(left().is_empty(), "{:?}", left());
    // A terminal that does not start leaves no link behind.
    std::fs::write(&path, "#!/bin/sh\nexit 3\n").unwrap();
    let mut command = Command::new("sh");
    command.arg(script).arg(&link).current_dir(&home);
    command.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    command.env("XDG_RUNTIME_DIR", &home);
    let done = Process::spawn("posse-join", &mut command).finish(PATIENCE);
    assert_eq!((done.status, left()), (Some(3), Vec::new()), "{done:?}");
}
