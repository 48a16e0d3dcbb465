//! NATS JetStream: a stream of its own for each fleet, which keeps the last message of each subject.
//!
//! A key is a subject: `in/<worker>/<number>` is `lockstep.<name>.in.<worker>.<number>`. Objects that are larger than a message
//! may be lie in parts under `lockstep.<name>.parts.<area>.<digest>.<part>`, where the area is the first part of the key, so that
//! who may write an area may write its parts; the key has the digest and the number of parts. The stream may lose whatever it has acknowledged; it is made again when it is gone.

use super::{
    Address,
    message::digest,
    store::{Found, Store},
};
use crate::Error;
use async_nats::{
    ConnectOptions, HeaderMap, StatusCode,
    jetstream::{
        self, Context, ErrorCode,
        context::{PublishErrorKind, RequestErrorKind},
        message::PublishMessage,
        stream::{Config, DirectGetErrorKind, Stream},
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{env, time::Duration};
use tokio::runtime::{Builder, Runtime};

/// How many objects are asked for at a time.
const AT_A_TIME: usize = 32;
/// The most bytes of a message; servers allow a million unless they are told otherwise.
const PART: usize = 500_000;
/// The header of an object in parts: its digest, and how many there are.
const PARTS: &str = "Lockstep-Parts";

struct Nats {
    address: Address,
    context: Context,
    stream: Stream<()>,
    name: String,
    runtime: Runtime,
}

/// Connects to a server, with the credentials that the environment names: `NATS_CREDS`, a file, or `NATS_USER` and
/// `NATS_PASSWORD`, or `NATS_TOKEN`; `NATS_CA` is a file with the certificate that has signed the server's.
pub(super) fn open(address: &Address) -> Result<Box<dyn Store>, Error> {
    let (server, name) = address.rest().split_once('/').unwrap_or((address.rest(), "fleet"));
    let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_word {
        return Err(address.error(format!("'{name}' is no name of a fleet: it must be letters, digits, - and _")));
    }
    // Its connection lives on a thread of its own between two calls.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| address.error(e))?;
    let connect = async {
        let mut options = ConnectOptions::new().name("lockstep").connection_timeout(Duration::from_secs(10));
        if let Ok(file) = env::var("NATS_CREDS") {
            options = options.credentials_file(&file).await.map_err(|e| format!("NATS_CREDS={file}: {e}"))?;
        }
        if let (Ok(user), Ok(password)) = (env::var("NATS_USER"), env::var("NATS_PASSWORD")) {
            options = options.user_and_password(user, password);
        }
        let (own, server) = server.rsplit_once('@').map_or((None, server), |(own, server)| (Some(own), server));
        options = match own.map(|own| own.split_once(':').ok_or(own)) {
            None => options,
            Some(Ok((user, password))) => options.user_and_password(user.into(), password.into()),
            Some(Err(token)) => options.token(token.into()),
        };
        if let Ok(token) = env::var("NATS_TOKEN") {
            options = options.token(token);
        }
        if let Ok(file) = env::var("NATS_CA") {
            options = options.add_root_certificates(file.into()).require_tls(true);
        }
        let client = options.connect(format!("nats://{server}")).await.map_err(|e| e.to_string())?;
        let mut context = jetstream::new(client);
        context.set_timeout(Duration::from_secs(10));
        let stream = context.get_stream_no_info(format!("LOCKSTEP_{name}")).await.map_err(|e| e.to_string())?;
        Ok((context, stream))
    };
    let (context, stream) = runtime.block_on(connect).map_err(|e: String| address.error(e))?;
    Ok(Box::new(Nats { address: address.clone(), context, stream, name: name.into(), runtime }))
}

impl Nats {
    fn subject(&self, key: &str) -> String {
        format!("lockstep.{}.{}", self.name, key.replace('/', "."))
    }

    /// Returns the subject of a part of an object, or of all of them.
    fn part(&self, key: &str, digest: &str, number: impl std::fmt::Display) -> String {
        let area = key.split('/').next().unwrap_or_default();
        self.subject(&format!("parts/{area}/{digest}/{number}"))
    }

    /// Makes the stream.
    async fn make(&self) -> Result<(), String> {
        let config = Config {
            name: format!("LOCKSTEP_{}", self.name),
            subjects: vec![format!("lockstep.{}.>", self.name)],
            max_messages_per_subject: 1,
            allow_direct: true,
            ..Config::default()
        };
        self.context.get_or_create_stream(config).await.map(drop).map_err(|e| format!("the stream cannot be made: {e}"))
    }

    /// Publishes a message, and returns whether it was the first of its subject, if that matters.
    async fn publish(&self, subject: &str, message: PublishMessage) -> Result<bool, String> {
        for again in [true, false] {
            let done = match self.context.send_publish(subject.to_string(), message.clone()).await {
                Ok(sent) => sent.await,
                Err(error) => Err(error),
            };
            match done {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => return Ok(false),
                // It was not made yet, or is gone.
                Err(error) if error.kind() == PublishErrorKind::StreamNotFound && again => self.make().await?,
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the stream cannot be found".into())
    }

    /// Stores an object, in parts if it is large.
    async fn store(&self, key: &str, bytes: Vec<u8>, first: bool) -> Result<bool, String> {
        let mut message = PublishMessage::build();
        if bytes.len() <= PART {
            message = message.payload(bytes.into());
        } else {
            let (digest, parts) = (digest(&bytes), bytes.chunks(PART));
            let mut headers = HeaderMap::new();
            headers.insert(PARTS, format!("{digest} {}", parts.len()));
            for (number, part) in parts.enumerate() {
                let subject = self.part(key, &digest, number);
                self.publish(&subject, PublishMessage::build().payload(part.to_vec().into())).await?;
            }
            message = message.headers(headers);
        }
        if first {
            message = message.expected_last_subject_sequence(0);
        }
        self.publish(&self.subject(key), message).await
    }

    /// Returns the last message of a subject.
    async fn last(&self, subject: String) -> Result<Option<(HeaderMap, Vec<u8>)>, String> {
        match self.stream.direct_get_last_for_subject(subject).await {
            Ok(message) => Ok(Some((message.headers, message.payload.into()))),
            Err(error) => match error.kind() {
                DirectGetErrorKind::NotFound => Ok(None),
                // Nobody answers for a stream that is not there.
                DirectGetErrorKind::ErrorResponse(StatusCode::NO_RESPONDERS, _) => Ok(None),
                _ => Err(error.to_string()),
            },
        }
    }

    async fn found(&self, key: &str, most: u64) -> Result<Option<Found>, String> {
        let Some((headers, bytes)) = self.last(self.subject(key)).await? else { return Ok(None) };
        let found = |bytes| Ok(Some(Found { key: key.into(), bytes }));
        let Some(parts) = headers.get(PARTS) else {
            return found(Some(bytes).filter(|bytes| bytes.len() as u64 <= most));
        };
        let (digest, count) = parts.as_str().split_once(' ').unwrap_or_default();
        let count: u64 = count.parse().unwrap_or(u64::MAX);
        if count.saturating_sub(1).saturating_mul(PART as u64) > most {
            return found(None);
        }
        let mut all = vec![];
        for number in 0..count {
            let Some((_, part)) = self.last(self.part(key, digest, number)).await? else {
                return Ok(None);
            };
            all.extend(part);
        }
        found(Some(all).filter(|all| all.len() as u64 <= most))
    }
}

/// Returns the code of the server's answer that is behind an error.
fn code_of(error: &dyn std::error::Error) -> Option<ErrorCode> {
    let source = error.source()?;
    source.downcast_ref::<jetstream::Error>().map(|error| error.error_code()).or_else(|| code_of(source))
}

impl Store for Nats {
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool, Error> {
        self.runtime.block_on(self.store(key, bytes, true)).map_err(|e| self.address.error(e))
    }

    fn replace(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let puts =
            objects.into_iter().map(|(key, bytes)| async move { self.store(&key, bytes, false).await.map(drop) });
        let done = stream::iter(puts).buffer_unordered(AT_A_TIME).try_collect::<()>();
        self.runtime.block_on(done).map_err(|e| self.address.error(e))
    }

    fn get(&self, keys: &[String], most: u64) -> Result<Vec<Found>, Error> {
        let gets = stream::iter(keys).map(|key| self.found(key, most)).buffered(AT_A_TIME).try_collect::<Vec<_>>();
        let found = self.runtime.block_on(gets).map_err(|e| self.address.error(e))?;
        Ok(found.into_iter().flatten().collect())
    }

    fn list(&self, part: &str) -> Result<Vec<String>, Error> {
        let filter = format!("{}.>", self.subject(part.trim_end_matches('/')));
        let skipped = self.subject("").len();
        let subjects = async {
            let subjects = match self.stream.info_with_subjects(filter).await {
                Ok(subjects) => subjects,
                // It was not made yet, or is gone.
                Err(error) if code_of(&error) == Some(ErrorCode::STREAM_NOT_FOUND) => return Ok(vec![]),
                Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                    return Err("the server has no JetStream: start it with nats-server -js".into());
                }
                Err(error) => return Err(error.to_string()),
            };
            let subjects = subjects.try_collect::<Vec<_>>().await.map_err(|e| e.to_string())?;
            Ok(subjects.into_iter().map(|(subject, _)| subject[skipped..].replace('.', "/")).collect())
        };
        self.runtime.block_on(subjects).map_err(|e| self.address.error(e))
    }

    fn remove(&self, keys: Vec<String>) -> Result<(), Error> {
        let purge = |key: String| async move {
            if let Some((headers, _)) = self.last(self.subject(&key)).await?
                && let Some((digest, _)) = headers.get(PARTS).and_then(|parts| parts.as_str().split_once(' '))
            {
                let parts = self.part(&key, digest, ">");
                self.stream.purge().filter(parts).await.map_err(|e| e.to_string())?;
            }
            self.stream.purge().filter(self.subject(&key)).await.map(drop).map_err(|e| e.to_string())
        };
        let purges = stream::iter(keys).map(purge).buffer_unordered(AT_A_TIME).try_collect::<()>();
        self.runtime.block_on(purges).map_err(|e| self.address.error(e))
    }

    fn pace(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn answers(&self) -> f64 {
        // A server answers several times as many, and has other things to do.
        20_000.0
    }
}
