use std::path::{Path, PathBuf};

/// Everything that can go wrong on the way from a command line to a trained player.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "write", ...
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A configuration, or an override of it, that cannot be used.
    #[error("{origin}: {message}")]
    Config {
        /// The file, or the option on the command line.
        origin: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A checkpoint that cannot be used.
    #[error("the checkpoint {} {}: {message}; the folder is unchanged: {}", path.display(), fault.text(), match fault {
        Fault::Damaged | Fault::Missing | Fault::Removed => {
            "put back from a copy what is damaged or missing, or remove this checkpoint to go on from an earlier one"
        }
        Fault::Unfit => "go on with the run's own settings, which are in its config.toml, or choose another --run",
        Fault::Version => "go on with the version that has made it, or choose another --run",
    })]
    Checkpoint {
        /// Its folder.
        path: PathBuf,
        /// What kind of fault.
        fault: Fault,
        /// What is wrong.
        message: String,
    },
    /// A segment of the log that cannot be used.
    #[error("the log {} {}: {message}; the folder is unchanged: {}", path.display(), fault.text(), match fault {
        Fault::Damaged | Fault::Missing => {
            "put the file back from a copy, or remove it and the checkpoints from this generation on, \
             so that its games are played again"
        }
        Fault::Removed => "begin another run with the checkpoint's weights.safetensors (--from), or put the file back from a copy",
        Fault::Unfit => "choose another --run",
        Fault::Version => "go on with the version that has made it, or choose another --run",
    })]
    Log {
        /// The file.
        path: PathBuf,
        /// What kind of fault.
        fault: Fault,
        /// What is wrong.
        message: String,
    },
    /// A run folder that cannot be used as asked.
    #[error("{}: {message}", path.display())]
    Run {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and what would help.
        message: String,
    },
    /// A file of positions that cannot be used.
    #[error("{}, line {line}: {message}", path.display())]
    Positions {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// Something asked for that cannot be done.
    #[error("{0}")]
    Usage(String),
    /// An error of a schedule.
    #[error(transparent)]
    Systems(#[from] lockstep_systems::Error),
}

/// Why something that is stored cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not as it was written.
    Damaged,
    /// A file is not there.
    Missing,
    /// Games that a run with `run.keep_log = false` has no use for any more.
    Removed,
    /// It is of another game, or of other settings.
    Unfit,
    /// It was written by another version of lockstep.
    Version,
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Self::Damaged => "is damaged",
            Self::Missing => "is not whole, there is missing",
            Self::Removed => "has been removed",
            Self::Unfit => "does not fit",
            Self::Version => "is of another version",
        }
    }
}

impl Error {
    /// Wraps an I/O error with what was tried and where.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }

    /// The process's exit code: 2 for what the user can mend.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Systems(_) => 1,
            _ => 2,
        }
    }
}
