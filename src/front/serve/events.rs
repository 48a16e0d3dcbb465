//! The streams of events: one for a browser, in which the sessions of all its tabs report.

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use serde_json::Value;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{Interval, MissedTickBehavior, interval},
};

/// The most streams at the same time.
const STREAMS: usize = 256;

/// The most streams of one browser: the oldest one ends when another one begins.
const OF_BROWSER: usize = 8;

/// The number of events that a stream keeps for a client that does not take them. The stream of a slower client ends,
/// and the client, which connects again, asks for what it has missed.
const KEPT: usize = 64;

/// The time between two signs of life, by which a client that has gone is found out.
const SIGN: Duration = Duration::from_secs(15);

/// All streams that are open.
#[derive(Default)]
pub struct Hub(Mutex<Vec<Open>>);

struct Open {
    browser: String,
    events: Sender<Bytes>,
}

impl Hub {
    /// Opens a stream for a browser, or returns `None` if there are too many.
    pub fn open(&self, browser: &str) -> Option<Stream> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| !stream.events.is_closed());
        let own = streams.iter().filter(|stream| stream.browser == browser).count();
        if own >= OF_BROWSER
            && let Some(oldest) = streams.iter().position(|stream| stream.browser == browser)
        {
            streams.remove(oldest);
        }
        if streams.len() >= STREAMS {
            return None;
        }
        let (events, receiver) = channel(KEPT);
        streams.push(Open { browser: browser.into(), events });
        let mut signs = interval(SIGN);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Stream { events: receiver, signs })
    }

    /// Sends an event to the streams of one browser, or to all of them.
    pub fn send(&self, browser: Option<&str>, event: &Value) {
        let bytes = Bytes::from(format!("data: {event}\n\n"));
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| {
            browser.is_some_and(|browser| browser != stream.browser) || stream.events.try_send(bytes.clone()).is_ok()
        });
    }

    /// Returns the number of streams that are open.
    pub fn count(&self) -> usize {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| !stream.events.is_closed());
        streams.len()
    }
}

/// The body of an answer that goes on for as long as its client listens.
pub struct Stream {
    events: Receiver<Bytes>,
    signs: Interval,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.events.poll_recv(cx) {
            Poll::Ready(event) => Poll::Ready(event.map(|event| Ok(Frame::data(event)))),
            // The first sign comes at once, so that the client knows that it is heard.
            Poll::Pending => self.signs.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b": here\n\n"))))),
        }
    }
}
