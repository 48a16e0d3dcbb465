//! Whose a path is: what lies in the folder of a run belongs to that run, and no other one begins there.

use crate::Error;
use std::{
    env,
    path::{Component, Path, PathBuf},
};

/// The run or checkpoint in whose folder a path lies.
pub(super) enum Owner {
    /// The path is the folder of a checkpoint or lies in it; `run` is the run of that checkpoint, if it lies where runs
    /// keep them.
    Checkpoint { path: PathBuf, run: Option<PathBuf> },
    /// The path lies in the folder of this run.
    Run(PathBuf),
}

impl Owner {
    /// Returns the innermost owner of a path, wherever links lead to; `None` if the path is nobody's.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let real = real(path);
        real.ancestors().find_map(|dir| {
            if is_checkpoint(dir) {
                let run = dir.parent().filter(|all| all.ends_with("checkpoints")).and_then(Path::parent);
                return Some(Self::Checkpoint { path: dir.into(), run: run.map(Path::to_path_buf) });
            }
            (dir != real && is_run(dir)).then(|| Self::Run(dir.into()))
        })
    }

    /// Whether the path is the checkpoint itself.
    pub(super) fn is(&self, path: &Path) -> bool {
        matches!(self, Self::Checkpoint { path: checkpoint, .. } if *checkpoint == real(path))
    }

    /// Returns the error of whoever takes the path for a run of its own.
    pub(super) fn refuses(&self, path: &Path) -> Error {
        let message = match self {
            Self::Checkpoint { path: checkpoint, run } => {
                let what = if self.is(path) { "this is" } else { "this lies in" };
                let generation = checkpoint.file_name().unwrap_or_default().display();
                let (whose, instead) = match run.as_deref().map(shown) {
                    None => (String::new(), String::new()),
                    Some(run) => (
                        format!(" of the run {run}"),
                        format!(
                            "name the run itself (--run {run}, --checkpoint {generation}; {run}@{generation} in a match), or "
                        ),
                    ),
                };
                format!(
                    "{what} a checkpoint{whose}, and no run; {instead}begin another run with its weights: \
                     lockstep train --run NEW --from {}",
                    shown(&checkpoint.join("weights.safetensors"))
                )
            }
            Self::Run(run) => {
                let run = shown(run);
                format!(
                    "this lies in the folder of the run {run}, where no other one begins; go on with that run \
                     (--run {run}), or name a folder outside of it"
                )
            }
        };
        Error::Run { path: path.into(), message }
    }
}

/// Whether a folder is that of a run, which has made all of these before it plays: other programs have files of these
/// names too, and hardly all of them.
fn is_run(dir: &Path) -> bool {
    dir.join("config.toml").is_file() && dir.join("checkpoints").is_dir() && dir.join("log").is_dir()
}

fn is_checkpoint(dir: &Path) -> bool {
    dir.join("manifest.json").is_file() && dir.join("weights.safetensors").is_file()
}

/// Returns a path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    for there in path.ancestors() {
        let Ok(mut real) = there.canonicalize() else { continue };
        for part in path.strip_prefix(there).into_iter().flat_map(Path::components) {
            match part {
                Component::ParentDir => drop(real.pop()),
                part => real.push(part),
            }
        }
        return real;
    }
    path
}

/// Returns a path as short as it can be named from the current folder.
fn shown(path: &Path) -> String {
    let here = env::current_dir().and_then(|here| here.canonicalize());
    let short = here.ok().and_then(|here| path.strip_prefix(here).ok());
    match short {
        Some(short) if short.as_os_str().is_empty() => ".".into(),
        short => short.unwrap_or(path).display().to_string(),
    }
}
