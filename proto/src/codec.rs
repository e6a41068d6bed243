//! Messages as bytes of gRPC.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// What a stream holds in each direction while nothing is under way. A control plane has one stream for each pod of the mesh, and most
/// messages are shorter than this; for a longer one the buffer grows.
const BUFFER_BYTES: usize = 512;

/// So many bytes of messages that are ready at once are handed on together, as tonic does it by itself.
const TOGETHER_BYTES: usize = 32 * 1024;

/// The codec of all that is generated in [`wire`](crate::wire): tonic's for prost, with smaller buffers.
#[derive(Debug, Clone)]
pub struct SmallBuffers<T, U> {
    of: PhantomData<(T, U)>,
}

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self { of: PhantomData }
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(settings())
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, TOGETHER_BYTES)
}
