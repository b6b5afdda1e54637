//! Whether two texts that look alike may have one answer.

use std::collections::HashSet;

use super::simhash::words;

/// The words that turn a sentence round.
const NEGATIONS: [&str; 24] = [
    "no", "not", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot", "cant", "dont", "doesnt",
    "didnt", "isnt", "arent", "wasnt", "werent", "wont", "wouldnt", "shouldnt", "couldnt", "except", "unless",
];

/// Words of opposite meaning that stand in each other's place.
const OPPOSITES: [(&str, &str); 14] = [
    ("from", "to"),
    ("before", "after"),
    ("more", "less"),
    ("most", "least"),
    ("larger", "smaller"),
    ("largest", "smallest"),
    ("highest", "lowest"),
    ("first", "last"),
    ("increase", "decrease"),
    ("buy", "sell"),
    ("import", "export"),
    ("encode", "decode"),
    ("with", "without"),
    ("true", "false"),
];

/// Whether the texts have the same numbers, the same negations and the same names, whether no word of one is the
/// opposite of one of the other, and whether what they have in common stands in the same order. A name is a word with a
/// capital within it, or at its beginning where that is not a sentence's.
pub(super) fn agree(one: &str, other: &str) -> bool {
    let (one_words, other_words) = (list(one), list(other));
    let numbers = |words: &[String]| {
        let is_number = |word: &&String| word.bytes().any(|byte| byte.is_ascii_digit());
        words.iter().filter(is_number).cloned().collect::<Vec<_>>()
    };
    let negations = |words: &[String]| words.iter().filter(|word| NEGATIONS.contains(&word.as_str())).count();
    numbers(&one_words) == numbers(&other_words)
        && negations(&one_words) == negations(&other_words)
        && names(one).iter().all(|name| other_words.contains(name))
        && names(other).iter().all(|name| one_words.contains(name))
        && !opposed(&one_words, &other_words)
        && common(&one_words, &other_words) == common(&other_words, &one_words)
}

fn list(text: &str) -> Vec<String> {
    let mut list = Vec::new();
    words(text, |word| list.push(word.to_owned()));
    list
}

/// The words of `one` that stand in `other`, in their order.
fn common<'a>(one: &'a [String], other: &[String]) -> Vec<&'a str> {
    let known: HashSet<_> = other.iter().map(String::as_str).collect();
    one.iter().map(String::as_str).filter(|word| known.contains(word)).collect()
}

/// Whether a word that only one of the texts has is the opposite of one that only the other has.
fn opposed(one: &[String], other: &[String]) -> bool {
    let only = |word: &str, here: &[String], there: &[String]| {
        here.iter().any(|known| known == word) && !there.iter().any(|known| known == word)
    };
    OPPOSITES
        .iter()
        .any(|(a, b)| only(a, one, other) && only(b, other, one) || only(b, one, other) && only(a, other, one))
}

/// The names, in lower case.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut begins = true;
    for word in text.split_whitespace() {
        let trimmed = word.trim_matches(|character: char| !character.is_alphanumeric());
        let capital = |character: char| character.is_uppercase();
        let within = trimmed.chars().skip(1).any(capital);
        if within || !begins && trimmed.starts_with(capital) && trimmed != "I" {
            words(trimmed, |word| names.push(word.to_owned()));
        }
        if !trimmed.is_empty() {
            begins = word.ends_with(['.', '!', '?', ':']);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_in_other_punctuation_agrees() {
        for (one, other) in [
            ("What is the capital of France?", "what is the capital of france"),
            ("Summarise this text, please.", "Summarise this text please"),
            ("List the big cities of Italy", "List the large cities of Italy"),
        ] {
            assert!(agree(one, other), "{one} | {other}");
        }
    }

    #[test]
    fn what_turns_the_meaning_does_not() {
        for (one, other) in [
            ("Is it safe to eat this?", "Is it not safe to eat this?"),
            ("Convert 5 miles to km", "Convert 6 miles to km"),
            ("convert miles to km", "convert km to miles"),
            ("Does the dog bite the man?", "Does the man bite the dog?"),
            ("Who leads Acme today?", "Who leads Emca today?"),
            ("which is the largest city there", "which is the smallest city there"),
            ("compile with optimisations on", "compile without optimisations on"),
        ] {
            assert!(!agree(one, other), "{one} | {other}");
            assert!(!agree(other, one), "{other} | {one}");
        }
    }
}
