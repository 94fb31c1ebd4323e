//! Words on a connection: JSON in frames of known length.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::codec::{Encoder, FramedRead, LengthDelimitedCodec};

/// Words that are written at once when they have gathered.
const TOGETHER: usize = 256;
/// Largest word, in bytes: a replica tells all that it has in flight in one.
const LARGEST: usize = 64 << 20;
/// Largest word of whoever has not said the secret yet, in bytes.
const LARGEST_OF_STRANGERS: usize = 4 << 10;

fn codec(largest: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(largest).new_codec()
}

/// The words that come in.
#[derive(Debug)]
pub struct Words(FramedRead<OwnedReadHalf, LengthDelimitedCodec>);

impl Words {
    /// The words on a connection, which must be small.
    #[must_use]
    pub fn of_stranger(read: OwnedReadHalf) -> Self {
        Self(FramedRead::new(read, codec(LARGEST_OF_STRANGERS)))
    }

    /// Takes large words too from now on.
    pub fn trust(&mut self) {
        self.0.decoder_mut().set_max_frame_length(LARGEST);
    }

    /// The next one; None at the end.
    ///
    /// # Errors
    /// When the connection breaks, or when it is no word.
    pub async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        match self.0.next().await {
            None => Ok(None),
            Some(frame) => Ok(Some(serde_json::from_slice(&frame?)?)),
        }
    }
}

/// Writes the words of `receiver` until nobody can send any more.
///
/// # Errors
/// When the connection breaks.
pub async fn write<T: Serialize>(mut write: OwnedWriteHalf, receiver: &mut UnboundedReceiver<T>) -> io::Result<()> {
    let mut codec = codec(LARGEST);
    let mut words = Vec::new();
    let mut bytes = BytesMut::new();
    while receiver.recv_many(&mut words, TOGETHER).await > 0 {
        for word in words.drain(..) {
            codec.encode(Bytes::from(serde_json::to_vec(&word)?), &mut bytes)?;
        }
        write.write_all_buf(&mut bytes).await?;
    }
    Ok(())
}
