//! The 1000 classes of ILSVRC2012: wnids, names and the devkit's numbering.

mod devkit;

use std::sync::LazyLock;

use devkit::INDEX_OF_DEVKIT_ID;

/// A class a line, in order of class index: the wnid, a space, the synset's names.
static SYNSETS: &str = include_str!("synsets.txt");

/// Number of classes.
pub const CLASSES: usize = 1000;

/// What a line of [`SYNSETS`] says.
fn table(column: impl Fn(&'static str) -> &'static str) -> [&'static str; CLASSES] {
    let mut lines = SYNSETS.lines();
    std::array::from_fn(|_| column(lines.next().unwrap_or_default()))
}

/// WordNet ids such as `n01440764`, by class index. They are in ascending order.
pub fn wnids() -> &'static [&'static str; CLASSES] {
    static WNIDS: LazyLock<[&str; CLASSES]> =
        LazyLock::new(|| table(|line| line.split(' ').next().unwrap_or_default()));
    &WNIDS
}

/// First name of each class, such as `tench`, by class index. A few are not unique: `crane` is a bird and a machine.
pub fn names() -> &'static [&'static str; CLASSES] {
    static NAMES: LazyLock<[&str; CLASSES]> =
        LazyLock::new(|| table(|line| line.split_once(' ').map_or("", |(_, n)| n.split(',').next().unwrap_or(n))));
    &NAMES
}

/// All names of each class, such as `tench, Tinca tinca`, by class index.
pub fn synonyms() -> &'static [&'static str; CLASSES] {
    static SYNONYMS: LazyLock<[&str; CLASSES]> =
        LazyLock::new(|| table(|line| line.split_once(' ').map_or("", |(_, n)| n)));
    &SYNONYMS
}

/// Class index (0 to 999) of a wnid, if it is one of the 1000.
pub fn index_of(wnid: &str) -> Option<usize> {
    wnids().binary_search(&wnid).ok()
}

/// Class index (0 to 999) of a devkit id (1 to 1000); `None` outside that range.
pub fn devkit_to_index(id: usize) -> Option<usize> {
    INDEX_OF_DEVKIT_ID.get(id.checked_sub(1)?).map(|&i| i.into())
}

/// Whether this has the form of a wnid: `n` and eight digits.
pub fn is_wnid(text: &str) -> bool {
    text.len() == 9 && text.starts_with('n') && text[1..].bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_whole() {
        assert!(wnids().iter().all(|w| is_wnid(w)) && wnids().is_sorted());
        assert!(names().iter().all(|n| !n.is_empty()));
        assert_eq!((wnids()[0], names()[0], synonyms()[0]), ("n01440764", "tench", "tench, Tinca tinca"));
        assert_eq!((wnids()[999], names()[999]), ("n15075141", "toilet tissue"));
        assert_eq!(index_of("n02112137"), Some(260));
        assert_eq!(index_of("n00000000"), None);
    }

    #[test]
    fn devkit_ids_are_a_permutation() {
        let mut all: Vec<_> = (1..=CLASSES).filter_map(devkit_to_index).collect();
        all.sort_unstable();
        assert_eq!(all, (0..CLASSES).collect::<Vec<_>>());
        // The first three validation images, in the devkit's ground truth and in wsolevaluation's class_labels.txt.
        assert_eq!([490, 361, 171].map(devkit_to_index), [Some(65), Some(970), Some(230)]);
        assert_eq!([0, 1001, usize::MAX].map(devkit_to_index), [None; 3]);
    }
}
