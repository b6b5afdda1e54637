//! A tool call's arguments in the making: whether they are whole.

use super::Text;

/// How far the text of a JSON object has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    depth: u32,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Progress {
    /// Takes in the next piece.
    pub(crate) fn read(&mut self, piece: Text<'_>) {
        piece.for_each_ascii(|byte| self.step(byte));
    }

    /// Whether the object that began has ended.
    pub(crate) const fn is_whole(self) -> bool {
        self.begun && self.depth == 0
    }

    fn step(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => {
                self.begun = true;
                self.depth += 1;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_whole(pieces: &[&str]) -> bool {
        let mut progress = Progress::default();
        pieces.iter().for_each(|piece| progress.read(Text::quoted(piece).unwrap()));
        progress.is_whole()
    }

    #[test]
    fn arguments_are_whole_when_their_object_ends() {
        assert!(!is_whole(&[]));
        assert!(!is_whole(&[r#""{\"a\":\"}\"""#]));
        assert!(is_whole(&[r#""{\"a\":\"}\"""#, r#""}""#]));
        assert!(!is_whole(&[r#""{\"a\":\"\\\"}""#]));
        assert!(is_whole(&[r#""{\"a\":[{\"b\":\"\\\\\"}]}\n""#]));
        assert!(is_whole(&[r#""\u007b\u0022\u00e9\ud83d\ude00\u0022:1\u007d""#]));
        assert!(is_whole(&[r#""{}""#]));
    }
}
