//! Places where a fleet meets: bytes under keys, and no more than what every engine can do with them.

use super::Address;
use crate::Error;
use std::time::Duration;

/// A place where bytes lie under keys, such as a folder, a bucket or a stream. Nothing of a run rests on it: what is lost
/// there, comes late, comes twice or is listed though it is gone costs time alone.
///
/// Keys are parts of letters, digits, `-` and `_`, with `/` between them.
pub trait Store: Send + Sync {
    /// Stores bytes under a key that has none, and returns whether it had none: of two that try, one succeeds.
    ///
    /// # Errors
    /// When the place cannot be reached, or refuses.
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool, Error>;

    /// Stores bytes under their keys, whatever was there before. Nobody ever reads half of them.
    ///
    /// # Errors
    /// When the place cannot be reached, or refuses.
    fn replace(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), Error>;

    /// Returns what lies under these keys, of at most `most` bytes each; keys without bytes are left out.
    ///
    /// # Errors
    /// When the place cannot be reached, or refuses.
    fn get(&self, keys: &[String], most: u64) -> Result<Vec<Found>, Error>;

    /// Returns what lies under a key, if it is there and has at most `most` bytes.
    ///
    /// # Errors
    /// The errors of [`Store::get`].
    fn get_one(&self, key: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.get(&[key.into()], most)?.into_iter().next().and_then(|found| found.bytes))
    }

    /// Returns the keys that begin with this part and have bytes, in no order.
    ///
    /// # Errors
    /// When the place cannot be reached, or refuses.
    fn list(&self, part: &str) -> Result<Vec<String>, Error>;

    /// Removes the bytes under these keys, where there are any.
    ///
    /// # Errors
    /// When the place cannot be reached, or refuses.
    fn remove(&self, keys: Vec<String>) -> Result<(), Error>;

    /// Returns the time from one look at the place to the next: what is cheap there is asked for often.
    fn pace(&self) -> Duration;

    /// Returns how many looks in a second the place is to answer, of all workers together.
    fn answers(&self) -> f64;

    /// Returns the time of so many looks, or the most that it may be.
    fn paces(&self, (count, most): (u32, Duration)) -> Duration {
        (count * self.pace()).min(most)
    }
}

/// What lies under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The key.
    pub key: String,
    /// The bytes; `None` if they are more than were asked for.
    pub bytes: Option<Vec<u8>>,
}

/// Opens the place at an address.
///
/// # Errors
/// When this program was built without what reaches the place, the address is none, or the place refuses.
pub fn open(address: &Address) -> Result<Box<dyn Store>, Error> {
    match address.scheme() {
        #[cfg(feature = "fleet")]
        "folder" => super::object::folder(address),
        #[cfg(feature = "cloud")]
        "s3" | "gs" | "az" => super::object::bucket(address),
        #[cfg(feature = "nats")]
        "nats" => super::nats::open(address),
        scheme => {
            let feature = match scheme {
                "folder" => "fleet",
                "nats" => "nats",
                _ => "cloud",
            };
            Err(address.error(format!(
                "this lockstep was built without what reaches {scheme}: build it with --features {feature}"
            )))
        }
    }
}
