//! The clients at work: each a process and a thread that types one command after the other, and
//! notes every answer.
//!
//! **Invariant:** a request is in the history exactly once, also if its answer never came.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::board::{Board, FILES, file_name, user_name};
use crate::cluster::Cluster;
use crate::history::{Command, Request};
use crate::lab::client_address;
use crate::support::{Binaries, Result, check_interrupt};
use crate::user::{Answer, PASSWORD, User};

/// Longest time that an answer is waited for: the client's own limit is 35 s, for passwords.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);
/// The same once the schedule is over.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// Pause of a client that finds nothing to do.
const IDLE: Duration = Duration::from_millis(2);
/// Pause between two accounts.
const ACCOUNT_INTERVAL: Duration = Duration::from_millis(400);

/// Client processes, logged in and ready.
#[derive(Debug)]
pub(crate) struct Clients {
    members: Vec<User>,
    /// Makes accounts.
    newcomer: User,
}

/// What all threads share.
struct Work<'a> {
    start: Instant,
    is_over: &'a AtomicBool,
    board: Mutex<Board>,
    history: Mutex<Vec<Request>>,
}

/// Ends the work when dropped, also by a panic: the threads would be waited for without end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Clients {
    /// Starts `count` clients with accounts, and one more that makes accounts.
    pub(crate) fn start(
        cluster: &Cluster,
        binaries: &Binaries,
        dir: &Path,
        count: usize,
    ) -> Result<Self> {
        let files = dir.join("files");
        std::fs::create_dir_all(&files)?;
        for file in 0..FILES {
            std::fs::write(files.join(file_name(file)), format!("file {file}"))?;
        }
        let start = |index: usize| {
            let (name, address) = (user_name(index), client_address(index));
            User::start(
                cluster.lab(),
                binaries,
                dir,
                &name,
                &address,
                &cluster.info_for_client(index),
            )
        };
        // Processes are started by the main thread: they end with the thread that started them.
        let mut members = (0..=count).map(start).collect::<Result<Vec<_>>>()?;
        let enter = |(index, user): (usize, &mut User)| {
            user.wait_started()?;
            if index < count {
                user.must(&["create_user", &user_name(index), PASSWORD])?;
                user.must(&["login", &user_name(index), PASSWORD])?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                members.iter_mut().enumerate().map(|one| scope.spawn(move || enter(one))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
                thread.join().map_err(|_| "a client's thread panicked")?
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        let newcomer = members.pop().ok_or("no clients")?;
        Ok(Self { members, newcomer })
    }

    /// Works until `script` returns and every answer has come; returns what was asked and what
    /// `script` returned.
    pub(crate) fn work<T>(
        &mut self,
        seed: u64,
        start: Instant,
        script: impl FnOnce() -> Result<T>,
    ) -> Result<(Vec<Request>, T)> {
        let is_over = AtomicBool::new(false);
        let board = Mutex::new(Board::new(self.members.len()));
        let work = Work { start, is_over: &is_over, board, history: Mutex::new(Vec::new()) };
        let count = self.members.len();
        let result = thread::scope(|scope| {
            let work = &work;
            for (index, user) in self.members.iter_mut().enumerate() {
                let random = StdRng::seed_from_u64(
                    seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                );
                scope.spawn(move || work.member(index, user, random));
            }
            let newcomer = &mut self.newcomer;
            scope.spawn(move || work.newcomer(count, newcomer));
            let _over = Over(work.is_over);
            script()
        });
        check_interrupt()?;
        Ok((work.history.into_inner(), result?))
    }
}

impl Work<'_> {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || check_interrupt().is_err()
    }

    /// Decides when an answer is no longer waited for.
    fn patience(&self) -> impl FnMut(Duration) -> bool {
        let mut over_since: Option<Instant> = None;
        move |waited| {
            if self.is_over() {
                over_since.get_or_insert_with(Instant::now);
            }
            let is_late = over_since.is_some_and(|since| since.elapsed() >= LAST_ANSWER_TIMEOUT);
            is_late || waited >= ANSWER_TIMEOUT || check_interrupt().is_err()
        }
    }

    /// Asks, and notes it.
    fn ask(&self, index: usize, actor: &str, user: &mut User, command: Command) -> Answer {
        let answer = user.ask(&command, self.patience());
        self.history.lock().push(answer.request(index, actor, command, self.start));
        answer
    }

    fn member(&self, index: usize, user: &mut User, mut random: StdRng) {
        let actor = user_name(index);
        while !self.is_over() {
            let Some(task) = self.board.lock().next(index, &mut random) else {
                thread::sleep(IDLE);
                continue;
            };
            let answer = self.ask(index, &actor, user, task.command.clone());
            let latency = answer.ended.saturating_duration_since(answer.asked);
            self.board.lock().done(&task, &answer.outcome, latency, &mut random);
            if answer.is_lost {
                return;
            }
            if answer.is_logged_out() {
                self.ask(index, &actor, user, Command::other(&["login", &actor, PASSWORD]));
            }
        }
    }

    fn newcomer(&self, index: usize, user: &mut User) {
        let mut random = StdRng::seed_from_u64(index as u64);
        for number in 0.. {
            let actor = format!("n{number}");
            let commands = [
                Command::CreateUser { user: actor.clone() },
                Command::other(&["login", &actor, PASSWORD]),
                Command::other(&["logout"]),
            ];
            for command in commands {
                if self.is_over() || self.ask(index, &actor, user, command).is_lost {
                    return;
                }
            }
            thread::sleep(ACCOUNT_INTERVAL.mul_f64(random.random_range(0.5..1.5)));
        }
    }
}
