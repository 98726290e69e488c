//! What the documents say about the code that only a look at the whole tree can confirm.

use std::path::{Path, PathBuf};

/// Every Rust file below a directory.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The tests that a text names: `module::module::test`, in backticks.
fn named_tests(text: &str) -> Vec<&str> {
    let is_test = |word: &&str| {
        word.contains("::")
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
    };
    text.split('`').skip(1).step_by(2).filter(is_test).collect()
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|dir| sources(&root.join(dir), &mut files));
    let files: Vec<(String, String)> = files
        .iter()
        .map(|path| {
            (path.to_str().unwrap().replace(".rs", "/"), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    let text = std::fs::read_to_string(root.join("docs/SECURITY.md")).unwrap();
    let named = named_tests(&text);
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let mut modules: Vec<&str> = name.split("::").collect();
        let test = format!("fn {}(", modules.pop().unwrap());
        let is_there = |(path, code): &(String, String)| {
            modules.iter().all(|module| path.contains(&format!("/{module}/")))
                && code.contains(&test)
        };
        assert!(files.iter().any(is_there), "docs/SECURITY.md names {name}, which is not there");
    }
}
