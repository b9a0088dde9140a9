//! The report's drawings. Figures 1 and 2 are the paper's; the mean curves of deletion and insertion are not in it.

mod curves;
mod histograms;
mod pipeline;

use super::gather::PairData;
use super::svg::Svg;
use crate::Summary;

/// A drawing and what goes with it.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    /// Name of its file, without the ending.
    pub file: String,
    /// What stands above and under it.
    pub heading: String,
    pub caption: String,
    pub svg: Svg,
}

/// Figure 1, figure 2 of each pair, and the two curves of each pair that has them.
pub(super) fn all(summary: &Summary, data: &[PairData]) -> [Vec<Figure>; 3] {
    let pairs = || summary.pairs.iter().enumerate();
    let histograms = pairs().zip(data).map(|((number, pair), data)| histograms::figure(number, pair, data));
    [
        vec![pipeline::figure(summary)],
        histograms.collect(),
        pairs().flat_map(|(number, pair)| curves::figures(number, pair, summary)).collect(),
    ]
}

/// A file name for a pair's figure: the pair's number keeps two names apart that differ in other characters alone.
pub(super) fn file_name(figure: &str, number: usize, pair: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let name: String = pair.chars().take(60).map(plain).collect();
    format!("{figure}-{}-{name}", number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_plain() {
        assert_eq!(file_name("figure-2", 0, "../a b</script>"), "figure-2-1-___a_b__script_");
    }
}
