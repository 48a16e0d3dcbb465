//! The run folder, and writing files so that none is ever half written.

mod owner;

use crate::{Error, device::keep_kernels, history, out::warn_once};
use lockstep_components::Config;
use owner::Owner;
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

/// The folder of a run: `runs/<name>/` with `config.toml`, `metrics.jsonl`, `checkpoints/`, `log/`, `games/`,
/// `kernels/`, `verdict.jsonl`, `matches.jsonl` and `report.html`.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Returns the folder at this path, which may not exist yet.
    pub fn at(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// Returns the folder of a run that was started before.
    ///
    /// # Errors
    /// When no run was started in the folder, or it is that of a checkpoint.
    pub fn of_run(path: &Path) -> Result<Self, Error> {
        let folder = Self::at(path);
        match Owner::of(path) {
            Some(owner) if owner.is(path) || !folder.is_run() => return Err(owner.refuses(path)),
            _ if folder.is_run() => return Ok(folder),
            _ => {}
        }
        let lost = history::made_with(&folder, &Config::default()).is_ok_and(|found| found.is_some());
        let message = if lost {
            "config.toml is gone from this run; `lockstep train` with this folder as --run puts it back and goes on"
        } else {
            "there is no run here (no config.toml); name the folder of a run with --run, or begin one with \
             `lockstep train` and a recipe (`lockstep recipes` lists them)"
        };
        Err(Error::Run { path: path.into(), message: message.into() })
    }

    /// Returns the folder of a run that begins there or goes on.
    ///
    /// # Errors
    /// When the path is in the folder of another run, or is or is in that of a checkpoint, which may remove what is in
    /// it.
    pub fn to_train(path: &Path) -> Result<Self, Error> {
        Owner::of(path).map_or_else(|| Ok(Self::at(path)), |owner| Err(owner.refuses(path)))
    }

    /// Creates the folder, and the folders in it, where they are missing.
    ///
    /// # Errors
    /// When a folder cannot be created, when the checkpoints of a run that has metrics are gone, and the errors of
    /// [`Folder::to_train`].
    pub fn create(&self) -> Result<(), Error> {
        Self::to_train(&self.0)?;
        // The folder of the checkpoints is made before the configuration is written: a run has had it.
        if self.is_run() && !self.checkpoints().exists() && fs::metadata(self.metrics()).is_ok_and(|m| m.len() > 0) {
            return Err(self.checkpoints_are_gone());
        }
        for dir in [self.0.clone(), self.checkpoints(), self.games(), self.log()] {
            fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        }
        Ok(())
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of `config.toml`, the configuration as resolved.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// Returns the path of `metrics.jsonl`, which has one JSON object for each generation.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// Returns the path of `history.jsonl`, which has a line for each key that was changed after the run had begun.
    pub fn history(&self) -> PathBuf {
        self.0.join("history.jsonl")
    }

    /// Returns the path of `verdict.jsonl`, which says how the finished player was graded.
    pub fn verdict(&self) -> PathBuf {
        self.0.join("verdict.jsonl")
    }

    /// Returns the path of `strength.jsonl`, which says how strong the player was after the generations that were graded.
    pub fn strength(&self) -> PathBuf {
        self.0.join("strength.jsonl")
    }

    /// Returns the path of `matches.jsonl`, which has a line for each match that was played against another run.
    pub fn matches(&self) -> PathBuf {
        self.0.join("matches.jsonl")
    }

    /// Returns the path of `report.html`, which shows all that is known of the run.
    pub fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }

    /// Returns the path of `checkpoints`, which has a folder for each kept generation.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// Returns the path of `log`, which has all games, a segment for each round.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Returns the path of `kernels`, which has the tuned kernels of a run that keeps its own.
    pub fn kernels(&self) -> PathBuf {
        self.0.join("kernels")
    }

    /// Keeps the kernels of the run in its own folder if `run.own_kernels` is set, or else where those of its user are: see
    /// [`keep_kernels`].
    pub fn keep_kernels(&self, config: &Config) {
        keep_kernels(config.run.own_kernels.then_some(&self.kernels()));
    }

    /// Returns the path of `tensorboard`, which has event files with `run.tensorboard`.
    pub fn tensorboard(&self) -> PathBuf {
        self.0.join("tensorboard")
    }

    /// Returns the path of the weights of a generation against which later ones are measured.
    pub fn anchor(&self, generation: u64) -> PathBuf {
        self.0.join(format!("anchors/{generation:06}.safetensors"))
    }

    /// Returns the path of `games`, which has the records of some games of each generation.
    pub fn games(&self) -> PathBuf {
        self.0.join("games")
    }

    /// Returns the path of a file that exists once a checkpoint was written: that there is no checkpoint any more is
    /// then a loss and not a beginning.
    fn saved(&self) -> PathBuf {
        self.0.join(".saved")
    }

    /// Notes that a checkpoint was written.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn mark_saved(&self) -> Result<(), Error> {
        if self.saved().exists() { Ok(()) } else { write_file(&self.saved(), b"") }
    }

    /// Whether a checkpoint was ever written in this folder, as far as it was noted.
    pub fn was_saved(&self) -> bool {
        self.saved().exists()
    }

    /// Returns the error of a run whose checkpoints have been lost.
    pub(crate) fn checkpoints_are_gone(&self) -> Error {
        Error::Run {
            path: self.0.clone(),
            message: format!(
                "this run has saved checkpoints, and {} has none; put them back from a copy, choose another folder \
                 with --run, or, to train from the beginning here, remove metrics.jsonl, verdict.jsonl and .saved",
                self.checkpoints().display()
            ),
        }
    }

    /// Whether a run was started in this folder.
    pub fn is_run(&self) -> bool {
        self.config().is_file()
    }

    /// Whether another process has the lock of the folder: it trains there. Nothing is written. On a file system without
    /// locks the answer is no.
    pub fn is_in_use(&self) -> bool {
        let file = File::open(self.0.join(".lock"));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
    }

    /// Takes the lock of the folder, because only one process may train in it. The lock ends with the returned file or
    /// with the process, however it ends. On a file system without locks nothing keeps a second process out, which is
    /// told.
    ///
    /// # Errors
    /// When another process holds the lock, or its file cannot be opened or locked.
    pub fn lock(&self) -> Result<File, Error> {
        let path = self.0.join(".lock");
        // Opened and not truncated: taking the lock leaves the folder as it is.
        let open = fs::OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let file = open.map_err(Error::io("create", &path))?;
        let began = Instant::now();
        let locked = loop {
            match file.try_lock() {
                // Whoever looks whether a run is in use holds the lock for a moment.
                Err(fs::TryLockError::WouldBlock) if began.elapsed() < A_MOMENT => sleep(Duration::from_millis(5)),
                locked => break locked,
            }
        };
        match locked {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(Error::Run {
                path: self.0.clone(),
                message: "another lockstep is training in this folder; wait for it, or choose another --run".into(),
            }),
            Err(fs::TryLockError::Error(source)) if has_no_locks(&source) => {
                let text = format!(
                    "{} cannot be locked ({source}): on this file system nothing keeps a second lockstep from training in \
                     this folder, which would damage the run; see to it that there is only one",
                    path.display()
                );
                warn_once(&path, &text);
                Ok(file)
            }
            Err(fs::TryLockError::Error(source)) => Err(Error::Io { doing: "lock", path, source }),
        }
    }
}

/// How long a process that wants the lock of a folder waits for one that only looks whether somebody has it.
const A_MOMENT: Duration = Duration::from_millis(200);

/// Writes a file beside its place, syncs it, and renames it into place.
///
/// # Errors
/// When a step fails. Up to the renaming, what was there before is then still there.
pub fn write_file(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    let replace = || fs::rename(&partial, path).map_err(Error::io("replace", path));
    if let Err(error) = write_new(&partial, contents).and_then(|()| replace()) {
        // Best effort: half a file helps nobody, and the next one is written over it.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Writes and syncs a file that nobody reads yet.
pub(crate) fn write_new(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(contents).map_err(Error::io("write", path))?;
    sync(&file, path)
}

/// Makes what was written to a file or folder durable. Where the file system cannot do that, which is told, the newest
/// files may be lost if the machine stops without warning.
pub(crate) fn sync(file: &File, path: &Path) -> Result<(), Error> {
    match file.sync_all() {
        Err(source) if is_unsupported(&source) => {
            let text = format!(
                "{} cannot be synced ({source}): on this file system the newest files may be lost if the machine stops \
                 without warning",
                path.display()
            );
            warn_once(Path::new("sync"), &text);
            Ok(())
        }
        done => done.map_err(Error::io("sync", path)),
    }
}

/// Makes renames within a folder durable, where the system can.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let dir = File::open(path).map_err(Error::io("open", path))?;
    sync(&dir, path)
}

/// Turns the failure of something that a run can do without, since it only tidies or is there for people, into a
/// warning, which is printed once for each folder.
pub(crate) fn or_warn(folder: &Path, done: Result<(), Error>) {
    if let Err(error) = done {
        warn_once(folder, &format!("{error}; the run goes on without that"));
    }
}

/// Whether an error says that the file system does not support an operation, for files of this kind at least.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// Whether an error says that there are no locks: a file system of a network may know them, and have nobody who grants
/// them.
fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ENOLCK) {
        return true;
    }
    is_unsupported(error)
}
