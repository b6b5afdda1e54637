//! A stream of events as one JSON array in pieces, which Gemini's clients get without `alt=sse`.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use llm_core::{Dialect, Error, Frame, Frames};
use llm_providers::wire::sse::Framer;

use super::error::error_frame;

/// The events of `frames` as items of an array. What breaks the stream off is its last item.
pub(crate) fn of(frames: Frames) -> Frames {
    Box::pin(stream::unfold(Some((frames, Items::new())), |state| async {
        let (mut frames, mut items) = state?;
        let (frame, goes_on) = match frames.next().await {
            Some(Ok(frame)) if frame.last => (items.last(frame), false),
            Some(Ok(frame)) => (items.next(frame), true),
            Some(Err(error)) => (items.broken(&error), false),
            None => (items.last(Frame::default()), false),
        };
        Some((Ok(frame), goes_on.then_some((frames, items))))
    }))
}

struct Items {
    framer: Framer,
    begun: bool,
}

impl Items {
    fn new() -> Self {
        Self { framer: Framer::new(usize::MAX), begun: false }
    }

    fn next(&mut self, frame: Frame) -> Frame {
        let mut out = BytesMut::new();
        self.put(frame.bytes.clone(), &mut out);
        Frame { bytes: out.freeze(), ..frame }
    }

    fn last(&mut self, frame: Frame) -> Frame {
        let mut out = BytesMut::new();
        self.put(frame.bytes.clone(), &mut out);
        out.put_slice(if self.begun { b"]" } else { b"[]" });
        Frame { bytes: out.freeze(), ..frame }
    }

    fn broken(&mut self, error: &Error) -> Frame {
        tracing::warn!(kind = ?error.kind(), upstream_status = error.upstream_status(), "stream broke off");
        self.last(Frame { bytes: error_frame(Dialect::Gemini, error), last: true, ..Frame::default() })
    }

    /// Puts the items that whole `events` are.
    fn put(&mut self, events: Bytes, out: &mut BytesMut) {
        self.framer.push(events);
        while let Ok(Some(event)) = self.framer.next_event() {
            let Some(data) = event.fields().data.filter(|data| !data.is_empty()) else { continue };
            out.put_slice(if self.begun { b",\n" } else { b"[" });
            out.put_slice(&data);
            self.begun = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use llm_core::ErrorKind;

    use super::*;

    fn array(frames: Vec<Result<Frame, Error>>) -> String {
        let frames = of(Box::pin(stream::iter(frames)));
        let pieces: Vec<_> = frames.map(|frame| frame.unwrap().bytes).collect().now_or_never().unwrap();
        String::from_utf8(pieces.concat()).unwrap()
    }

    fn event(data: &'static str) -> Result<Frame, Error> {
        Ok(Frame { bytes: Bytes::from(format!("data: {data}\r\n\r\n")), ..Frame::default() })
    }

    #[test]
    fn every_stream_is_one_array() {
        assert_eq!(array(vec![event("{}"), event("{\"a\":1}")]), "[{},\n{\"a\":1}]");
        assert_eq!(array(Vec::new()), "[]");
        let broken = array(vec![event("{}"), Err(Error::new(ErrorKind::StreamInterrupted, "it broke"))]);
        let items: Vec<serde_json::Value> = serde_json::from_str(&broken).unwrap();
        assert_eq!((items.len(), items[1]["error"]["code"].as_u64()), (2, Some(502)));
    }
}
