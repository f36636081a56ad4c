//! Control messages on a stream: one frame each way, strictly decoded.

use crate::frame::{StreamError, read_frame, write_frame};
use futures::{AsyncRead, AsyncWrite};
use libp2p::{StreamProtocol, request_response};
use samebit_spec::{
    message::{Request, Response},
    param, wire,
};
use std::io;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Codec;

fn io_error(error: StreamError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

async fn read<T: borsh::BorshDeserialize>(io: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let bytes = read_frame(io, param::MESSAGE_BYTES_MAX).await.map_err(io_error)?;
    let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    wire::decode(&bytes).map_err(|error| io_error(StreamError::Malformed(error)))
}

async fn write<T: borsh::BorshSerialize>(io: &mut (impl AsyncWrite + Unpin), value: &T) -> io::Result<()> {
    let (bytes, max) = (wire::encode(value), param::MESSAGE_BYTES_MAX);
    if bytes.len() > max {
        return Err(io_error(StreamError::TooLong { given: bytes.len(), max }));
    }
    write_frame(io, &bytes).await.map_err(io_error)
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Request) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &request).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: Response) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &response).await
    }
}
