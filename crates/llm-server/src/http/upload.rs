//! Bodies that go on as they come: as much is read beforehand as must be known.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, header};
use hyper::body::Body as _;
use llm_core::{BoxStream, Error, ErrorKind, ForwardBody, NamedModel, Upload};
use llm_providers::wire::openai::{FormReader, read_model};

use super::body::{collect, next, too_large};
use super::incoming::IncomingBody;

/// So many bytes at most may come of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) most: usize,
    /// How long it may pause.
    pub(super) idle: Duration,
}

/// A body, and the model that it names.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) model: Option<Box<str>>,
    pub(super) body: ForwardBody,
}

/// A body that is shorter is read whole before it goes on, so that it can be sent again.
const SHORT: usize = 64 << 10;

/// A form that does not name its model first is held up to this length; a longer one must.
const HELD: usize = 32 << 20;

/// A body that nobody here needs to understand.
pub(super) async fn unread(body: IncomingBody, bounds: Bounds) -> Result<Read, Error> {
    let mut coming = Coming::of(body, bounds)?;
    let mut start = Vec::new();
    while coming.taken < SHORT {
        match coming.next().await? {
            Some(piece) => start.push(piece),
            None => return Ok(Read { model: None, body: ForwardBody::new(start, None, None) }),
        }
    }
    Ok(Read { model: None, body: ForwardBody::new(start, None, Some(coming.into_upload())) })
}

/// A body in JSON, which is read whole, or a form, which is read up to its model.
pub(super) async fn naming_a_model(mut body: IncomingBody, headers: &HeaderMap, bounds: Bounds) -> Result<Read, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.get(..FORM.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORM)) {
        let body = collect(&mut body, bounds.most, bounds.idle).await?;
        let (model, at) = read_model(&body)?.unzip();
        return Ok(Read { model, body: ForwardBody::new(vec![body], at, None) });
    }
    let mut coming = Coming::of(body, bounds)?;
    coming.form = Some(FormReader::of(kind)?);
    let mut start = Vec::new();
    while let Some(piece) = coming.next().await? {
        start.push(piece);
        if coming.model.is_some() && coming.taken >= SHORT {
            let (model, at) = coming.model.take().unzip();
            return Ok(Read { model, body: ForwardBody::new(start, at, Some(coming.into_upload())) });
        }
        if coming.model.is_none() && coming.taken > HELD {
            let message = format!("the form does not name its model in its first {HELD} bytes: put it before the file");
            let error = Error::new(ErrorKind::InvalidRequest, message).with_param("model").with_code("invalid_value");
            return Err(error);
        }
    }
    let (model, at) = coming.model.take().unzip();
    Ok(Read { model, body: ForwardBody::new(start, at, None) })
}

const FORM: &str = "multipart/form-data";

/// A body on its way in.
struct Coming {
    /// None once there is no more of it.
    body: Option<IncomingBody>,
    bounds: Bounds,
    announced: Option<u64>,
    taken: usize,
    /// Looks for the model, and for a second one, of which nobody could say which counts.
    form: Option<FormReader>,
    model: Option<(Box<str>, NamedModel)>,
}

impl Coming {
    /// # Errors
    /// `TooLarge` when more is announced than may come.
    fn of(body: IncomingBody, bounds: Bounds) -> Result<Self, Error> {
        let hint = body.size_hint();
        if hint.lower() > bounds.most as u64 {
            return Err(too_large(bounds.most));
        }
        Ok(Self { body: Some(body), bounds, announced: hint.exact(), taken: 0, form: None, model: None })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(body) = &mut self.body else { return Ok(None) };
        let piece = next(body, self.bounds.idle).await?;
        let Some(piece) = piece else {
            self.body = None;
            return Ok(None);
        };
        self.taken += piece.len();
        if self.taken > self.bounds.most {
            self.body = None;
            return Err(too_large(self.bounds.most));
        }
        if let Some(form) = &mut self.form
            && let Some(found) = form.feed(&piece)?
        {
            self.model = Some(found);
        }
        Ok(Some(piece))
    }

    fn into_upload(self) -> Upload {
        let left = self.announced.map(|announced| announced.saturating_sub(self.taken as u64));
        let pieces: BoxStream<Result<Bytes, Error>> = Box::pin(stream::unfold(Some(self), |coming| async move {
            let mut coming = coming?;
            match coming.next().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some(coming))),
                Err(error) => Some((Err(error), None)),
            }
        }));
        Upload::new(pieces, left)
    }
}
