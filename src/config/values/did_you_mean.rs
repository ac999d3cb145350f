//! Suggests a key for a misspelt one.

/// Returns the candidate nearest to `text` by [edit distance](https://en.wikipedia.org/wiki/Levenshtein_distance), if
/// it is near enough for a typo.
pub(crate) fn nearest<'a>(
    text: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // One typo in three letters is still recognisable; beyond four it would be a guess.
    let slips_max = (text.chars().count() / 3).min(4);
    candidates
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns how many letters to insert, remove or replace to get from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let keys = ["server.listen", "admin.listen", "session.ttl"];

        assert_eq!(nearest("server.lisen", keys.into_iter()), Some(keys[0]));
        assert_eq!(nearest("server_listen", keys.into_iter()), Some(keys[0]));
        assert_eq!(nearest("zebra", keys.into_iter()), None);
        assert_eq!(nearest("", keys.into_iter()), None);
    }
}
