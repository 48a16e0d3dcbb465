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
    #[error(
        "the checkpoint {} cannot be used: {message}; \
         the folder is unchanged: remove this checkpoint to go on from an earlier one, or choose another --run",
        path.display()
    )]
    Checkpoint {
        /// Its folder.
        path: PathBuf,
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

impl Error {
    /// Wraps an I/O error with what was tried and where.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }

    /// The process's exit code: 2 for what the user can mend.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Systems(_) => 1,
            _ => 2,
        }
    }
}
