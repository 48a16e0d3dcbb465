//! Checkpoints: everything that a run needs to go on, beside the log of its games.
//!
//! `checkpoints/<generation>/` holds
//! - `weights.safetensors`: the network that plays, under its tensors' names;
//! - `trained.safetensors`: the network that is trained, if `learn.average` makes another one play;
//! - `weights-<generation>.safetensors`: the networks of earlier generations that games are still played with, if
//!   `run.lag` is more than 1;
//! - `optimizer.bin`: burn's record of the optimiser, compressed with zstd;
//! - `config.toml`: the settings that the checkpoint was made with;
//! - `own-<name>.json`: what an experiment keeps of its own;
//! - `manifest.json`: what it is a checkpoint of, the digests of the other files and of the segments of the log that
//!   fill the replay buffer, and in a second line its own digest.

mod kept;

pub use kept::{is_kept, is_recent};

use crate::{
    Error,
    error::Fault,
    folder::{Folder, or_warn, sync_dir, write_file, write_new},
    memory, settings,
};
use lockstep_components::{
    Config,
    config::{RunConfig, SearchConfig},
};
use lockstep_fused::Description;
use lockstep_systems::{
    AnyGame,
    learn::{Progress, Saved},
    network::{NamedTensor, describe},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

/// The version of the format, raised when it changes, so that an old program refuses a new checkpoint and the other way
/// round.
const FORMAT: u64 = 5;

const MANIFEST: &str = "manifest.json";
const WEIGHTS: &str = "weights.safetensors";
const TRAINED: &str = "trained.safetensors";
const OPTIMIZER: &str = "optimizer.bin";
const CONFIG: &str = "config.toml";

/// The manifest of a checkpoint: what it was made of, and the digests of its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    format: u64,
    /// The version of lockstep that has written the checkpoint.
    pub version: String,
    /// The name of the game.
    pub game: String,
    /// How far the learning had come.
    #[serde(flatten)]
    pub progress: Progress,
    /// The time that the run had spent.
    pub seconds: Seconds,
    /// The digest of each other file, by its name.
    files: BTreeMap<String, String>,
    /// The digest of each segment that the replay buffer is filled from, by its round.
    pub segments: BTreeMap<u64, String>,
    /// What the machine that made the checkpoint computes: see [`crate::run::probe`].
    pub probe: String,
    /// Whether the run began with weights that it was given. Its checkpoint 0 has them, and no seed makes them again.
    #[serde(default)]
    pub from_weights: bool,
}

/// The time that a run has spent so far, in seconds. It is shown and reported, and influences nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Seconds of playing.
    pub play: f64,
    /// Seconds of learning.
    pub learn: f64,
    /// Seconds of writing the files of the run.
    #[serde(default)]
    pub write: f64,
    /// Seconds of playing in the generation under way, which are part of `play`.
    #[serde(skip)]
    pub this_play: f64,
    /// Seconds of learning in the generation under way, which are part of `learn`.
    #[serde(skip)]
    pub this_learn: f64,
    /// Seconds of writing in the generation under way, which are part of `write`.
    #[serde(skip)]
    pub this_write: f64,
}

impl Seconds {
    /// Returns the seconds of playing, learning and writing together.
    pub fn total(self) -> f64 {
        self.play + self.learn + self.write
    }
}

/// What a file of weights tells about itself, so that it can be played, graded and matched alone: metadata of
/// `weights.safetensors` under the key `lockstep`, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The name of the game.
    pub game: String,
    /// The planes, rows and columns of the network's input.
    pub input: [usize; 3],
    /// The number of logits of the policy.
    pub actions: usize,
    /// What the network computes with its tensors.
    pub network: Description,
    /// The settings of the player, as TOML: `[game]`, `[network]`, the `[search]` that it was trained for, and
    /// `run.grade_simulations`. Files of older versions lack the last two; a key that is left out has its default.
    pub settings: String,
}

impl About {
    fn of(game: AnyGame, config: &Config, search: &SearchConfig) -> Self {
        Self {
            game: game.info.name.into(),
            input: game.info.shape(),
            actions: game.info.actions,
            network: describe(&game.info, &config.network),
            settings: settings::of_player(&Config { search: search.clone(), ..config.clone() }),
        }
    }
}

/// The key of the metadata in a file of weights. There is one alone, because the order of several in a file is left to
/// chance.
const ABOUT: &str = "lockstep";

/// A checkpoint in memory.
pub struct Checkpoint {
    /// The manifest.
    pub manifest: Manifest,
    /// The settings that the checkpoint was made with.
    pub config: Config,
    /// The network that plays.
    pub tensors: Vec<NamedTensor>,
    /// The network that is trained, if it is not the one that plays.
    pub trained: Option<Vec<NamedTensor>>,
    /// The networks of earlier generations that games are still played with, each with its generation.
    pub earlier: Vec<(u64, Vec<NamedTensor>)>,
    /// Burn's record of the optimiser, not compressed.
    pub optimizer: Vec<u8>,
    /// What an experiment keeps of its own, by name, as JSON.
    pub own: BTreeMap<String, Vec<u8>>,
}

impl Checkpoint {
    /// Returns what has been learned as a checkpoint with these settings.
    pub fn new(
        game: AnyGame,
        saved: Saved,
        earlier: Vec<(u64, Vec<NamedTensor>)>,
        config: Config,
        seconds: Seconds,
        segments: BTreeMap<u64, String>,
        probe: String,
        own: BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            game: game.info.name.into(),
            progress: saved.progress,
            seconds,
            files: BTreeMap::new(),
            segments,
            probe,
            from_weights: false,
        };
        Self {
            manifest,
            config,
            tensors: saved.tensors,
            trained: saved.trained,
            earlier,
            optimizer: saved.optimizer,
            own,
        }
    }

    /// Writes the checkpoint into the folder of its generation, and returns that folder. `search` is what the last
    /// games were played with that it has learned from: the settings of the run may have changed since.
    ///
    /// # Errors
    /// When a file cannot be written, or the generation has a checkpoint already. The checkpoints that were there
    /// before are then still there.
    pub fn write(mut self, game: AnyGame, folder: &Folder, search: &SearchConfig) -> Result<PathBuf, Error> {
        let all = folder.checkpoints();
        let place = all.join(self.manifest.progress.generation.to_string());
        let mut files = vec![
            (WEIGHTS.to_string(), to_safetensors(&self.tensors, Some(&About::of(game, &self.config, search)))),
            (OPTIMIZER.into(), zstd::encode_all(&self.optimizer[..], 1).expect("writing to memory")),
            (CONFIG.into(), settings::to_text(&self.config).into_bytes()),
        ];
        files.extend(self.trained.iter().map(|tensors| (TRAINED.into(), to_safetensors(tensors, None))));
        files.extend(
            self.earlier.iter().map(|(generation, tensors)| (weights_of(*generation), to_safetensors(tensors, None))),
        );
        files.extend(self.own.iter().map(|(name, bytes)| (file_of_own(name), bytes.clone())));
        self.manifest.files = files.iter().map(|(name, bytes)| (name.clone(), digest(bytes))).collect();
        let manifest = serde_json::to_string(&self.manifest).expect("plain data");
        let manifest = format!("{manifest}\n{}\n", digest(manifest.as_bytes()));
        let partial = begin(&all)?;
        for (name, bytes) in files.iter().map(|(n, b)| (&n[..], &b[..])).chain([(MANIFEST, manifest.as_bytes())]) {
            write_new(&partial.join(name), bytes)?;
        }
        sync_dir(&partial)?;
        fs::rename(&partial, &place).map_err(Error::io("rename", &partial))?;
        sync_dir(&all)?;
        Ok(place)
    }

    /// Reads the checkpoint in a folder.
    ///
    /// # Errors
    /// When the checkpoint is damaged, not whole, of another game, or of another version of lockstep, or the memory
    /// does not suffice.
    pub fn read(game: AnyGame, path: &Path) -> Result<Self, Error> {
        let manifest = Manifest::read(path)?;
        if manifest.game != game.info.name {
            return Err(fault(
                path,
                Fault::Unfit,
                format!("it is one of '{}', not of '{}'", manifest.game, game.info.name),
            ));
        }
        let config = config_of(path, &manifest)?;
        let tensors = tensors_of(path, WEIGHTS, &manifest)?;
        let trained = manifest.files.contains_key(TRAINED).then(|| tensors_of(path, TRAINED, &manifest)).transpose()?;
        let (mut earlier, mut own) = (vec![], BTreeMap::new());
        for name in manifest.files.keys() {
            if let Some(short) = own_name(name) {
                own.insert(short.to_string(), manifest.file(path, name)?);
            }
            if let Some(generation) = generation_of(name) {
                earlier.push((generation, tensors_of(path, name, &manifest)?));
            }
        }
        earlier.sort_by_key(|(generation, _)| *generation);
        let optimizer = zstd::decode_all(&manifest.file(path, OPTIMIZER)?[..])
            .map_err(|e| fault(path, Fault::Damaged, format!("{OPTIMIZER}: {e}")))?;
        Ok(Self { manifest, config, tensors, trained, earlier, optimizer, own })
    }
}

impl Manifest {
    /// Reads the manifest of the checkpoint in a folder.
    ///
    /// # Errors
    /// When the manifest is missing, damaged, of another version, or in the folder of another generation.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = match fs::read(path.join(MANIFEST)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // The formats before this one had no manifest.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.join("state.bin").exists() => {
                return Err(fault(path, Fault::Version, format!("it has format 3 or less, not {FORMAT}")));
            }
            Err(e) => return Err(no_file(path, MANIFEST, e)),
        };
        let damaged = |message: &str| fault(path, Fault::Damaged, format!("{MANIFEST}: {message}"));
        let mut lines = text.lines();
        let (line, own) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        if digest(line.as_bytes()) != own || !text.ends_with('\n') {
            return Err(damaged("its digest is not that of its contents"));
        }
        let value: serde_json::Value = serde_json::from_str(line).map_err(|e| damaged(&e.to_string()))?;
        if value["format"] != FORMAT {
            let message = format!("it has format {}, and this version reads format {FORMAT}", value["format"]);
            return Err(fault(path, Fault::Version, message));
        }
        let manifest: Self = serde_json::from_value(value).map_err(|e| damaged(&e.to_string()))?;
        let generation = manifest.progress.generation;
        if path.file_name().and_then(|name| name.to_str()) != Some(&generation.to_string()) {
            let message = format!("its folder is not named by its generation, which is {generation}");
            return Err(fault(path, Fault::Damaged, message));
        }
        Ok(manifest)
    }

    /// Reads a file of the checkpoint, whose digest must be the one in the manifest.
    fn file(&self, path: &Path, name: &str) -> Result<Vec<u8>, Error> {
        let bytes = read(&path.join(name), |e| no_file(path, name, e))?;
        if self.files.get(name) != Some(&digest(&bytes)) {
            let message = format!("the digest of {name} is not the one in {MANIFEST}");
            return Err(fault(path, Fault::Damaged, message));
        }
        Ok(bytes)
    }
}

/// Reads a file that is as large as a network, if there is the memory for its bytes and for what becomes of them.
fn read(path: &Path, fail: impl FnOnce(std::io::Error) -> Error) -> Result<Vec<u8>, Error> {
    let length = match fs::metadata(path) {
        Ok(about) => about.len(),
        Err(e) => return Err(fail(e)),
    };
    let what = format!("reading {}", path.display());
    memory::room_for(3 * length, &what, "the size of the network")?;
    fs::read(path).map_err(fail)
}

fn fault(path: &Path, fault: Fault, message: impl Into<String>) -> Error {
    Error::Checkpoint { path: path.into(), fault, message: message.into() }
}

fn no_file(path: &Path, name: &str, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        return fault(path, Fault::Missing, name);
    }
    Error::io("read", &path.join(name))(error)
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Returns the folder of the newest checkpoint, if there is one. Nothing is written: whoever only reads may call this
/// while another process trains.
///
/// # Errors
/// When the folder cannot be read.
pub fn newest(folder: &Folder) -> Result<Option<PathBuf>, Error> {
    let newest = generations(folder)?.pop();
    Ok(newest.map(|generation| folder.checkpoints().join(generation.to_string())))
}

/// Returns the folder of the checkpoint of a generation, if there is one. Nothing is written.
pub fn of_generation(folder: &Folder, generation: u64) -> Option<PathBuf> {
    Some(folder.checkpoints().join(generation.to_string())).filter(|path| path.is_dir())
}

/// Returns the folder of the checkpoint of a generation, or of the newest one. Nothing is written.
///
/// # Errors
/// When there is no such checkpoint; the message lists those that there are.
pub fn find(folder: &Folder, generation: Option<u64>) -> Result<PathBuf, Error> {
    let none = |message: &str| Error::Run { path: folder.path().into(), message: message.into() };
    let newest = newest(folder)?.ok_or_else(|| {
        none("this run has no checkpoint yet; let it train until the first one (run.checkpoint_every)")
    })?;
    let Some(generation) = generation else { return Ok(newest) };
    let kept = || -> Result<String, Error> {
        Ok(generations(folder)?.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
    };
    match of_generation(folder, generation) {
        Some(found) => Ok(found),
        None => Err(none(&format!("there is no checkpoint of that generation; there are those of {}", kept()?))),
    }
}

/// The name of a checkpoint's folder while it is written; a number follows where an old folder of this name cannot be
/// removed.
const PARTIAL: &str = ".partial";

/// The number of names that are tried for the folder in which a checkpoint is written.
const TRIES: usize = 100;

/// The prefix of the name of a checkpoint that is being removed, before its generation.
const REMOVED: &str = ".removed-";

/// Creates the folder in which a checkpoint is written.
fn begin(all: &Path) -> Result<PathBuf, Error> {
    let names = (1..TRIES).map(|k| format!("{PARTIAL}-{k}"));
    let mut failed = Ok(());
    for name in std::iter::once(PARTIAL.into()).chain(names) {
        let path = all.join(name);
        let made = remove(&path).and_then(|()| fs::create_dir(&path).map_err(Error::io("create", &path)));
        match made {
            Ok(()) => return Ok(path),
            // What a program was killed at may hold on to its name.
            Err(_) if path.exists() => failed = made,
            Err(error) => return Err(error),
        }
    }
    failed.map(|()| all.join(PARTIAL))
}

/// Ends what a killed program has begun: removes what it was writing or removing, as far as that goes, and the
/// checkpoints that are not kept beside the newest one. Only the holder of the folder's lock may call this.
///
/// # Errors
/// When the folder, or the settings of the newest checkpoint, cannot be read.
pub fn mend(folder: &Folder) -> Result<(), Error> {
    let all = folder.checkpoints();
    let Some(newest) = generations(folder)?.pop() else { return Ok(()) };
    // By the settings with which the newest one was written.
    let run = read_config(&all.join(newest.to_string()))?.run;
    for path in leftovers(folder)? {
        or_warn(&all, remove(&path));
    }
    prune(folder, newest, &run);
    Ok(())
}

/// Removes the checkpoints that are not kept beside the newest one ([`is_kept`]), each in one step as far as readers
/// can see. A checkpoint that cannot be removed stays, which is told.
pub fn prune(folder: &Folder, newest: u64, run: &RunConfig) {
    let all = folder.checkpoints();
    match generations(folder) {
        Ok(found) => found
            .into_iter()
            .filter(|&old| !is_kept(old, newest, run))
            .for_each(|old| or_warn(&all, take_away(folder, old))),
        Err(error) => or_warn(&all, Err(error)),
    }
}

/// Removes a checkpoint, in one step as far as readers can see. Only the holder of the folder's lock may call this.
///
/// # Errors
/// When it cannot be removed. Some of its files may be left then under another name, which are [`leftovers`].
pub fn take_away(folder: &Folder, generation: u64) -> Result<(), Error> {
    let all = folder.checkpoints();
    let (path, removed) = (all.join(generation.to_string()), all.join(format!("{REMOVED}{generation}")));
    remove(&removed)?;
    fs::rename(&path, &removed).map_err(Error::io("remove", &path))?;
    remove(&removed)
}

/// Returns the folders of checkpoints that a killed program was writing or removing.
///
/// # Errors
/// When the folder of the checkpoints cannot be read.
pub fn leftovers(folder: &Folder) -> Result<Vec<PathBuf>, Error> {
    let all = folder.checkpoints();
    let mut found = vec![];
    for entry in fs::read_dir(&all).map_err(Error::io("read", &all))? {
        let path = entry.map_err(Error::io("read", &all))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(PARTIAL) || name.starts_with(REMOVED) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Returns the generations that have a checkpoint, in ascending order: an empty list if there is no folder of
/// checkpoints.
///
/// # Errors
/// When the folder cannot be read.
pub fn generations(folder: &Folder) -> Result<Vec<u64>, Error> {
    match found(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        found => found.map_err(Error::io("read", &folder.checkpoints())),
    }
}

fn found(folder: &Folder) -> std::io::Result<Vec<u64>> {
    let mut found = vec![];
    for entry in fs::read_dir(folder.checkpoints())? {
        let name = entry?.file_name();
        // `+5` and `05` are numbers too, and no names that a checkpoint has.
        let number = name.to_str().and_then(|name| name.parse::<u64>().ok().filter(|n| n.to_string() == name));
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(Error::io("remove", path)),
    }
}

/// Reads the settings that a checkpoint was made with.
///
/// # Errors
/// When the checkpoint is damaged or not whole.
pub fn read_config(checkpoint: &Path) -> Result<Config, Error> {
    config_of(checkpoint, &Manifest::read(checkpoint)?)
}

/// Reads the network that plays from a checkpoint, or the network from a file of weights.
///
/// # Errors
/// When the checkpoint or the file is damaged or not whole.
pub fn read_weights(checkpoint: &Path) -> Result<Vec<NamedTensor>, Error> {
    if checkpoint.is_file() {
        return read_weights_file(checkpoint);
    }
    tensors_of(checkpoint, WEIGHTS, &Manifest::read(checkpoint)?)
}

fn config_of(path: &Path, manifest: &Manifest) -> Result<Config, Error> {
    let bytes = manifest.file(path, CONFIG)?;
    settings::parse(&String::from_utf8_lossy(&bytes), &path.join(CONFIG).display().to_string(), &[])
}

fn tensors_of(path: &Path, name: &str, manifest: &Manifest) -> Result<Vec<NamedTensor>, Error> {
    let bytes = manifest.file(path, name)?;
    from_safetensors(&bytes).map_err(|message| fault(path, Fault::Damaged, format!("{name}: {message}")))
}

/// Returns the name of the file with an earlier generation's weights.
fn weights_of(generation: u64) -> String {
    format!("weights-{generation}.safetensors")
}

/// Returns the generation whose weights are in a file of this name, or `None` for any other file.
fn generation_of(name: &str) -> Option<u64> {
    name.strip_prefix("weights-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// Returns the name of the file with what an experiment keeps under a name.
fn file_of_own(name: &str) -> String {
    format!("own-{name}.json")
}

/// Returns the name under which an experiment keeps what is in a file of this name, or `None` for any other file.
fn own_name(file: &str) -> Option<&str> {
    file.strip_prefix("own-")?.strip_suffix(".json")
}

/// Returns the tensors of a file in the safetensors format.
///
/// # Errors
/// When the bytes are no such file, or a tensor has numbers that are not `f32` or not finite. The error says what is
/// wrong.
pub fn from_safetensors(bytes: &[u8]) -> Result<Vec<NamedTensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut tensors = vec![];
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor '{name}' is {:?}, and F32 is needed", view.dtype()));
        }
        let numbers = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let data: Vec<f32> = numbers.collect();
        if data.iter().any(|x| !x.is_finite()) {
            return Err(format!("tensor '{name}' has numbers that are not finite"));
        }
        tensors.push(NamedTensor { shape: view.shape().to_vec(), data, name });
    }
    Ok(tensors)
}

/// Reads the network in a file of weights.
///
/// # Errors
/// When the file cannot be read, or has no network.
pub fn read_weights_file(path: &Path) -> Result<Vec<NamedTensor>, Error> {
    let bytes = read(path, Error::io("read", path))?;
    let damaged = |message| Error::Run { path: path.into(), message: format!("it has no weights: {message}") };
    from_safetensors(&bytes).map_err(damaged)
}

/// Reads what a file of weights tells about itself.
///
/// # Errors
/// When the file cannot be read, or tells nothing about itself.
pub fn read_about(path: &Path) -> Result<About, Error> {
    let bytes = read(path, Error::io("read", path))?;
    let about = || -> Result<About, String> {
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| e.to_string())?;
        let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(ABOUT));
        let text = text.ok_or("it does not tell which network it is for; name the folder of its run instead")?;
        serde_json::from_str(text).map_err(|e| format!("what it tells about itself is damaged: {e}"))
    };
    about().map_err(|message| Error::Run { path: path.into(), message: format!("it is no player: {message}") })
}

/// Writes a file of weights that tells which network it is for, as that of a checkpoint does. Its folder is made if need
/// be.
///
/// # Errors
/// When the file cannot be written.
pub fn write_weights(path: &Path, game: AnyGame, config: &Config, tensors: &[NamedTensor]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    write_file(path, &to_safetensors(tensors, Some(&About::of(game, config, &config.search))))
}

pub(crate) fn to_safetensors(tensors: &[NamedTensor], about: Option<&About>) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).expect("as many numbers as the shape says");
        (tensor.name.as_str(), view)
    });
    let about = about.map(|about| HashMap::from([(ABOUT.into(), serde_json::to_string(about).expect("plain data"))]));
    safetensors::serialize(views, about).expect("tensors have distinct names")
}
