//! The structure of `src`: files do not import each other in a circle, and rooms import only what
//! the architecture allows.
//!
//! A file *imports* another if one of its paths leads there, through re-exports to where the item
//! is defined. A file may use what the module that contains it defines: a child is a part of its
//! parent. Tests, simulators and fuzz targets are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Names of files and folders that are not looked at.
const LEFT_OUT: [&str; 6] = ["tests", "sim", "fuzz", "fuzzing", "samples", "bin"];

/// Rooms, and the rooms that each may import besides itself.
const ROOMS: [(&str, &[&str]); 12] = [
    ("files", &[]),
    ("types", &[]),
    ("wire", &["types"]),
    ("trust", &["types", "wire"]),
    ("net", &["types", "wire", "trust"]),
    ("http", &["net"]),
    ("relay", &["types", "wire", "net"]),
    // The encoding of keys, which orders them, and of rows, for the digest.
    ("directory", &["types", "wire"]),
    ("store", &["types", "wire", "directory"]),
    ("tracker", &["types", "wire", "trust", "net", "http", "relay", "directory", "store"]),
    ("swarm", &["types", "wire", "trust", "net", "files"]),
    ("client", &["types", "wire", "trust", "net", "http", "relay", "store", "swarm", "files"]),
];

/// Arrows between rooms that are there although they should not be.
const ARROWS_LEFT: [(&str, &str); 0] = [];

/// Rooms in which files import each other in circles: each is to leave this list.
const CIRCLES_LEFT: [&str; 0] = [];

/// The rooms within the swarm, and those that each may import besides itself. All may import the
/// values of `swarm/api.rs`.
const SWARM_ROOMS: [(&str, &[&str]); 6] = [
    ("api", &[]),
    ("pick", &[]),
    // Sets of pieces, and the meter of a rate.
    ("serve", &["pick"]),
    ("disk", &["pick", "serve"]),
    ("link", &["pick", "serve", "disk"]),
    ("engine", &["pick", "serve", "disk", "link"]),
];

/// Rooms that decide and do nothing else: time and seeds come in as arguments, effects go out as
/// values.
const PURE: [&[&str]; 3] = [&["directory"], &["swarm", "pick"], &["swarm", "serve"]];
/// What these do not name: sockets, files, threads, channels, locks, clocks, randomness.
const IMPURE: [&str; 21] = [
    "std::net",
    "std::fs",
    "std::io",
    "std::os",
    "std::thread",
    "std::sync::mpsc",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::Condvar",
    "std::sync::OnceLock",
    "std::sync::atomic",
    "crossbeam_channel",
    "parking_lot",
    "threadpool",
    "rustix",
    "socket2",
    "crate::net",
    "Instant::now",
    "SystemTime",
    "rand::random",
    "rand::rng",
];

/// One source file.
struct Source {
    path: PathBuf,
    /// Paths that it names, each with the module they start from.
    names: Vec<Vec<String>>,
    /// What its `use` lines bring in: name to path.
    brought: BTreeMap<String, Vec<String>>,
}

type Module = Vec<String>;
type Edges = BTreeMap<Module, BTreeSet<Module>>;

fn collect(dir: &Path, module: &[String], sources: &mut BTreeMap<Module, Source>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        let name =
            path.file_stem().and_then(|stem| stem.to_str()).expect("a name in UTF-8").to_owned();
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let inner = if matches!(name.as_str(), "mod" | "lib") {
            module.to_vec()
        } else {
            [module, &[name]].concat()
        };
        if path.is_dir() {
            collect(&path, &inner, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = read(path);
            assert!(sources.insert(inner, source).is_none(), "two files of one module");
        }
    }
}

fn read(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).expect("a source file");
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut source = Source { path, names: Vec::new(), brought: BTreeMap::new() };
    let mut rest = code.as_str();
    let mut outside = String::new();
    while let Some(at) = rest.find("use ") {
        let (before, from) = rest.split_at(at);
        outside.push_str(before);
        let starts_line = before.rsplit('\n').next().unwrap_or_default();
        let is_word = !starts_line.ends_with(|letter: char| letter.is_alphanumeric());
        let starts_line = starts_line.trim();
        // Not `struct Pause {` either.
        if !is_word || !starts_line.is_empty() && !starts_line.starts_with("pub") {
            outside.push_str("use ");
            rest = &from[4..];
            continue;
        }
        let (tree, after) = from[4..].split_once(';').expect("a use line ends");
        for (path, name) in expand(&tree.split_whitespace().collect::<Vec<_>>().join(" ")) {
            source.brought.insert(name, path.clone());
            source.names.push(path);
        }
        rest = after;
    }
    outside.push_str(rest);
    source.names.extend(paths_in(&outside));
    source
}

/// The paths of a `use` tree, each with the name that it brings in.
fn expand(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    if let Some((head, tail)) = tree.split_once('{') {
        let prefix: Vec<String> = segments(head.trim_end_matches("::"));
        let body = tail.strip_suffix('}').expect("braces match");
        let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
        for (at, letter) in body.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&body[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&body[start..]);
        let inner = parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(expand);
        return inner.map(|(path, name)| ([prefix.clone(), path].concat(), name)).collect();
    }
    let (path, name) =
        tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name.to_owned())));
    let mut path = segments(path);
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
    vec![(path, name)]
}

fn segments(path: &str) -> Vec<String> {
    path.split("::")
        .map(|segment| segment.trim().to_owned())
        .filter(|segment| !segment.is_empty())
        .collect()
}

/// Paths in code that begin with `crate`, `super` or `self`, or with a name in lower case.
fn paths_in(code: &str) -> Vec<Vec<String>> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = code.split(|letter| !is_part(letter)).filter(|word| word.contains("::"));
    let lower = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_lowercase());
    words.filter(lower).map(segments).collect()
}

/// The module in whose file the path ends; `None` if that is not one of ours.
fn resolve(
    sources: &BTreeMap<Module, Source>,
    from: &[String],
    path: &[String],
    depth: usize,
) -> Option<Module> {
    let mut module = from.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" | "posse" => (module, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|first| first == "super") {
                module.pop()?;
                rest = &rest[1..];
            }
        }
        first => {
            let child = [from, &[first.to_owned()]].concat();
            if !sources.contains_key(&child) {
                let brought = sources
                    .get(from)?
                    .brought
                    .get(first)
                    .filter(|brought| brought.first() != path.first())?;
                let path = [brought, &path[1..]].concat();
                return if depth == 0 { None } else { resolve(sources, from, &path, depth - 1) };
            }
        }
    }
    while let Some(next) = rest.first() {
        let child = [module.as_slice(), std::slice::from_ref(next)].concat();
        if sources.contains_key(&child) {
            (module, rest) = (child, &rest[1..]);
            continue;
        }
        let brought = sources.get(&module)?.brought.get(next);
        return match brought {
            Some(brought) if depth > 0 => {
                let path = [brought, &rest[1..]].concat();
                resolve(sources, &module, &path, depth - 1)
            }
            _ => Some(module),
        };
    }
    sources.contains_key(&module).then_some(module)
}

fn edges(sources: &BTreeMap<Module, Source>) -> Edges {
    let mut edges = Edges::new();
    for (module, source) in sources {
        let targets = source.names.iter().filter_map(|path| resolve(sources, module, path, 16));
        let others = targets.filter(|target| target != module && !module.starts_with(target));
        edges.entry(module.clone()).or_default().extend(others);
    }
    edges
}

/// Modules that can be reached from one.
fn reached(edges: &Edges, from: &Module) -> BTreeSet<Module> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(module) = open.pop() {
        for next in edges.get(&module).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

fn sources() -> BTreeMap<Module, Source> {
    let mut sources = BTreeMap::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut sources);
    assert!(sources.len() > 100, "{} files found", sources.len());
    sources
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let sources = sources();
    let edges = edges(&sources);
    let arrows: usize = edges.values().map(BTreeSet::len).sum();
    assert!(arrows > 300, "{arrows} imports found");
    let reach: BTreeMap<&Module, BTreeSet<Module>> =
        edges.keys().map(|module| (module, reached(&edges, module))).collect();
    let mut circles = BTreeSet::new();
    for (module, others) in &reach {
        let circle: BTreeSet<&Module> =
            others.iter().filter(|other| reach[*other].contains(*module)).collect();
        let is_left = module.first().is_some_and(|room| CIRCLES_LEFT.contains(&room.as_str()));
        if circle.len() > 1 && !is_left {
            circles.insert(circle);
        }
    }
    for circle in &circles {
        println!("a circle of {} files:", circle.len());
        for module in circle {
            let next: Vec<String> = edges[*module]
                .iter()
                .filter(|next| circle.contains(next))
                .map(|next| next.join("::"))
                .collect();
            println!("  {} -> {}", sources[*module].path.display(), next.join(", "));
        }
    }
    assert!(circles.is_empty(), "{} circles of files", circles.len());
    for room in CIRCLES_LEFT {
        let has_some = reach.iter().any(|(module, others)| {
            module.first().is_some_and(|first| first == room) && others.contains(*module)
        });
        assert!(has_some, "{room} has no circle any more: take it off the list");
    }
}

/// Parts of the client that see the others through the interface alone: each with what it may
/// import of the client.
const FRONT_ENDS: [(&str, &[&str]); 5] = [
    ("api", &["api"]),
    ("shell", &["api", "shell"]),
    ("routes", &["api", "routes"]),
    ("service", &["api", "routes", "service"]),
    ("page", &["api", "routes", "page"]),
];
/// Rooms that these may import besides.
const FRONT_END_ROOMS: [&str; 4] = ["types", "net", "http", "files"];

#[test]
fn front_ends_see_the_interface_and_nothing_else_of_the_client() {
    let sources = sources();
    let mut seen = BTreeSet::new();
    for (module, targets) in edges(&sources) {
        let [room, part, ..] = module.as_slice() else { continue };
        let Some((name, allowed)) = FRONT_ENDS.iter().find(|(name, _)| name == part) else {
            continue;
        };
        if room != "client" {
            continue;
        }
        seen.insert(name);
        for target in targets {
            let is_allowed = match target.as_slice() {
                [room, part, ..] if room == "client" => allowed.contains(&part.as_str()),
                [room, ..] => FRONT_END_ROOMS.contains(&room.as_str()),
                [] => true,
            };
            let path = sources[&module].path.display();
            assert!(is_allowed, "{path} imports {}", target.join("::"));
        }
    }
    assert_eq!(seen.len(), FRONT_ENDS.len(), "a front end is missing: {seen:?}");
}

#[test]
fn rooms_of_the_swarm_import_only_what_they_may() {
    let sources = sources();
    let mut arrows = 0;
    for (module, targets) in edges(&sources) {
        let [first, room, ..] = module.as_slice() else { continue };
        if first != "swarm" {
            continue;
        }
        let (_, allowed) =
            SWARM_ROOMS.iter().find(|(name, _)| name == room).expect("a room of the swarm");
        for target in targets {
            let is_allowed = match target.as_slice() {
                [first, other, ..] if first == "swarm" => {
                    arrows += 1;
                    other == room || other == "api" || allowed.contains(&other.as_str())
                }
                // Another room of the crate: checked below.
                _ => true,
            };
            let path = sources[&module].path.display();
            assert!(is_allowed, "{path} imports {}", target.join("::"));
        }
    }
    assert!(arrows > 50, "{arrows} imports found");
}

#[test]
fn pure_rooms_name_no_socket_file_thread_lock_clock_or_randomness() {
    let sources = sources();
    for room in PURE {
        let files = sources.iter().filter(|(module, _)| {
            module.len() >= room.len() && module.iter().zip(room).all(|(own, name)| own == name)
        });
        let mut count = 0;
        for (_, source) in files {
            count += 1;
            for path in &source.names {
                let path = path.join("::");
                let is_impure = IMPURE.iter().any(|name| {
                    path.strip_prefix(name)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
                });
                assert!(!is_impure, "{} names {path}", source.path.display());
            }
        }
        assert!(count > 5, "{count} files in {}", room.join("::"));
    }
}

#[test]
fn rooms_import_only_what_they_may() {
    let sources = sources();
    let mut found = BTreeSet::new();
    for (module, targets) in edges(&sources) {
        let Some((room, allowed)) =
            ROOMS.iter().find(|(room, _)| module.first().is_some_and(|first| first == room))
        else {
            continue;
        };
        for target in targets {
            let Some(other) =
                target.first().filter(|other| other != room && !allowed.contains(&other.as_str()))
            else {
                continue;
            };
            let arrow = ARROWS_LEFT.iter().find(|(from, to)| from == room && to == other);
            match arrow {
                Some(arrow) => _ = found.insert(*arrow),
                None => panic!("{} imports {}", sources[&module].path.display(), target.join("::")),
            }
        }
    }
    for arrow in ARROWS_LEFT {
        assert!(found.contains(&arrow), "{arrow:?} is not there any more: take it off the list");
    }
}
