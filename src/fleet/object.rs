//! Object storage: a folder, and with the feature `cloud` the buckets of S3, Google and Azure.

use super::{
    Address,
    store::{Found, Store},
};
use crate::Error;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{Error as Refusal, ObjectStore, ObjectStoreExt, PutMode, local::LocalFileSystem, path::Path as Key};
use std::{fs, sync::Arc, time::Duration};
use tokio::runtime::{Builder, Runtime};

/// How many objects are asked for at a time.
const AT_A_TIME: usize = 32;

struct Objects {
    address: Address,
    store: Arc<dyn ObjectStore>,
    /// What stands in front of every key.
    prefix: String,
    runtime: Runtime,
    pace: Duration,
}

/// Opens a folder, which is made if need be.
pub(super) fn folder(address: &Address) -> Result<Box<dyn Store>, Error> {
    let path = std::path::Path::new(address.rest());
    fs::create_dir_all(path).map_err(Error::io("create", path))?;
    let store = LocalFileSystem::new_with_prefix(path).map_err(|e| address.error(e))?;
    Objects::open(address, Arc::new(store), String::new(), Duration::from_millis(100))
}

/// Opens a bucket, with the credentials that the environment has, or those of the machine or the pod.
#[cfg(feature = "cloud")]
pub(super) fn bucket(address: &Address) -> Result<Box<dyn Store>, Error> {
    use object_store::{aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder};

    // Only the first one counts, and there is none before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (bucket, prefix) = address.rest().split_once('/').unwrap_or((address.rest(), ""));
    let store: Result<Arc<dyn ObjectStore>, Refusal> = match address.scheme() {
        "s3" => AmazonS3Builder::from_env().with_bucket_name(bucket).build().map(|store| Arc::new(store) as _),
        "gs" => {
            GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).build().map(|store| Arc::new(store) as _)
        }
        _ => MicrosoftAzureBuilder::from_env().with_container_name(bucket).build().map(|store| Arc::new(store) as _),
    };
    let store = store.map_err(|e| address.error(e))?;
    Objects::open(address, store, prefix.trim_matches('/').into(), Duration::from_secs(1))
}

impl Objects {
    fn open(
        address: &Address,
        store: Arc<dyn ObjectStore>,
        prefix: String,
        pace: Duration,
    ) -> Result<Box<dyn Store>, Error> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| address.error(e))?;
        Ok(Box::new(Self { address: address.clone(), store, prefix, runtime, pace }))
    }

    fn key(&self, key: &str) -> Key {
        Key::from(format!("{}/{key}", self.prefix))
    }

    fn refused(&self, error: Refusal) -> Error {
        self.address.error(error)
    }
}

impl Store for Objects {
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool, Error> {
        let key = self.key(key);
        match self.runtime.block_on(self.store.put_opts(&key, bytes.into(), PutMode::Create.into())) {
            Ok(_) => Ok(true),
            // One that others are about to make is there as well.
            Err(Refusal::AlreadyExists { .. } | Refusal::Precondition { .. }) => Ok(false),
            // What creates a file there links it to its name, which fails where the name is taken.
            Err(error) if self.address.scheme() == "folder" && error.to_string().contains("rename") => Err(self
                .address
                .error(format!("{error}; the folder of a fleet must be on a file system with hard links"))),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn replace(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let puts = objects.into_iter().map(|(key, bytes)| {
            let key = self.key(&key);
            async move { self.store.put(&key, bytes.into()).await.map(drop) }
        });
        let done = stream::iter(puts).buffer_unordered(AT_A_TIME).try_collect::<()>();
        self.runtime.block_on(done).map_err(|e| self.refused(e))
    }

    fn get(&self, keys: &[String], most: u64) -> Result<Vec<Found>, Error> {
        let gets = keys.iter().map(|key| async move {
            let found = match self.store.get(&self.key(key)).await {
                Err(Refusal::NotFound { .. }) => return Ok(None),
                found => found?,
            };
            if found.meta.size > most {
                return Ok(Some(Found { key: key.clone(), bytes: None }));
            }
            match found.bytes().await {
                Err(Refusal::NotFound { .. }) => Ok(None),
                bytes => Ok(Some(Found { key: key.clone(), bytes: Some(bytes?.into()) })),
            }
        });
        let found = stream::iter(gets).buffered(AT_A_TIME).try_collect::<Vec<_>>();
        let found = self.runtime.block_on(found).map_err(|e| self.refused(e))?;
        Ok(found.into_iter().flatten().collect())
    }

    fn list(&self, part: &str) -> Result<Vec<String>, Error> {
        let part = self.key(part.trim_end_matches('/'));
        let skipped = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let keys = self.store.list(Some(&part)).map_ok(|meta| meta.location.to_string()).try_collect::<Vec<_>>();
        match self.runtime.block_on(keys) {
            // A file that goes while a folder is listed.
            Err(Refusal::NotFound { .. }) => Ok(vec![]),
            keys => {
                let keys = keys.map_err(|e| self.refused(e))?;
                Ok(keys.into_iter().filter_map(|key| Some(key.get(skipped..)?.into())).collect())
            }
        }
    }

    fn remove(&self, keys: Vec<String>) -> Result<(), Error> {
        let keys: Vec<_> = keys.iter().map(|key| Ok(self.key(key))).collect();
        let mut removed = self.store.delete_stream(stream::iter(keys).boxed());
        self.runtime.block_on(async {
            while let Some(removed) = removed.next().await {
                match removed {
                    Ok(_) | Err(Refusal::NotFound { .. }) => {}
                    Err(error) => return Err(self.refused(error)),
                }
            }
            Ok(())
        })
    }

    fn pace(&self) -> Duration {
        self.pace
    }

    fn answers(&self) -> f64 {
        // Buckets promise 5,500 reads in a second below a prefix.
        4_000.0
    }
}
