//! Names compared without a call: they are short.

/// Whether both are the same.
#[inline]
pub(crate) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // Equal lengths, so two windows, from the begin and from the end, see every byte.
    a.len() == b.len()
        && match (a, b) {
            ([p, q, ..], [r, s, ..]) if a.len() < 4 => (p, q, a.last()) == (r, s, b.last()),
            _ => match (ends::<8>(a), ends::<8>(b)) {
                (Some([p, q]), Some([r, s])) if a.len() <= 16 => {
                    (u64::from_le_bytes(p) ^ u64::from_le_bytes(r)) | (u64::from_le_bytes(q) ^ u64::from_le_bytes(s))
                        == 0
                }
                (None, None) => match (ends::<4>(a), ends::<4>(b)) {
                    (Some([p, q]), Some([r, s])) => {
                        (u32::from_le_bytes(p) ^ u32::from_le_bytes(r))
                            | (u32::from_le_bytes(q) ^ u32::from_le_bytes(s))
                            == 0
                    }
                    _ => a == b,
                },
                _ => a == b,
            },
        }
}

#[inline]
fn ends<const N: usize>(text: &[u8]) -> Option<[[u8; N]; 2]> {
    Some([*text.first_chunk()?, *text.last_chunk()?])
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_name_of_any_length_counts() {
        for length in 0..70 {
            let name: String = (0..length).map(|at| char::from(b'a' + at % 26)).collect();
            assert!(same(&name, &name.clone()), "{length}");
            assert!(!same(&name, &format!("{name}x")), "{length}");
            for at in 0..name.len() {
                let mut other = name.clone();
                other.replace_range(at..=at, "-");
                assert!(!same(&name, &other), "{length}, {at}");
            }
        }
    }
}
