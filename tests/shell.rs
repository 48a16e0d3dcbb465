//! What shells, `man` and pipes make of the program.

use crate::{lockstep, text};
use lockstep::games;
use std::{path::Path, process::Command};

fn printed(args: &[&str]) -> String {
    let output = lockstep(Path::new("."), args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[cfg(unix)]
#[test]
fn shells_offer_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("script"), printed(&["completions", "bash"])).unwrap();
    std::fs::create_dir(dir.path().join("trained")).unwrap();
    let offered = |words: &str| -> Vec<String> {
        let (before, word) = words.rsplit_once(' ').unwrap();
        let previous = before.rsplit(' ').next().unwrap();
        let script = format!(
            "source ./script; compopt() {{ :; }}; COMP_WORDS=({before} '{word}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _lockstep lockstep '{word}' {previous}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").current_dir(dir.path()).args(["-c", &script]).output().unwrap();
        text(&output.stdout).lines().map(String::from).collect()
    };
    assert_eq!(offered("lockstep train connect"), ["connect_four"]);
    assert_eq!(offered("lockstep tune othello"), recipes_like("othello"));
    assert_eq!(offered("lockstep config show go5"), ["go5"]);
    assert_eq!(offered("lockstep config explain search.c_p"), ["search.c_puct"]);
    assert_eq!(offered("lockstep label tic"), ["tictactoe"]);
    assert_eq!(offered("lockstep bench search --game con"), ["connect_four"]);
    assert_eq!(offered("lockstep train --device v"), ["vulkan"]);
    assert_eq!(offered("lockstep bench network --precision int"), ["int16"]);
    assert_eq!(offered("lockstep grade --run tra"), ["trained"]);
    assert_eq!(offered("lockstep man tra"), ["train"]);

    // Nothing is left to what a shell makes of any word.
    let zsh = printed(&["completions", "zsh"]);
    assert!(!zsh.contains("_default"), "{zsh}");
    for words in [":DIR:_files -/", ":FILE:_files", "players -- ", "tictactoe_guide"] {
        assert!(zsh.contains(words), "{words} is missing in: {zsh}");
    }
    let fish = printed(&["completions", "fish"]);
    for words in [
        "__fish_complete_directories",
        "using_subcommand train\" -f -a \"tictactoe ",
        "seen_subcommand_from show\" -f -a \"tictactoe ",
    ] {
        assert!(fish.contains(words), "{words} is missing in: {fish}");
    }
}

fn recipes_like(start: &str) -> Vec<&'static str> {
    games::recipes().into_iter().map(|(name, _)| name).filter(|name| name.starts_with(start)).collect()
}

#[test]
fn every_page_that_a_page_names_can_be_printed() {
    let (mut pages, mut seen) = (vec![vec![]], 0);
    while let Some(words) = pages.pop() {
        let page = printed(&[&["man"], &words[..]].concat()).replace("\\-", "-");
        let name = [&["lockstep"], &words[..]].concat().join("-");
        assert!(page.contains(&format!(".TH {name} 1 ")), "{page}");
        for named in page.split_whitespace().filter_map(|word| word.trim_start_matches("\\fB").strip_suffix("(1)")) {
            let below = named.strip_prefix("lockstep-").unwrap_or_else(|| panic!("{named} in {name}"));
            let below: Vec<&str> = below.split('-').map(|word| &*word.to_string().leak()).collect();
            // One may be named as an example.
            if below.len() > words.len() {
                pages.push(below);
            }
        }
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
    for (words, message) in [(["man", "trian", ""], "'trian'"), (["man", "train", "x"], "no commands of its own")] {
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let output = lockstep(Path::new("."), &words);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    }
}

/// A pipe that does not block, as some parents hand on: when it is full, the reader is slow and not gone.
#[cfg(unix)]
#[test]
fn a_full_pipe_is_not_a_closed_one() {
    use std::{
        io::{ErrorKind, Read, Write},
        os::{fd::OwnedFd, unix::net::UnixStream},
        process::Stdio,
        thread::sleep,
        time::Duration,
    };
    for errors in [false, true] {
        let (mut reader, mut writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let mut full = 0;
        let error = loop {
            match writer.write(&[b'.'; 64]) {
                Ok(written) => full += written,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(error, ErrorKind::WouldBlock);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        let pipe = Stdio::from(OwnedFd::from(writer));
        if errors {
            command.args(["grade", "--run", "nowhere"]).stderr(pipe);
        } else {
            command.args(["config", "explain", "search"]).stdout(pipe);
        }
        let mut child = command.spawn().unwrap();
        drop(command);
        // As slow as a reader has to be that the program finds it so.
        sleep(Duration::from_millis(100));
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(if errors { 2 } else { 0 }));
        let words = if errors { "error: nowhere: there is no run here" } else { "search.cache_mb\n" };
        assert!(read[full..].contains(words), "{} of {full}: {}", read.len(), &read[full..]);
    }
}
