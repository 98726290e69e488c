//! The client at a terminal, which util-linux's `script` makes: prompt, hidden passwords, history.
//! Skipped where there is no `script`.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::harness::{Behaviour, Content, EvilPeer, World, eventually, set_home, sha1_of};

/// What somebody new is asked behind a link, and answers.
const NEW_ACCOUNT: [(&str, &str); 3] = [
    ("user name: ", "ann"),
    ("password: ", "correct-horse"),
    ("password again, or Enter if you have an account there: ", "correct-horse"),
];

/// A client with a terminal; both end with this value.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<String>>,
    /// Bytes of the screen that were waited for already.
    seen: usize,
}

impl Terminal {
    fn start(world: &World, name: &str) -> Option<Self> {
        Self::start_command(world, name, "", "")
    }

    /// Starts a client with these arguments, quoted for a shell.
    fn start_with(world: &World, name: &str, args: &str) -> Option<Self> {
        Self::start_command(world, name, "", args)
    }

    /// Starts a client at a screen that says its size.
    fn start_sized(world: &World, name: &str, columns: usize, lines: usize) -> Option<Self> {
        let size = format!("stty cols {columns} rows {lines}; exec ");
        Self::start_command(world, name, &size, "")
    }

    fn start_command(world: &World, name: &str, before: &str, args: &str) -> Option<Self> {
        let client = env!("CARGO_BIN_EXE_client");
        let home = world.home(name);
        let command = format!(
            "{before}'{client}' 127.0.0.1:0 '{}' --data-dir '{}/.posse' {args}",
            world.info.display(),
            home.display()
        );
        Self::start_shell(world, name, &command)
    }

    /// Runs a command of a shell at a terminal.
    fn start_shell(world: &World, name: &str, command: &str) -> Option<Self> {
        let home = world.home(name);
        let mut script = Command::new("script");
        script
            .args(["-qefc", command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .current_dir(&home);
        set_home(&mut script, &home);
        let Ok(mut child) = script.env("TERM", "xterm").spawn() else {
            eprintln!("SKIPPED: there is no `script` here to make a terminal with");
            return None;
        };
        let screen = Arc::new(Mutex::new(String::new()));
        let (keys, mut out) = (child.stdin.take()?, child.stdout.take()?);
        std::thread::spawn({
            let screen = screen.clone();
            move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = out.read(&mut buffer) {
                    screen.lock().push_str(&String::from_utf8_lossy(&buffer[..len]));
                }
            }
        });
        Some(Self { child, keys, screen, seen: 0 })
    }

    /// Waits until the screen shows `text` behind what was waited for before.
    #[track_caller]
    fn wait(&mut self, text: &str) {
        let end = eventually(&format!("the terminal shows {text:?}"), || {
            let screen = self.screen.lock();
            screen[self.seen..].find(text).map(|at| self.seen + at + text.len())
        });
        self.seen = end;
    }

    /// Logs in, at the first prompt.
    #[track_caller]
    fn login(&mut self, user: &str) {
        self.wait("posse> ");
        self.press(&format!("login {user} pw-{user}\r"));
        self.wait(&format!("{user}> "));
    }

    /// What the screen shows of a command, from its echo to the prompt behind it.
    #[track_caller]
    fn shown(&mut self, command: &str, prompt: &str) -> Vec<String> {
        self.press(&format!("{command}\r"));
        self.wait("\n");
        let from = self.seen;
        self.wait(prompt);
        let screen = self.screen.lock();
        let text = screen[from..self.seen].replace('\r', "");
        text.lines().filter(|line| !line.contains('\x1b')).map(str::to_owned).collect()
    }

    /// Answers the questions of a link as somebody new does.
    #[track_caller]
    fn new_account(&mut self) {
        for (what, answer) in NEW_ACCOUNT {
            self.wait(what);
            self.press(&format!("{answer}\r"));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The end of its terminal ends the client.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("==== the terminal ====\n{}", self.screen.lock().escape_debug());
        }
    }
}

#[test]
fn at_a_terminal_there_are_a_prompt_and_history_and_passwords_stay_hidden() {
    const SECRET: &str = "tr0ub4dor";
    let world = World::new(1);
    let Some(mut terminal) = Terminal::start(&world, "nik") else { return };
    for command in ["create_user nik", "login nik"] {
        terminal.wait("posse> ");
        terminal.press(&format!("{command}\r"));
        terminal.wait("password: ");
        terminal.press(&format!("{SECRET}\r"));
        if command.starts_with("create") {
            terminal.wait("password again: ");
            terminal.press(&format!("{SECRET}\r"));
        }
    }
    terminal.wait("logged in as nik");
    terminal.wait("nik> ");
    assert!(!terminal.screen.lock().contains(SECRET), "a password that was asked for is shown");
    for (again, said) in [("other-secre", "passwords differ"), ("other-secret", "old password")] {
        terminal.press("change_password not-it\r");
        terminal.wait("new password: ");
        terminal.press("other-secret\r");
        terminal.wait("new password again: ");
        terminal.press(&format!("{again}\r"));
        terminal.wait(said);
        terminal.wait("nik> ");
    }
    terminal.press("list_group\r");
    terminal.wait("did you mean list_groups?");
    terminal.wait("nik> ");
    terminal.press(&format!("change_password {SECRET} other-secret\r"));
    terminal.wait("password changed");
    terminal.wait("nik> ");
    terminal.press("whoami\r");
    terminal.wait("nik\r\n");
    terminal.wait("nik> ");
    // The command before the last one had passwords in it: it is not in the history.
    terminal.press("\x1b[A\x1b[A");
    terminal.wait("whoami");
    terminal.press("\x15list_groups\r");
    terminal.wait("no groups");
    terminal.wait("nik> ");
    terminal.press("exit\r");
    let status = eventually("it ends", || terminal.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    for entry in std::fs::read_dir(world.home("nik").join(".posse")).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            !text.contains(SECRET) && !text.contains("other-secret"),
            "{:?} holds a password",
            entry.path()
        );
    }
}

#[test]
fn progress_is_drawn_above_the_prompt_while_nobody_types() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 8 << 19, 91);
    let seeder = EvilPeer::start(world.tracker(1), "nik", "lab", &content, Behaviour::Honest);
    seeder.allow_bytes(0);
    let Some(mut terminal) = Terminal::start(&world, "bob") else { return };
    terminal.wait("posse> ");
    terminal.press("login bob pw-bob\r");
    terminal.wait("logged in as bob");
    terminal.wait("bob> ");
    terminal.press("download_file lab big.bin\r");
    terminal.wait("[lab] big.bin [                    ]   0%");
    terminal.wait("bob> ");
    terminal.press("who");
    terminal.wait("who");
    seeder.allow_bytes(4 << 19);
    terminal.wait("[==========          ]  50%");
    terminal.wait("bob> who");
    seeder.lift();
    terminal.wait("[C] [lab] big.bin  ");
    terminal.wait("bob> who");
    terminal.press("ami\r");
    terminal.wait("\nbob\r\n");
}

#[test]
fn what_cannot_be_undone_is_asked_for_once() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let Some(mut terminal) = Terminal::start(&world, "nik") else { return };
    terminal.wait("posse> ");
    terminal.press("login nik pw-nik\r");
    terminal.wait("nik> ");
    for answer in ["\r", "n\r", "\x03"] {
        terminal.press("delete_group lab\r");
        terminal.wait("go on? [y/N] ");
        terminal.press(answer);
        terminal.wait(if answer == "\x03" { "interrupted" } else { "nothing was changed" });
        terminal.wait("nik> ");
    }
    terminal.press("rename_group lab club\r");
    terminal.wait("go on? [y/N] ");
    terminal.press("yes\r");
    terminal.wait("lab is now called club");
    terminal.wait("nik> ");
    terminal.press("delete_group club --yes\r");
    terminal.wait("deleted club");
}

#[test]
fn a_command_on_the_command_line_asks_for_its_password() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let args = "-c 'login nik' -c whoami -c 'change_password pw-nik'";
    let Some(mut terminal) = Terminal::start_with(&world, "nik", args) else { return };
    terminal.wait("password: ");
    terminal.press("pw-nik\r");
    terminal.wait("logged in as nik");
    terminal.wait("nik\r\n");
    for what in ["new password: ", "new password again: "] {
        terminal.wait(what);
        terminal.press("other-secret\r");
    }
    terminal.wait("password changed");
    let status = eventually("it ends", || terminal.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(!terminal.screen.lock().contains("other-secret"), "a password is shown");
    // Without a terminal there is nobody to ask.
    let piped = world.script("nik", &["-c", "login nik"], &[]);
    assert_eq!(piped.status, Some(1), "{piped:#?}");
    assert!(piped.errors()[0].contains("words are missing"), "{piped:#?}");
}

#[test]
fn a_short_password_needs_a_second_enter() {
    let world = World::new(1);
    let Some(mut terminal) = Terminal::start(&world, "nik") else { return };
    for (answer, said) in [("\x03", "interrupted"), ("\r", "created user nik")] {
        terminal.wait("posse> ");
        terminal.press("create_user nik\r");
        for what in ["password: ", "password again: "] {
            terminal.wait(what);
            terminal.press("short\r");
        }
        terminal.wait("fewer than 8 characters");
        terminal.wait("Enter goes on");
        terminal.press(answer);
        terminal.wait(said);
    }
}

#[test]
fn several_lines_that_are_pasted_are_as_many_commands() {
    const SECRET: &str = "tr0ub4dor-and-three";
    let world = World::new(1);
    let Some(mut terminal) = Terminal::start(&world, "nik") else { return };
    terminal.wait("posse> ");
    let paste = |lines: &[&str]| format!("\x1b[200~{}\x1b[201~\r", lines.join("\r"));
    let create = format!("create_user nik {SECRET}");
    let login = format!("login nik {SECRET}");
    terminal.press(&paste(&["trackers", &create, &login, "create_group lab", SECRET, ""]));
    terminal.wait("created user nik");
    terminal.wait("logged in as nik");
    terminal.wait("created group lab");
    terminal.wait("unknown command");
    terminal.wait("nik> ");
    // A command that was mistyped can be mended.
    terminal.press("list_grops\r");
    terminal.wait("did you mean list_groups?");
    terminal.wait("nik> ");
    terminal.press("\x1b[A");
    terminal.wait("list_grops");
    terminal.press("\x15logn nik other-secret\r");
    terminal.wait("did you mean login?");
    terminal.wait("nik> ");
    terminal.press("exit\r");
    eventually("it ends", || terminal.child.try_wait().unwrap());
    let history = std::fs::read_to_string(world.home("nik").join(".posse/history")).unwrap();
    assert!(!history.contains(SECRET) && !history.contains("other-secret"), "{history}");
    let kept: Vec<&str> = history.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(kept, ["trackers", "create_user nik", "list_grops", "logn nik", "exit"]);
}

/// A link, made by the owner of lab.
fn link_to_lab(world: &World) -> String {
    let mut nik = world.client("owner");
    nik.login("nik");
    nik.object("invite lab --uses 9")["link"].as_str().unwrap().to_owned()
}

#[test]
fn a_link_that_is_pasted_joins_and_is_not_kept() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let link = link_to_lab(&world);
    let Some(mut terminal) = Terminal::start(&world, "ann") else { return };
    terminal.wait("posse> ");
    // A newcomer makes an account on the way.
    terminal.press(&format!("\x1b[200~{link}\x1b[201~\r"));
    terminal.wait("invites you to the group lab");
    terminal.new_account();
    terminal.wait("created user ann");
    terminal.wait("you are a member of lab");
    terminal.wait("ann> ");
    terminal.press("invite lab\r");
    terminal.wait("only the owner");
    terminal.wait("ann> ");
    terminal.press("logout\r");
    terminal.wait("posse> ");
    // The link is asked for, and not shown.
    let at = terminal.screen.lock().len();
    terminal.press("join\r");
    terminal.wait("invitation link (it is not shown): ");
    terminal.press(&format!("{link}\r"));
    terminal.new_account();
    terminal.wait("the name ann is taken; log in as ann instead?");
    terminal.press("y\r");
    terminal.wait("password: ");
    terminal.press("correct-horse\r");
    terminal.wait("you are a member of lab");
    assert!(!terminal.screen.lock()[at..].contains(&link[20..]), "it is shown");
    terminal.wait("ann> ");
    terminal.press("exit\r");
    eventually("it ends", || terminal.child.try_wait().unwrap());
    let history = std::fs::read_to_string(world.home("ann").join(".posse/history")).unwrap();
    let kept: Vec<&str> = history.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(kept, ["join", "invite lab", "logout", "join", "exit"]);
}

#[test]
fn client_join_goes_on_at_the_prompt() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let link = link_to_lab(&world);
    let client = env!("CARGO_BIN_EXE_client");
    let command = format!("'{client}' join '{link}'");
    let Some(mut terminal) = Terminal::start_shell(&world, "ann", &command) else { return };
    // The network is named before a password is asked for.
    terminal.wait("in a network that is new to this device, with tracker 127.0.0.1:");
    terminal.wait("and key sha256:");
    terminal.new_account();
    terminal.wait("you are a member of lab");
    terminal.wait("ann> ");
    assert!(
        terminal.shown("list_members lab", "ann> ").iter().any(|l| l.contains("invited by nik"))
    );
    terminal.press("exit\r");
    eventually("it ends", || terminal.child.try_wait().unwrap());
    // Without a link it is asked for; who has an account logs in.
    let command = format!("'{client}' join --profile other");
    let Some(mut terminal) = Terminal::start_shell(&world, "ann", &command) else { return };
    terminal.wait("invitation link (it is not shown): ");
    terminal.press(&format!("{link}\r"));
    terminal.wait("user name: ");
    terminal.press("ann\r");
    terminal.wait("password: ");
    terminal.press("correct-horse\r");
    terminal.wait("or Enter if you have an account there: ");
    terminal.press("\r");
    // Joining where one is a member already is no failure.
    terminal.wait("you are a member of lab");
    terminal.wait("ann> ");
    // A taken name is no reason to give away the password of another network.
    let command = format!("'{client}' join --profile third '{link}'");
    let Some(mut terminal) = Terminal::start_shell(&world, "ann", &command) else { return };
    terminal.new_account();
    terminal.wait("the name ann is taken in a network that is new to this device, with tracker ");
    terminal.wait("log in as ann instead?");
    terminal.press("no\r");
    terminal.wait("posse> ");
}

/// README says the number.
#[test]
fn a_newcomer_has_a_file_after_six_lines() {
    let mut world = World::new(1);
    world.group("lab", &["nik"]);
    let content = Content::new("a.bin", 1 << 20, 78);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file a.bin lab", &[]);
    let link = nik.object("invite lab")["link"].as_str().unwrap().to_owned();
    world.wait_synced();
    // A machine that has the program, and nothing else.
    let home = world.home("newcomer");
    let Some(mut terminal) = Terminal::start_shell(&world, "newcomer", "exec sh") else { return };
    let client = format!("'{}' join", env!("CARGO_BIN_EXE_client"));
    let begin = [("$ ", client.as_str()), ("invitation link (it is not shown): ", &link)];
    let end = [("ann> ", "download_file lab a.bin")];
    let lines = begin.into_iter().chain(NEW_ACCOUNT).chain(end);
    let mut count = 0;
    for (asked, line) in lines {
        terminal.wait(if asked == "$ " && is_root() { "# " } else { asked });
        terminal.press(&format!("{line}\r"));
        count += 1;
    }
    eventually("the file is there", || home.join("a.bin").exists().then_some(()));
    assert_eq!(count, 6);
    assert_eq!(sha1_of(&home.join("a.bin")), content.sha1());
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|said| said.stdout == b"0\n")
}

#[test]
fn an_invitation_is_drawn_at_a_terminal() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let Some(mut terminal) = Terminal::start_sized(&world, "nik", 80, 60) else { return };
    terminal.login("nik");
    let shown = terminal.shown("invite lab", "nik> ");
    assert!(shown[0].starts_with("posse:join/"), "{shown:#?}");
    let drawn = shown.iter().filter(|line| line.contains('\u{2588}') || line.contains('\u{2580}'));
    assert!(drawn.count() > 20, "{shown:#?}");
    assert!(shown.iter().any(|line| line.contains("lets one user into lab until")), "{shown:#?}");
    assert!(shown.last().unwrap().contains("this machine alone"), "{shown:#?}");
}

#[test]
fn names_are_completed_as_they_are_typed() {
    let family = "family \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}.png";
    let persian = "\u{6a9}\u{62a}\u{627}\u{628}\u{200c}\u{647}\u{627}.pdf";
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let mut nik = world.client("nik");
    nik.login("nik");
    for (seed, name) in
        ["Holiday in Rome (2024).mp4", "it's.txt", family, persian].iter().enumerate()
    {
        world.put("nik", &Content::new(name, 1000, seed as u64));
        nik.ok(&format!("upload_file {} lab", shell_words::quote(name)), &[]);
    }
    let Some(mut terminal) = Terminal::start_sized(&world, "bob", 200, 50) else { return };
    terminal.login("bob");
    for (typed, shown, name) in [
        ("Hol\t", "Holiday\\ in\\ Rome\\ (2024).mp4", "Holiday in Rome (2024).mp4"),
        ("'it\t", "'it'\\''s.txt'", "it's.txt"),
        ("\"family \t", family, family),
        ("\u{6a9}\t", persian, persian),
    ] {
        terminal.press(&format!("download_file lab {typed}"));
        terminal.wait(shown);
        terminal.press("\r");
        terminal.wait(&format!("[C] [lab] {name}  "));
        terminal.wait("bob> ");
        assert!(world.home("bob").join(name).exists(), "{name}");
    }
    // A path is completed in the same way.
    terminal.press("\x15upload_file 'Holi\t");
    terminal.wait("'Holiday in Rome (2024).mp4' ");
}

#[test]
fn tables_fit_the_screen() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let mut nik = world.client("nik");
    nik.login("nik");
    let long = format!("{}.bin", "l".repeat(200));
    for i in 0..40 {
        let name = if i == 20 { long.clone() } else { format!("part {i:02}.bin") };
        world.put("nik", &Content::new(&name, 2000, i));
        nik.ok(&format!("upload_file '{name}' lab"), &[]);
    }
    nik.ok("logout", &[]);
    let Some(mut terminal) = Terminal::start_sized(&world, "bob", 80, 24) else { return };
    terminal.login("nik");
    let help = terminal.shown("help", "nik> ");
    assert!((10..=22).contains(&help.len()), "{help:#?}");
    let trackers = terminal.shown("trackers", "nik> ");
    assert!(trackers[0].starts_with("1  127.0.0.1:"), "{trackers:#?}");
    assert!(trackers[0].contains("  up  primary  lag 0"), "{trackers:#?}");
    // More than a screen comes by and by.
    terminal.press("list_files lab\r");
    terminal.wait("-- more");
    assert!(!terminal.screen.lock().contains("part 30.bin"));
    terminal.press(" ");
    terminal.wait("part 30.bin");
    terminal.wait("nik> ");
    terminal.press("list_files lab\r");
    terminal.wait("-- more");
    terminal.press("q");
    terminal.wait("nik> ");
    let files = terminal.shown("list_files lab *ll*", "nik> ");
    assert_eq!(files, [format!("{long}  2.0 kB  0 online  nik")]);
    let lines = terminal.screen.lock().replace("\x1b[K", "\n");
    let parts: Vec<&str> = lines.lines().filter(|line| line.starts_with("part ")).collect();
    assert!(parts.iter().all(|line| line.trim_end().len() < 80), "{parts:#?}");
    for i in 0..40 {
        assert!(
            i == 20
                || parts.iter().any(|line| line.starts_with(&format!("part {i:02}.bin  2.0 kB")))
        );
    }
}

#[test]
fn the_first_network_is_told_of_in_two_short_lines() {
    let world = World::of_unnamed_network(1);
    let Some(mut terminal) = Terminal::start_sized(&world, "nik", 80, 24) else { return };
    terminal.wait("trusting the first network met");
    terminal.wait("\nnetwork sha256:");
    terminal.wait("posse> ");
    let screen = terminal.screen.lock().clone();
    assert_eq!(screen.matches("sha256:").count(), 1, "{screen}");
}

#[test]
fn a_second_terminal_shows_the_same_client() {
    let (world, _content, _nik, gate, mut bob) = World::half_fetched(1, 2 << 20);
    let Some(mut terminal) = Terminal::start(&world, "bob") else { return };
    // The user, the progress above the prompt, and completion of names.
    terminal.wait("[lab] big.bin [");
    terminal.wait("bob> ");
    terminal.press("list_files la\t");
    terminal.wait("list_files lab ");
    terminal.press("\r");
    terminal.wait("big.bin");
    let mut third = Terminal::start(&world, "bob").expect("the second was made");
    third.wait("bob> ");
    gate.allow(u64::MAX / 2);
    for terminal in [&mut terminal, &mut third] {
        terminal.wait("[C] [lab] big.bin");
    }
    // When one leaves, the client stays. When the client ends, attached programs say so.
    third.press("exit\r");
    eventually("it ends", || third.child.try_wait().unwrap());
    terminal.press("whoami\r");
    terminal.wait("bob");
    bob.ok("exit", &[]);
    terminal.wait("has ended");
    let status = eventually("it ends too", || terminal.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
}
