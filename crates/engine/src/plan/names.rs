//! Names that look like a misspelt one.

use std::cmp::Reverse;

/// Most names that an error lists.
const LISTED: usize = 8;

/// The names nearest to `wanted`, nearest first; names that share too little with it are left out.
pub(crate) fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let limit = (wanted.chars().count() / 3).max(2);
    let mut found: Vec<(usize, Reverse<usize>, &str)> = names
        .map(|name| (edit_distance(wanted, name), Reverse(common_prefix(wanted, name)), name))
        .filter(|&(distance, _, _)| distance <= limit)
        .collect();
    found.sort_unstable();
    found.into_iter().take(LISTED).map(|(_, _, name)| name.to_string()).collect()
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count()
}

/// Levenshtein's distance: insertions, deletions and replacements that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_known_words() {
        // The textbook pair (3), and the empty word (the other's length).
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
    }

    #[test]
    fn near_names_come_first_and_far_ones_not_at_all() {
        let names = ["layer1.0.conv1", "layer4.1", "layer4.1.relu", "layer4.0", "fc"];
        assert_eq!(near("layer4.2", names.into_iter())[..2], ["layer4.0", "layer4.1"]);
        assert!(near("features.18", names.into_iter()).is_empty());
    }
}
