use std::path::{Path, PathBuf};

/// Everything that can go wrong on the way from a command line to a trained player.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The verb for what was tried, such as "read" or "write".
        doing: &'static str,
        /// The file or folder that could not be used.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A configuration, or an override of it, that cannot be used.
    #[error("{origin}: {message}")]
    Config {
        /// The file, or the option on the command line, that is to blame.
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
        /// The folder of the checkpoint.
        path: PathBuf,
        /// The kind of fault.
        fault: Fault,
        /// What is wrong with the checkpoint.
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
        /// The file of the segment.
        path: PathBuf,
        /// The kind of fault.
        fault: Fault,
        /// What is wrong with the segment.
        message: String,
    },
    /// Work that was given up because somebody has asked for it.
    #[error("it was stopped")]
    Stopped,
    /// A run folder, or a file of weights, that cannot be used as asked.
    #[error("{}: {message}", path.display())]
    Run {
        /// The run folder, or the file of weights.
        path: PathBuf,
        /// What is wrong, and what would help.
        message: String,
    },
    /// A file of positions that cannot be used.
    #[error("{}, line {line}: {message}", path.display())]
    Positions {
        /// The file of positions.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with the line.
        message: String,
    },
    /// A place where a fleet meets that cannot be used, or whoever else is there.
    #[error("{place}: {message}")]
    Fleet {
        /// The place, without what is secret of its address.
        place: String,
        /// What is wrong, and what would help.
        message: String,
    },
    /// Something asked for that cannot be done.
    #[error("{0}")]
    Usage(String),
    /// An error of the systems that play and learn, or of the device that they use.
    #[error(transparent)]
    Systems(#[from] lockstep_systems::Error),
}

/// Why something that is stored cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The contents are not as they were written.
    Damaged,
    /// A file is missing.
    Missing,
    /// The games were removed, because a run with `run.keep_log = false` has no use for them any more.
    Removed,
    /// The contents are of another game, or of other settings.
    Unfit,
    /// The contents were written by another version of lockstep.
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
    /// Returns a function that wraps an I/O error with what was tried and where.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }

    /// Returns the exit code of the process: 1 for an error of the systems, and 2 for what the user can mend.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Systems(_) => 1,
            _ => 2,
        }
    }
}
