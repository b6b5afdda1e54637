//! Embeddings without a model: unit vectors drawn from each input's hash.

use llm_core::{
    Embedding, EmbeddingInput, EmbeddingRequest, EmbeddingResponse, Error, ErrorKind, HashKey, Usage, estimate_tokens,
    hash128,
};

/// A vector's length when the caller does not choose.
const DIMENSIONS: u32 = 256;
/// The longest vector that may be chosen.
const MOST_DIMENSIONS: u32 = 4096;

/// Answers `request`: equal inputs get equal vectors, in every process.
///
/// # Errors
/// `InvalidRequest` for an input that is empty, or a length out of bounds.
pub(crate) fn embed(request: &EmbeddingRequest) -> Result<EmbeddingResponse, Error> {
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS);
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        let message = format!("dimensions must be 1 to {MOST_DIMENSIONS}, not {dimensions}");
        return Err(Error::new(ErrorKind::InvalidRequest, message).with_param("dimensions").with_code("invalid_value"));
    }
    let (vectors, tokens) = match &request.input {
        EmbeddingInput::Texts(texts) => (
            texts.iter().map(|text| vector(text.as_bytes(), dimensions)).collect::<Option<Vec<_>>>(),
            texts.iter().map(|text| estimate_tokens(text)).sum(),
        ),
        EmbeddingInput::Tokens(lists) => (
            lists
                .iter()
                .map(|ids| vector(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>(), dimensions))
                .collect(),
            lists.iter().map(|ids| ids.len() as u64).sum(),
        ),
    };
    let vectors = vectors.filter(|vectors| !vectors.is_empty()).ok_or_else(|| {
        Error::new(ErrorKind::InvalidRequest, "an input is empty").with_param("input").with_code("invalid_value")
    })?;
    Ok(EmbeddingResponse {
        model: request.model.as_str().into(),
        data: (0..).zip(vectors).map(|(index, vector)| Embedding { index, vector }).collect(),
        usage: Some(Usage { input: tokens, ..Usage::default() }),
    })
}

/// The vector of one input; none when it is empty.
fn vector(input: &[u8], dimensions: u32) -> Option<Vec<f32>> {
    if input.is_empty() {
        return None;
    }
    let seed = hash128(HashKey::fixed(0), &[input]) as u64;
    let mut random = fastrand::Rng::with_seed(seed);
    // Away from 0, so that no vector is too short to be brought to length 1.
    let mut next = || (0.1 + 0.9 * random.f32()) * if random.bool() { 1.0 } else { -1.0 };
    let raw: Vec<f32> = (0..dimensions).map(|_| next()).collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    Some(raw.into_iter().map(|x| x / length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(texts: &[&str], dimensions: Option<u32>) -> EmbeddingRequest {
        let mut request = EmbeddingRequest::new("m", texts.iter().map(|text| (*text).into()).collect());
        request.dimensions = dimensions;
        request
    }

    #[test]
    fn equal_inputs_get_equal_vectors_of_length_one() {
        let answer = embed(&asked(&["a", "b", "a"], None)).unwrap();
        assert_eq!(answer.data[0].vector, answer.data[2].vector);
        assert_ne!(answer.data[0].vector, answer.data[1].vector);
        for embedding in &answer.data {
            assert_eq!(embedding.vector.len(), 256);
            let length = embedding.vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
        assert_eq!(answer.usage.unwrap().input, 3);
    }

    #[test]
    fn the_length_may_be_chosen_within_bounds() {
        assert_eq!(embed(&asked(&["a"], Some(3))).unwrap().data[0].vector.len(), 3);
        for bad in [0, 4097] {
            assert_eq!(embed(&asked(&["a"], Some(bad))).unwrap_err().param(), Some("dimensions"));
        }
    }

    #[test]
    fn an_empty_input_is_refused() {
        assert_eq!(embed(&asked(&["a", ""], None)).unwrap_err().param(), Some("input"));
        assert_eq!(embed(&asked(&[], None)).unwrap_err().param(), Some("input"));
    }
}
