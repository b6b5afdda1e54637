//! Embeddings and the list of models in neutral form.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use llm_core::{Embedding, EmbeddingInput, EmbeddingRequest, EmbeddingResponse, ErrorKind, Model, Usage};
use llm_providers::wire::openai::{
    VectorFormat, decode_embedding_request, decode_embedding_response, decode_models, encode_embedding_request,
    encode_embedding_response, encode_model, encode_models,
};
use proptest::prelude::*;

fn response(vectors: Vec<Vec<f32>>) -> EmbeddingResponse {
    let data = vectors.into_iter().zip(0..).map(|(vector, index)| Embedding { index, vector }).collect();
    EmbeddingResponse { model: "m".into(), data, usage: Some(Usage { input: 1, ..Usage::default() }) }
}

fn written(vector: Vec<f32>, format: VectorFormat) -> String {
    String::from_utf8(encode_embedding_response(&response(vec![vector]), format).to_vec()).unwrap()
}

fn read(input: &str) -> Result<EmbeddingInput, String> {
    let body = format!(r#"{{"model":"m","input":{input}}}"#);
    let read = decode_embedding_request(body.as_bytes());
    read.map(|read| read.request.input).map_err(|error| error.param().unwrap_or_default().to_owned())
}

#[test]
fn vectors_are_written_as_openai_writes_them() {
    let answer = |embedding: &str| {
        format!(
            r#"{{"object":"list","model":"m","data":[{{"object":"embedding","index":0,"embedding":{embedding}}}],"usage":{{"prompt_tokens":1,"total_tokens":1}}}}"#
        )
    };
    assert_eq!(written(vec![1.5, -2.0], VectorFormat::Base64), answer("\"AADAPwAAAMA=\""));
    assert_eq!(written(vec![0.1, -0.0, 1e-7], VectorFormat::Float), answer("[0.1,-0.0,1e-7]"));
    assert!(!written(vec![f32::NAN, f32::INFINITY], VectorFormat::Float).contains("NaN"));
}

#[test]
fn inputs_are_texts_or_tokens() {
    let texts = |texts: &[&str]| Ok(EmbeddingInput::Texts(texts.iter().map(|text| (*text).to_owned()).collect()));
    assert_eq!(read("\"a\""), texts(&["a"]));
    assert_eq!(read(r#"["a","b"]"#), texts(&["a", "b"]));
    assert_eq!(read("[1,2,3]"), Ok(EmbeddingInput::Tokens(vec![vec![1, 2, 3]])));
    assert_eq!(read("[[1,2],[3]]"), Ok(EmbeddingInput::Tokens(vec![vec![1, 2], vec![3]])));
    for wrong in
        ["[]", "null", "{}", "1", "[null]", "[\"a\",1]", "[1,\"a\"]", "[1,[2]]", "[[1],2]", "[-1]", "[1.5]", "[{}]"]
    {
        assert_eq!(read(wrong), Err("input".into()), "{wrong}");
    }
}

#[test]
fn a_wrong_embeddings_request_names_its_parameter() {
    for (body, param) in [
        (r#"{"input":"a"}"#, "model"),
        (r#"{"model":"m"}"#, "input"),
        (r#"{"model":"","input":"a"}"#, "model"),
        (r#"{"model":"m","input":"a","encoding_format":"hex"}"#, "encoding_format"),
        (r#"{"model":"m","input":"a","dimensions":"4"}"#, "dimensions"),
        (r#"{"model":"m","input":"a","user":1}"#, "user"),
        (r#"{"model":"m","input":"a","model":"n"}"#, "model"),
    ] {
        let error = decode_embedding_request(body.as_bytes()).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{body}");
    }
}

#[test]
fn an_answer_is_sorted_by_index() {
    let body = r#"{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":"AADAPw=="}]}"#;
    let read = decode_embedding_response(body.as_bytes()).unwrap();
    assert_eq!(read.data, [Embedding { index: 0, vector: vec![1.5] }, Embedding { index: 1, vector: vec![2.0] }]);
    assert_eq!(read.usage, None);
}

#[test]
fn what_holds_no_vectors_is_no_answer() {
    for body in [
        "{}",
        "nope",
        r#"{"data":[1]}"#,
        r#"{"data":[{"embedding":"AAA"}]}"#,
        r#"{"data":[{"embedding":"AAAA"}]}"#,
        r#"{"data":[{"embedding":[1e99]}]}"#,
        r#"{"data":[{"embedding":"AADAfw=="}]}"#,
        r#"{"data":[{"embedding":["1"]}]}"#,
    ] {
        assert_eq!(decode_embedding_response(body.as_bytes()).unwrap_err().kind(), ErrorKind::BadAnswer, "{body}");
    }
}

#[test]
fn models_are_written_and_read() {
    let model = Model { id: "meta/llama:8b".into(), created: 1_700_000_000, owned_by: "x".into() };
    let one = r#"{"id":"meta/llama:8b","object":"model","created":1700000000,"owned_by":"x"}"#;
    assert_eq!(encode_model(&model), one);
    let list = encode_models(&[model.clone(), model.clone()]);
    assert_eq!(list, format!(r#"{{"object":"list","data":[{one},{one}]}}"#));
    assert_eq!(decode_models(&list).unwrap(), [model.clone(), model]);
    let odd = br#"{"data":[{"id":"a","created":null,"meta":{}},{"name":"b"}]}"#;
    assert_eq!(decode_models(odd).unwrap(), [Model { id: "a".into(), created: 0, owned_by: String::new() }]);
    assert_eq!(decode_models(b"{}").unwrap_err().kind(), ErrorKind::BadAnswer);
}

proptest! {
    #[test]
    fn a_vector_reads_back_bit_for_bit(bits in prop::collection::vec(any::<u32>(), 0..40), base64 in any::<bool>()) {
        let vector: Vec<f32> = bits.into_iter().map(f32::from_bits).filter(|number| number.is_finite()).collect();
        let format = if base64 { VectorFormat::Base64 } else { VectorFormat::Float };
        let answer = response(vec![vector.clone(), vec![]]);
        let read = decode_embedding_response(&encode_embedding_response(&answer, format)).unwrap();
        let bits = |vector: &[f32]| vector.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&read.data[0].vector), bits(&vector));
        prop_assert_eq!(read, answer);
    }

    #[test]
    fn a_request_reads_back_as_it_was_written(
        texts in prop::collection::vec(any::<String>(), 1..4), tokens in prop::collection::vec(prop::collection::vec(any::<u32>(), 0..4), 1..4),
        as_text in any::<bool>(), dimensions in any::<Option<u32>>(), user in any::<Option<String>>(), base64 in any::<bool>(),
    ) {
        let mut request = EmbeddingRequest::new("m", texts);
        if !as_text {
            request.input = EmbeddingInput::Tokens(tokens);
        }
        (request.dimensions, request.user) = (dimensions, user);
        let format = if base64 { VectorFormat::Base64 } else { VectorFormat::Float };
        let read = decode_embedding_request(&encode_embedding_request(&request, format)).unwrap();
        prop_assert_eq!((read.request, read.format), (request, format));
    }
}
