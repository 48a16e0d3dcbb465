//! Checkpoints: everything that a run needs to go on exactly where it was.
//!
//! `checkpoints/<generation>/` holds
//! - `weights.safetensors`: the network, under its tensors' names;
//! - `optimizer.bin`: burn's record of the optimiser, compressed with zstd;
//! - `state.bin`: the learner's state, the replay buffer and all lanes, in postcard, compressed with zstd, behind a
//!   hash of the whole. In it are the hashes of the other files;
//! - `config.toml`: the settings that it was made with.

use crate::{
    Error,
    folder::{Folder, sync_dir},
    settings,
};
use lockstep_components::{Config, Game, Replay};
use lockstep_systems::{learn::LearnerState, network::NamedTensor, snapshot::Snapshot};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    hash::Hasher,
    io::Write,
    path::{Path, PathBuf},
};

/// Raised when the format changes, so that an old program refuses a new checkpoint and the other way round.
const FORMAT: u32 = 3;

/// The settings that a checkpoint was made with.
const CONFIG: &str = "config.toml";

/// What is in `state.bin`.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct State<G: Game> {
    learner: LearnerState,
    replay: Replay<G>,
    lanes: Snapshot<G>,
    seconds: Seconds,
}

/// In front of it: enough to tell what is wrong with a file that is not the expected one.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    game: String,
    weights_hash: u64,
    optimizer_hash: u64,
    config_hash: u64,
}

/// Time that a run has spent so far. It is shown and reported, and influences nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Playing.
    pub play: f64,
    /// Learning.
    pub learn: f64,
    /// Of these, in the generation under way.
    pub this_play: f64,
    /// Of these, in the generation under way.
    pub this_learn: f64,
}

/// A checkpoint in memory.
pub struct Checkpoint<G: Game> {
    /// What it was made with.
    pub config: Config,
    /// The network.
    pub tensors: Vec<NamedTensor>,
    /// Burn's record.
    pub optimizer: Vec<u8>,
    /// The learner.
    pub learner: LearnerState,
    /// What it learns from.
    pub replay: Replay<G>,
    /// The games in play.
    pub lanes: Snapshot<G>,
    /// Time spent.
    pub seconds: Seconds,
}

impl<G: Game> Checkpoint<G> {
    /// Writes it as that of its generation, and removes all but the newest `keep`.
    ///
    /// # Errors
    /// When a file cannot be written. The checkpoints that were there before are then still there.
    pub fn write(self, folder: &Folder, keep: usize) -> Result<PathBuf, Error> {
        let all = folder.checkpoints();
        let generation = self.learner.generation;
        let place = all.join(generation.to_string());
        let partial = all.join(".partial");
        let replaced = all.join(format!(".replaced-{generation}"));
        let weights = to_safetensors(&self.tensors);
        let optimizer = compress(&self.optimizer);
        let config = settings::to_text(&self.config).into_bytes();
        let header = Header {
            format: FORMAT,
            game: G::NAME.into(),
            weights_hash: hash(&weights),
            optimizer_hash: hash(&optimizer),
            config_hash: hash(&config),
        };
        let state = State { learner: self.learner, replay: self.replay, lanes: self.lanes, seconds: self.seconds };
        let bytes = packed(&header, &state);
        let state_hash = hash(&bytes).to_le_bytes();
        let write = || -> std::io::Result<()> {
            remove(&partial)?;
            remove(&replaced)?;
            fs::create_dir(&partial)?;
            let files: [(&str, &[&[u8]]); 4] = [
                ("weights.safetensors", &[&weights]),
                ("optimizer.bin", &[&optimizer]),
                ("state.bin", &[&state_hash, &bytes]),
                (CONFIG, &[&config]),
            ];
            for (name, parts) in files {
                let mut file = File::create(partial.join(name))?;
                parts.iter().try_for_each(|part| file.write_all(part))?;
                file.sync_all()?;
            }
            sync_dir(&partial)?;
            // A folder cannot replace another in one step. If the program ends between these two, `mend` puts the
            // old one back.
            if place.exists() {
                fs::rename(&place, &replaced)?;
            }
            fs::rename(&partial, &place)?;
            sync_dir(&all)?;
            remove(&replaced)?;
            prune(folder, keep)
        };
        let written = write();
        if written.is_err() && !place.exists() && replaced.exists() {
            // Best effort: the error that is reported is the first one.
            let _ = fs::rename(&replaced, &place);
        }
        written.map_err(Error::io("write the checkpoint", &place))?;
        Ok(place)
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is damaged, of another game, or of another version of lockstep.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let fail = |message: String| Error::Checkpoint { path: path.into(), message };
        let (tensors, weights_hash) = read_weights_hashed(path)?;
        let file = |name: &str| {
            let path = path.join(name);
            fs::read(&path).map_err(Error::io("read", &path))
        };
        let optimizer = file("optimizer.bin")?;
        let config_text = file(CONFIG)?;
        let bytes = file("state.bin")?;
        let bytes = match bytes.split_first_chunk::<8>() {
            Some((stored, rest)) if u64::from_le_bytes(*stored) == hash(rest) => rest,
            _ => return Err(fail("state.bin is damaged".into())),
        };
        let bytes = decompress(bytes).map_err(|e| fail(format!("state.bin is damaged ({e})")))?;
        let (header, rest) = postcard::take_from_bytes::<Header>(&bytes)
            .map_err(|e| fail(format!("state.bin does not begin as one of lockstep ({e})")))?;
        if header.format != FORMAT {
            let found = header.format;
            return Err(fail(format!("it has format {found}, and this version of lockstep reads format {FORMAT}")));
        }
        if header.game != G::NAME {
            return Err(fail(format!("it is one of '{}', not of '{}'", header.game, G::NAME)));
        }
        if header.weights_hash != weights_hash
            || header.optimizer_hash != hash(&optimizer)
            || header.config_hash != hash(&config_text)
        {
            return Err(fail("its files do not belong together, or one is damaged".into()));
        }
        let state: State<G> = postcard::from_bytes(rest).map_err(|e| fail(format!("state.bin is damaged ({e})")))?;
        let optimizer = decompress(&optimizer).map_err(|e| fail(format!("optimizer.bin is damaged ({e})")))?;
        let State { learner, replay, lanes, seconds } = state;
        let config = read_config(path)?;
        Ok(Self { config, tensors, optimizer, learner, replay, lanes, seconds })
    }
}

/// The folder of the newest checkpoint, if there is one. Nothing is written: whoever only reads may call this while
/// another process trains.
///
/// # Errors
/// When the folder cannot be read.
pub fn newest(folder: &Folder) -> Result<Option<PathBuf>, Error> {
    Ok(found_or_none(folder)?.pop_last().map(|(_, path)| path))
}

/// The folder of the checkpoint of a generation, if there is one. Nothing is written.
///
/// # Errors
/// When the folder cannot be read.
pub fn of_generation(folder: &Folder, generation: u64) -> Result<Option<PathBuf>, Error> {
    Ok(found_or_none(folder)?.remove(&generation))
}

/// Ends what a killed program has begun: puts checkpoints back that lie under another name, and removes what it was
/// about to remove. Only for the holder of the folder's lock: a process that is writing a checkpoint passes through the
/// same state.
///
/// # Errors
/// When the folder cannot be read, or a checkpoint cannot be renamed or removed.
pub fn mend(folder: &Folder) -> Result<(), Error> {
    let all = folder.checkpoints();
    for (generation, path) in found_or_none(folder)? {
        let place = all.join(generation.to_string());
        if path != place {
            fs::rename(&path, &place).and_then(|()| sync_dir(&all)).map_err(Error::io("put back", &path))?;
        }
    }
    let Some(newest) = newest(folder)? else { return Ok(()) };
    // As many as were to be kept when the newest one was written.
    let keep = read_config(&newest)?.run.checkpoints;
    let tidy = || -> std::io::Result<()> {
        for entry in fs::read_dir(&all)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name == ".partial" || name.starts_with(REMOVED) || name.starts_with(".replaced-") {
                remove(&path)?;
            }
        }
        prune(folder, keep)
    };
    tidy().map_err(Error::io("tidy", &all))
}

/// In front of the generation of a checkpoint that is being removed.
const REMOVED: &str = ".removed-";

/// Removes all checkpoints but the newest `keep`, each in one step as far as readers can see.
fn prune(folder: &Folder, keep: usize) -> std::io::Result<()> {
    let all = folder.checkpoints();
    for old in generations(folder)?.into_iter().rev().skip(keep) {
        let removed = all.join(format!("{REMOVED}{old}"));
        remove(&removed)?;
        fs::rename(all.join(old.to_string()), &removed)?;
        remove(&removed)?;
    }
    Ok(())
}

/// Generations that have a checkpoint, in ascending order.
///
/// # Errors
/// When the folder cannot be read.
pub fn generations(folder: &Folder) -> std::io::Result<Vec<u64>> {
    Ok(found(folder)?.into_keys().collect())
}

fn found_or_none(folder: &Folder) -> Result<BTreeMap<u64, PathBuf>, Error> {
    match found(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        found => found.map_err(Error::io("read", &folder.checkpoints())),
    }
}

/// All checkpoints by generation, where they lie: one that was about to be replaced when the program was killed still
/// has the name that it was moved to. Where both names exist, the new one is whole.
fn found(folder: &Folder) -> std::io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder.checkpoints())? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let moved = name.strip_prefix(".replaced-");
        let Ok(generation) = moved.unwrap_or(name).parse::<u64>() else { continue };
        // `+5` and `05` are numbers too, and no names that a checkpoint has.
        if generation.to_string() != moved.unwrap_or(name) {
            continue;
        }
        if moved.is_none() {
            found.insert(generation, entry.path());
        } else {
            found.entry(generation).or_insert_with(|| entry.path());
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What a checkpoint was made with.
///
/// # Errors
/// When the file is missing or no configuration.
pub fn read_config(checkpoint: &Path) -> Result<Config, Error> {
    settings::load(Some(&checkpoint.join(CONFIG)), &[])
}

/// The network of a checkpoint alone.
///
/// # Errors
/// When the file is missing or damaged.
pub fn read_weights(checkpoint: &Path) -> Result<Vec<NamedTensor>, Error> {
    Ok(read_weights_hashed(checkpoint)?.0)
}

fn read_weights_hashed(checkpoint: &Path) -> Result<(Vec<NamedTensor>, u64), Error> {
    let path = checkpoint.join("weights.safetensors");
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let fail = |message: String| Error::Checkpoint { path: checkpoint.into(), message };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(format!("weights.safetensors is damaged ({e})")))?;
    let mut tensors = vec![];
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(fail(format!("tensor '{name}' is {:?}, and F32 is needed", view.dtype())));
        }
        let numbers = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let data: Vec<f32> = numbers.collect();
        if data.iter().any(|x| !x.is_finite()) {
            return Err(fail(format!("tensor '{name}' has numbers that are not finite")));
        }
        tensors.push(NamedTensor { shape: view.shape().to_vec(), data, name });
    }
    Ok((tensors, hash(&bytes)))
}

fn to_safetensors(tensors: &[NamedTensor]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).expect("as many numbers as the shape says");
        (tensor.name.as_str(), view)
    });
    safetensors::serialize(views, None).expect("tensors have distinct names")
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// Both, serialised and compressed on the way, so that the serialised form is never in memory as a whole.
fn packed(header: &Header, state: &impl Serialize) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(vec![], 1).expect("a level that there is");
    postcard::to_io(header, &mut encoder).expect("plain data");
    postcard::to_io(state, &mut encoder).expect("plain data");
    encoder.finish().expect("writing to memory")
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("writing to memory")
}

fn decompress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::decode_all(bytes)
}
