//! Each row of the command table, with each refusal, in plain words and as JSON: one play, staged
//! twice.
//!
//! A line of the play is who types what, and either the lines that a plain client must print (`*`
//! stands for any text), or words that the refusal must hold. A JSON client must say the same with
//! `"ok"`.

use crate::harness::{ClientProcess, Content, World};

/// What must come of a command.
enum Must<'a> {
    Print(&'a [&'a str]),
    Refuse(&'a str),
}
use Must::{Print, Refuse};

/// Three users with a client each.
struct Stage {
    nik: ClientProcess,
    bob: ClientProcess,
    eve: ClientProcess,
    world: World,
}

impl Stage {
    fn new(json: bool) -> Self {
        let world = World::new(1);
        let client = |name| if json { world.client(name) } else { world.plain(name) };
        Self { nik: client("nik"), bob: client("bob"), eve: client("eve"), world }
    }

    #[track_caller]
    fn play(&mut self, lines: &[(&str, &str, Must<'_>)]) {
        for (who, command, must) in lines {
            let client = match *who {
                "nik" => &mut self.nik,
                "bob" => &mut self.bob,
                "eve" => &mut self.eve,
                other => panic!("nobody is called {other}"),
            };
            match must {
                Print(lines) => client.ok(command, lines),
                Refuse(words) => client.refused(command, words),
            }
        }
    }

    /// The three have accounts and are logged in; nik owns `lab`, and bob is a member.
    fn settle(&mut self) {
        for client in [&mut self.nik, &mut self.bob, &mut self.eve] {
            let user = client.home.file_name().unwrap().to_str().unwrap().to_owned();
            client.enter(&user);
        }
        self.play(&[
            ("nik", "create_group lab", Print(&["created group lab"])),
            ("bob", "join_group lab", Print(&["asked to join lab"])),
            ("nik", "accept_request lab bob", Print(&["accepted bob into lab"])),
        ]);
    }
}

fn twice(play: fn(&mut Stage)) {
    for json in [false, true] {
        play(&mut Stage::new(json));
    }
}

const LOGIN_FIRST: Must<'static> = Refuse("log in first");

#[test]
fn accounts_and_sessions() {
    twice(|stage| {
        stage.play(&[
            ("nik", "create_user nik pw", Print(&["created user nik"])),
            ("nik", "create_user nik other", Refuse("taken")),
            ("nik", "create_user .nik pw", Refuse("user name")),
            ("nik", "create_user 'a b' pw", Refuse("user name")),
            ("nik", "create_user bad/name pw", Refuse("user name")),
            (
                "nik",
                "create_user nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn pw",
                Refuse("64"),
            ),
            ("nik", "create_user empty ''", Refuse("password")),
            ("nik", "whoami", LOGIN_FIRST),
            ("nik", "logout", LOGIN_FIRST),
            ("nik", "login nik wrong", Refuse("wrong user name or password")),
            ("nik", "login nobody pw", Refuse("wrong user name or password")),
            ("nik", "login nik pw", Print(&["logged in as nik"])),
            ("nik", "login nik pw", Refuse("already logged in")),
            ("nik", "whoami", Print(&["nik"])),
            ("nik", "change_password wrong new", Refuse("old password")),
            ("nik", "change_password pw new", Print(&["password changed"])),
            ("nik", "logout", Print(&["logged out"])),
            ("nik", "logout", LOGIN_FIRST),
            ("nik", "login nik pw", Refuse("wrong user name or password")),
            ("nik", "login nik new", Print(&["logged in as nik"])),
        ]);
    });
}

#[test]
fn everything_else_needs_a_session() {
    twice(|stage| {
        for command in [
            "logout",
            "create_group lab",
            "join_group lab",
            "leave_group lab",
            "list_requests lab",
            "accept_request lab bob",
            "reject_request lab bob",
            "remove_member lab bob",
            "transfer_group lab bob",
            "list_groups",
            "list_my_groups",
            "list_members lab",
            "rename_group lab club",
            "delete_group lab --yes",
            "remove_file lab a.bin --yes",
            "delete_account --yes",
            "find a",
            "upload_file /etc/hostname lab",
            "list_files lab",
            "download_file lab a.bin",
            "pause_download lab a.bin",
            "resume_download lab a.bin",
            "cancel_download lab a.bin",
            "why lab a.bin",
            "stop_share lab a.bin",
            "change_password a b",
            "whoami",
        ] {
            stage.nik.refused(command, "log in first");
        }
    });
}

#[test]
fn groups_and_their_owners() {
    twice(|stage| {
        stage.settle();
        stage.play(&[
            ("eve", "create_group lab", Refuse("taken")),
            ("eve", "create_group -lab", Refuse("group name")),
            ("eve", "list_groups", Print(&["lab\t2 members\towner nik"])),
            ("eve", "list_my_groups", Print(&["no groups"])),
            ("eve", "join_group lob", Refuse("no such group")),
            ("bob", "join_group lab", Refuse("already a member")),
            ("nik", "join_group lab", Refuse("already a member")),
            ("nik", "list_requests lab", Print(&["no requests"])),
            ("eve", "join_group lab", Print(&["asked to join lab"])),
            ("eve", "join_group lab", Refuse("already asked")),
            ("eve", "list_my_groups", Print(&["lab\trequested\t2 members"])),
            ("nik", "list_requests lab", Print(&["eve"])),
            ("bob", "list_requests lab", Refuse("only the owner")),
            ("eve", "list_requests lab", Refuse("only the owner")),
            ("nik", "list_requests lob", Refuse("no such group")),
            ("bob", "accept_request lab eve", Refuse("only the owner")),
            ("bob", "reject_request lab eve", Refuse("only the owner")),
            ("nik", "accept_request lab bob", Refuse("no such request")),
            ("nik", "reject_request lab bob", Refuse("no such request")),
            ("nik", "accept_request lab ghost", Refuse("no such")),
            ("nik", "reject_request lab eve", Print(&["rejected eve for lab"])),
            ("nik", "reject_request lab eve", Refuse("no such request")),
            ("eve", "list_members lab", Refuse("not a member")),
            ("eve", "leave_group lab", Refuse("not a member")),
            ("eve", "join_group lab", Print(&["asked to join lab"])),
            ("nik", "accept_request lab eve", Print(&["accepted eve into lab"])),
            (
                "eve",
                "list_members lab",
                Print(&["nik\towner\tonline", "bob\tmember\tonline", "eve\tmember\tonline"]),
            ),
            ("bob", "remove_member lab eve", Refuse("only the owner")),
            ("nik", "remove_member lab ghost", Refuse("not a member")),
            ("nik", "remove_member lab nik", Refuse("leave_group")),
            ("nik", "remove_member lab eve", Print(&["removed eve from lab"])),
            ("nik", "remove_member lab eve", Refuse("not a member")),
            ("nik", "transfer_group lab eve", Refuse("not a member")),
            ("bob", "transfer_group lab bob", Refuse("only the owner")),
            ("nik", "transfer_group lab bob", Print(&["lab now belongs to bob"])),
            ("nik", "list_my_groups", Print(&["lab\tmember\t2 members"])),
            ("bob", "list_my_groups", Print(&["lab\towner\t2 members"])),
            ("bob", "leave_group lab", Print(&["left lab"])),
            ("bob", "leave_group lab", Refuse("not a member")),
            ("nik", "list_my_groups", Print(&["lab\towner\t1 member"])),
            ("nik", "leave_group lab", Print(&["left lab"])),
            ("nik", "list_groups", Print(&["no groups"])),
            ("nik", "join_group lab", Refuse("no such group")),
            ("eve", "create_group lab", Print(&["created group lab"])),
        ]);
    });
}

#[test]
fn files_are_shared_listed_fetched_and_stopped() {
    twice(|stage| {
        stage.settle();
        let content = Content::new("a file.bin", 1_300_000, 1);
        let path = stage.world.put("nik", &content);
        stage.world.put("eve", &content);
        let other = Content::new("a file.bin", 1000, 2);
        let sub = stage.world.home("bob").join("sub");
        std::fs::create_dir(&sub).unwrap();
        other.write(&sub.join("a file.bin"));
        let sha1 = content.sha1();
        let sharing = format!("sharing a file.bin in lab\t1300000 bytes\tsha1 {sha1}");
        let listed = format!("a file.bin\t1300000\t{sha1}\tnik\t1 online");
        let twice = format!("a file.bin\t1300000\t{sha1}\tnik,bob\t2 online");
        let absent = format!("a file.bin\t1300000\t{sha1}\tbob\t1 online");
        let copy = stage.world.home("bob").join("a file.bin");
        let downloading = format!("downloading a file.bin from lab to {}", copy.display());
        let done = format!("[C] [lab] a file.bin\t{}", copy.display());
        let upload = format!("upload_file '{}' lab", path.display());
        stage.play(&[
            ("bob", "list_files lab", Print(&["no files"])),
            ("eve", "list_files lab", Refuse("not a member")),
            ("eve", "list_files lob", Refuse("no such group")),
            ("eve", "upload_file 'a file.bin' lab", Refuse("not a member")),
            ("nik", "upload_file absent.bin lab", Refuse("absent.bin")),
            ("nik", "upload_file . lab", Refuse("")),
            ("nik", "upload_file /dev/null lab", Refuse("")),
            ("nik", "show_uploads", Print(&["no uploads"])),
            ("nik", &upload, Print(&[&sharing])),
            ("nik", "upload_file lab 'a file.bin'", Print(&[&sharing])),
            ("bob", "upload_file 'sub/a file.bin' lab", Refuse("another file of that name")),
            ("bob", "list_files lab", Print(&[&listed])),
            ("eve", "download_file lab 'a file.bin'", Refuse("not a member")),
            ("bob", "download_file lab absent.bin", Refuse("no such file")),
            ("bob", "download_file lob 'a file.bin'", Refuse("no such group")),
            ("bob", "download_file lab 'a file.bin' sub", Refuse("exist")),
            ("bob", "show_downloads", Print(&["no downloads"])),
            ("bob", "pause_download lab 'a file.bin'", Refuse("no such download")),
            ("bob", "resume_download lab 'a file.bin'", Refuse("no such download")),
            ("bob", "cancel_download lab 'a file.bin'", Refuse("no such download")),
            ("bob", "why lab 'a file.bin'", Refuse("no such download")),
            ("bob", "download_file lab 'a file.bin'", Print(&[&downloading])),
        ]);
        stage.bob.wait_downloads();
        assert_eq!(std::fs::read(&copy).unwrap(), content.bytes);
        stage.play(&[
            ("bob", "show_downloads", Print(&[&done])),
            ("bob", "list_files lab", Print(&[&twice])),
            ("nik", "show_uploads", Print(&["[lab] a file.bin\t*peers\t1300000 bytes sent"])),
            ("nik", "stop_share lab 'a file.bin'", Print(&["stopped sharing a file.bin in lab"])),
            ("nik", "stop_share lab 'a file.bin'", Refuse("do not share")),
            ("nik", "stop_share lab absent.bin", Refuse("do not share")),
            ("bob", "list_files lab", Print(&[&absent])),
            ("bob", "stop_share lab 'a file.bin'", Print(&["stopped sharing a file.bin in lab"])),
            ("bob", "list_files lab", Print(&["no files"])),
        ]);
    });
}

#[test]
fn downloads_are_paused_resumed_explained_and_cancelled() {
    twice(|stage| {
        stage.settle();
        let content = Content::new("big.bin", 2_000_000, 3);
        stage.world.put("nik", &content);
        let copy = stage.world.home("bob").join("copy.bin");
        let downloading = format!("downloading big.bin from lab to {}", copy.display());
        stage.play(&[
            ("nik", "upload_file big.bin lab", Print(&["sharing big.bin in lab\t*"])),
            // Nobody online has it: it waits, and says so.
            ("nik", "logout", Print(&["logged out"])),
            ("bob", "download_file lab big.bin copy.bin", Print(&[&downloading])),
            // Asked for again, it is the same download.
            ("bob", "download_file lab big.bin copy.bin", Print(&[&downloading])),
        ]);
        stage.play(&[
            ("bob", "show_downloads", Print(&["[D] [lab] big.bin\t*"])),
            ("bob", "pause_download lab big.bin", Print(&["paused big.bin in lab"])),
            ("bob", "show_downloads", Print(&["[P] [lab] big.bin\t*paused*"])),
            ("bob", "resume_download lab big.bin", Print(&["resumed big.bin in lab"])),
            ("bob", "cancel_download lab big.bin", Print(&["cancelled big.bin in lab"])),
            ("bob", "show_downloads", Print(&["no downloads"])),
        ]);
        let left: Vec<_> = std::fs::read_dir(stage.world.home("bob"))
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(left, [".posse"], "a cancelled download leaves nothing behind");
    });
}

#[test]
fn a_wrong_number_of_words_shows_the_usage() {
    twice(|stage| {
        for command in [
            "create_user nik",
            "create_user nik pw more",
            "login a b c",
            "logout now",
            "create_group",
            "create_group a b",
            "join_group",
            "leave_group",
            "list_requests",
            "accept_request lab",
            "reject_request lab",
            "remove_member lab",
            "transfer_group lab",
            "list_groups a b",
            "find",
            "rename_group lab",
            "delete_group",
            "remove_file lab",
            "delete_account now",
            "list_my_groups all",
            "list_members",
            "upload_file lab",
            "upload_file a b c",
            "list_files",
            "download_file lab",
            "download_file a b c d",
            "show_downloads all",
            "pause_download lab",
            "resume_download lab",
            "cancel_download lab",
            "show_uploads all",
            "why lab",
            "stop_share lab",
            "change_password old new more",
            "whoami really",
            "trackers all",
            "wait 1 2",
            "sleep",
            "help a b",
        ] {
            let word = command.split(' ').next().unwrap();
            stage.nik.refused(command, &format!("usage: {word}"));
        }
        stage.nik.refused("no_such_command", "no_such_command");
        stage.nik.refused("login 'unclosed", "quot");
    });
}
