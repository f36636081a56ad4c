//! Length-prefixed frames on a stream, each wait with a deadline.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::Stream;
use samebit_spec::wire::{self, DecodeError};
use std::{io, time::Duration};
use tokio::time::timeout;

/// N1: a frame's buffer grows by at most so much ahead of the bytes that came.
const STRIDE: usize = 64 << 10;

/// Why a stream cannot be used any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The peer ended the stream inside a frame, or reset it.
    #[error("stream broke: {reason}")]
    Broken {
        /// What is known of it.
        reason: String,
    },
    /// N2. Nothing came, or nothing went, for so long.
    #[error("stream was silent for {within:?}")]
    Silent {
        /// How long was waited.
        within: Duration,
    },
    /// The peer announced a longer frame than the protocol allows here.
    #[error("frame of {given} bytes, at most {max}")]
    TooLong {
        /// What was announced, or is to be sent.
        given: usize,
        /// The most.
        max: usize,
    },
    /// The frame's bytes are no value of the type that the protocol has here.
    #[error("frame: {0}")]
    Malformed(DecodeError),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Broken { reason: error.to_string() }
    }
}

/// A stream of frames: four bytes of length, little-endian, then so many bytes. After an error it is useless
/// and is to be dropped, which resets it.
pub struct FrameStream {
    stream: Stream,
    /// Given back when the stream is dropped.
    _place: Option<crate::swarm::Place>,
}

impl std::fmt::Debug for FrameStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameStream")
    }
}

impl FrameStream {
    pub(crate) fn new(stream: Stream, place: Option<crate::swarm::Place>) -> Self {
        Self { stream, _place: place }
    }

    /// Sends a value as one frame.
    ///
    /// # Errors
    /// [`StreamError::Broken`], [`StreamError::Silent`], [`StreamError::TooLong`].
    pub async fn send<T: borsh::BorshSerialize>(&mut self, value: &T, within: Duration) -> Result<(), StreamError> {
        self.send_bytes(&wire::encode(value), within).await
    }

    /// Reads a value from one frame of at most `max` bytes; `None` when the peer ended the stream before it.
    ///
    /// # Errors
    /// [`StreamError`], each of its kinds.
    pub async fn receive<T: borsh::BorshDeserialize>(
        &mut self,
        max: usize,
        within: Duration,
    ) -> Result<Option<T>, StreamError> {
        let frame = limited(within, read_frame(&mut self.stream, max)).await?;
        frame.map(|bytes| wire::decode(&bytes).map_err(StreamError::Malformed)).transpose()
    }

    /// Sends bytes as one frame.
    ///
    /// # Errors
    /// [`StreamError::Broken`], [`StreamError::Silent`], [`StreamError::TooLong`].
    pub async fn send_bytes(&mut self, frame: &[u8], within: Duration) -> Result<(), StreamError> {
        limited(within, write_frame(&mut self.stream, frame)).await
    }

    /// Sends bytes outside any frame, as a blob's content goes.
    ///
    /// # Errors
    /// [`StreamError::Broken`], [`StreamError::Silent`].
    pub async fn write_raw(&mut self, bytes: &[u8], within: Duration) -> Result<(), StreamError> {
        limited(within, async { Ok(self.stream.write_all(bytes).await?) }).await
    }

    /// Sends what is still buffered.
    ///
    /// # Errors
    /// [`StreamError::Broken`], [`StreamError::Silent`].
    pub async fn flush(&mut self, within: Duration) -> Result<(), StreamError> {
        limited(within, async { Ok(self.stream.flush().await?) }).await
    }

    /// Reads at least one byte outside any frame.
    ///
    /// # Errors
    /// [`StreamError::Broken`] at the end too, since the caller knows how many bytes are due;
    /// [`StreamError::Silent`].
    pub async fn read_raw(&mut self, into: &mut [u8], within: Duration) -> Result<usize, StreamError> {
        limited(within, async {
            match self.stream.read(into).await? {
                0 => Err(StreamError::Broken { reason: String::from("ended early") }),
                count => Ok(count),
            }
        })
        .await
    }

    /// Returns when the peer has ended the stream, or sends where it has nothing to say. Safe to drop midway.
    pub async fn ended(&mut self) {
        let mut byte = [0];
        let _ = self.stream.read(&mut byte).await;
    }

    /// Ends our side in good order.
    ///
    /// # Errors
    /// [`StreamError::Broken`], [`StreamError::Silent`].
    pub async fn close(&mut self, within: Duration) -> Result<(), StreamError> {
        limited(within, async { Ok(self.stream.close().await?) }).await
    }
}

async fn limited<T>(within: Duration, act: impl Future<Output = Result<T, StreamError>>) -> Result<T, StreamError> {
    timeout(within, act).await.unwrap_or(Err(StreamError::Silent { within }))
}

/// Reads one frame; `None` when the stream ends before its first byte.
pub(crate) async fn read_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
    max: usize,
) -> Result<Option<Vec<u8>>, StreamError> {
    let mut prefix = [0; 4];
    let first = stream.read(&mut prefix).await?;
    if first == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut prefix[first..]).await?;
    let len = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if len > max {
        return Err(StreamError::TooLong { given: len, max });
    }
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let from = bytes.len();
        bytes.resize(len.min(from + STRIDE), 0);
        stream.read_exact(&mut bytes[from..]).await?;
    }
    Ok(Some(bytes))
}

/// Writes one frame and flushes.
pub(crate) async fn write_frame<S: AsyncWrite + Unpin>(stream: &mut S, frame: &[u8]) -> Result<(), StreamError> {
    let max = u32::MAX as usize;
    let len = u32::try_from(frame.len()).map_err(|_| StreamError::TooLong { given: frame.len(), max })?;
    stream.write_all(&len.to_le_bytes()).await?;
    stream.write_all(frame).await?;
    Ok(stream.flush().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{executor::block_on, io::Cursor};

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for frame in [&b""[..], b"x", &[7; 200_000]] {
            let mut wire = Cursor::new(Vec::new());
            block_on(write_frame(&mut wire, frame)).unwrap();
            wire.set_position(0);
            assert_eq!(block_on(read_frame(&mut wire, 200_000)).unwrap().as_deref(), Some(frame));
            assert_eq!(block_on(read_frame(&mut wire, 200_000)).unwrap(), None);
        }
    }

    #[test]
    fn a_claimed_length_is_refused_or_waited_for_but_never_allocated() {
        let huge = [0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        let read = |bytes: &[u8], max| block_on(read_frame(&mut Cursor::new(bytes), max));
        assert!(matches!(read(&huge, 64 << 10), Err(StreamError::TooLong { .. })));
        assert!(matches!(read(&huge, usize::MAX), Err(StreamError::Broken { .. })));
        assert!(matches!(read(&huge[..2], 64), Err(StreamError::Broken { .. })));
    }
}
