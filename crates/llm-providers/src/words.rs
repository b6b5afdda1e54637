//! Text cut into pieces that join to the text again.

/// The first word of `text` with the whitespace before it; all of `text` when that is only whitespace.
pub(crate) fn first_word(text: &str) -> &str {
    let start = text.find(|c: char| !c.is_whitespace()).unwrap_or(text.len());
    let end = text[start..].find(char::is_whitespace).map_or(text.len(), |length| start + length);
    &text[..end]
}

/// The first `bytes` bytes of `text`, or fewer where that would cut a character; at least one character.
pub(crate) fn first_bytes(text: &str, bytes: usize) -> &str {
    let whole = text.chars().next().map_or(0, char::len_utf8);
    &text[..text.floor_char_boundary(bytes).max(whole)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces<'a>(mut text: &'a str, cut: impl Fn(&'a str) -> &'a str) -> Vec<&'a str> {
        let mut pieces = Vec::new();
        while !text.is_empty() {
            let piece = cut(text);
            pieces.push(piece);
            text = &text[piece.len()..];
        }
        pieces
    }

    #[test]
    fn whitespace_goes_with_the_word_after_it() {
        assert_eq!(pieces("What is\n 2+2? ", first_word), ["What", " is", "\n 2+2?", " "]);
        assert_eq!(pieces(" \t", first_word), [" \t"]);
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_text(text in "\\PC{0,40}|[ a\u{e9}\n\u{2003}\u{1F600}]{0,40}", bytes in 0..9_usize) {
            prop_assert_eq!(pieces(&text, first_word).concat(), text.clone());
            prop_assert_eq!(pieces(&text, |text| first_bytes(text, bytes)).concat(), text);
        }
    }
}
