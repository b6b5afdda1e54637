//! An answer in the form that its caller asked for, whichever form it came in.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, header};
use llm_core::{Dialect, Error, Frame, Frames, Usage};
use llm_providers::wire::{Assembler, replay};

use crate::request::{Reply, Whole};

/// The form in which a caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Stream {
        /// Whether the usage is to be told in a chunk of its own.
        usage: bool,
        /// The first frame that is wanted, where frames are to be numbered.
        numbered_from: Option<u64>,
    },
}

/// The largest event of a stream that is put together.
const LARGEST_EVENT: usize = 32 << 20;

/// A stream, from its start, as `form` wants it: without the usage chunk if that was not asked for, and with the frames'
/// numbers, from the first that is wanted on, if those were.
pub(crate) fn shown(frames: impl Stream<Item = Result<Frame, Error>> + Send + 'static, form: Form) -> Frames {
    let Form::Stream { usage, numbered_from } = form else { return Box::pin(frames) };
    let hidden = move |frame: &Frame| frame.usage_only && !usage;
    let Some(first) = numbered_from else {
        if usage {
            return Box::pin(frames);
        }
        let blank = move |frame: Frame| if hidden(&frame) { Frame { bytes: Bytes::new(), ..frame } } else { frame };
        return Box::pin(frames.map(move |frame| frame.map(blank)));
    };
    let numbered = move |number: u64, frame: Frame| {
        let unwanted = number < first || frame.bytes.is_empty() || hidden(&frame);
        let bytes =
            if unwanted { Bytes::new() } else { [format!("id: {number}\n").as_bytes(), &frame.bytes].concat().into() };
        Frame { bytes, ..frame }
    };
    let mut number = 0;
    Box::pin(frames.map(move |frame| {
        let frame = frame.map(|frame| numbered(number, frame));
        number += 1;
        frame
    }))
}

/// A whole answer as `form` wants it.
pub(crate) fn of_whole(dialect: Dialect, whole: Arc<Whole>, form: Form) -> Result<Reply, Error> {
    if form == Form::Whole {
        return Ok(Reply::Whole(whole));
    }
    let frames = replay(dialect, &whole.bytes)?;
    let frames = shown(stream::iter(frames.into_iter().map(Ok)), form);
    Ok(Reply::Frames { headers: Arc::new(without_length(&whole.headers)), frames })
}

/// A stream that is whole as `form` wants it.
pub(crate) fn of_frames(
    dialect: Dialect,
    headers: &Arc<HeaderMap>,
    frames: Arc<[Frame]>,
    form: Form,
) -> Result<Reply, Error> {
    if form != Form::Whole {
        let frames = (0..frames.len()).map(move |at| Ok(frames[at].clone()));
        return Ok(Reply::Frames { headers: headers.clone(), frames: shown(stream::iter(frames), form) });
    }
    let mut assembly = Assembly::new(dialect)?;
    for frame in frames.iter() {
        assembly.push(frame)?;
    }
    assembly.finish(headers)
}

/// Puts the frames of a stream together.
pub(crate) struct Assembly {
    assembler: Assembler,
    usage: Option<Usage>,
}

impl Assembly {
    pub(crate) fn new(dialect: Dialect) -> Result<Self, Error> {
        Ok(Self { assembler: Assembler::new(dialect, LARGEST_EVENT)?, usage: None })
    }

    pub(crate) fn push(&mut self, frame: &Frame) -> Result<(), Error> {
        self.usage = frame.usage.as_deref().copied().or(self.usage);
        self.assembler.push(frame.bytes.clone())
    }

    /// The whole answer, with the stream's `headers`.
    pub(crate) fn finish(self, headers: &HeaderMap) -> Result<Reply, Error> {
        let bytes = self.assembler.finish()?;
        let mut headers = without_length(headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Reply::Whole(Arc::new(Whole { headers, bytes, usage: self.usage })))
    }
}

/// The headers of an answer whose bytes become others.
fn without_length(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ETAG);
    headers
}
