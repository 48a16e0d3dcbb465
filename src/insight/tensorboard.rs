//! The numbers of a run as event files of TensorBoard: records of protocol buffers, each between its length and
//! checksums, as TensorFlow's `RecordWriter` frames them.

use crate::{
    Error,
    folder::Folder,
    insight::strength::{Mistakes, Strength},
};
use prost::Message;
use serde::Serialize;
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

/// TensorFlow's `Event`, of whose kinds three are written.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    Session(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// Always there: TensorFlow has it in a choice of several kinds, of which 0 is one as well.
    #[prost(float, optional, tag = "2")]
    value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The status of a session that begins: what was written of its step and later ones is no longer valid.
const START: i32 = 1;

/// A file of events, one for each process that makes a run.
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Begins a file of a run whose next generation this is. What other files have of it and of later ones is declared
    /// void.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(folder: &Folder, next: u64) -> Result<Self, Error> {
        let dir = folder.tensorboard();
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let name = format!("events.out.tfevents.{}.{}", seconds() as u64, std::process::id());
        let path = dir.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("write", &path))?;
        let mut events = Self { path, file };
        events.write(0, What::FileVersion("brain.Event:2".into()))?;
        events.write(next, What::Session(SessionLog { status: START }))?;
        Ok(events)
    }

    /// Writes all numbers of a line of metrics; those of a part are called as in `stages/evaluate`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn metrics(&mut self, generation: u64, line: &impl Serialize) -> Result<(), Error> {
        let mut values = vec![];
        numbers("metrics", &serde_json::to_value(line).expect("plain data"), &mut values);
        self.write(generation, What::Summary(Summary { values }))
    }

    /// Writes all numbers of a line of strength, and the shares of mistakes by the number of simulations.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn strength(&mut self, line: &Strength) -> Result<(), Error> {
        let mut values = vec![];
        numbers("strength", &serde_json::to_value(line).expect("plain data"), &mut values);
        values.extend(line.mistakes.iter().map(|Mistakes { simulations, positions, mistakes, .. }| Scalar {
            tag: format!("strength/mistakes/{simulations}_simulations"),
            value: Some(*mistakes as f32 / *positions as f32),
        }));
        self.write(line.generation, What::Summary(Summary { values }))
    }

    fn write(&mut self, step: u64, what: What) -> Result<(), Error> {
        let event = Event { wall_time: seconds(), step: step as i64, what: Some(what) };
        self.file.write_all(&framed(&event.encode_to_vec())).map_err(Error::io("write", &self.path))
    }
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Adds the numbers of a value under a name, those of its parts behind a slash. Lists are left out.
fn numbers(name: &str, value: &Value, found: &mut Vec<Scalar>) {
    match value {
        Value::Number(number) => {
            found.push(Scalar { tag: name.into(), value: number.as_f64().map(|number| number as f32) });
        }
        Value::Object(parts) => parts.iter().for_each(|(key, part)| numbers(&format!("{name}/{key}"), part, found)),
        _ => {}
    }
}

/// Returns a record with its length, the checksum of the length, and the checksum of the record behind it.
fn framed(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    let sum = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    [&length[..], &sum(&length), record, &sum(record)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    /// Reads the records of a file and checks their frames.
    fn read(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = vec![];
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let (record, rest) = bytes.split_at(12 + length + 4);
            assert_eq!(record, framed(&record[12..12 + length]));
            events.push(Event::decode(&record[12..12 + length]).unwrap());
            bytes = rest;
        }
        events
    }

    #[test]
    fn what_is_written_is_read_again() {
        // The checksum of TensorFlow's own test of an empty record: length 0.
        assert_eq!(framed(&[]), [0, 0, 0, 0, 0, 0, 0, 0, 0x29, 0x03, 0x98, 0x07, 0xd8, 0xea, 0x82, 0xa2]);
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path());
        let mut events = Events::begin(&folder, 3).unwrap();
        let metrics = Metrics { policy_loss: 1.5, ..Metrics::default() };
        events.metrics(3, &metrics).unwrap();
        let mistakes = vec![Mistakes { simulations: 64, positions: 200, mistakes: 50, interval: [0.0, 1.0] }];
        events.strength(&Strength { generation: 3, mistakes, divergence: 0.25, ..Strength::default() }).unwrap();
        let found = read(&fs::read(&events.path).unwrap());
        assert_eq!(found[0].what, Some(What::FileVersion("brain.Event:2".into())));
        assert_eq!((found[1].step, &found[1].what), (3, &Some(What::Session(SessionLog { status: START }))));
        let value = |event: &Event, tag: &str| match &event.what {
            Some(What::Summary(summary)) => summary.values.iter().find(|value| value.tag == tag)?.value,
            _ => None,
        };
        assert_eq!((found[2].step, value(&found[2], "metrics/policy_loss")), (3, Some(1.5)));
        assert_eq!(value(&found[2], "metrics/stages/evaluate"), Some(0.0));
        assert_eq!(value(&found[3], "strength/divergence"), Some(0.25));
        assert_eq!(value(&found[3], "strength/mistakes/64_simulations"), Some(0.25));
    }
}
