//! From logits to ranked classes and probabilities, in one way for records, tables and the terminal.

use quantlens_engine::softmax_f32;

/// Classes by descending logit; of equal logits the smaller class first, as in `argmax`. NaN comes last.
pub fn ranked(logits: &[f32]) -> Vec<usize> {
    // Adding 0 makes 0 of -0.
    let value = |i: usize| logits[i] + 0.0;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // The sort is stable, so that equal ones stay in order.
    order.sort_by(|&a, &b| match (logits[a].is_nan(), logits[b].is_nan()) {
        (false, false) => value(b).total_cmp(&value(a)),
        (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan),
    });
    order
}

/// Probabilities of the classes: the kernels' softmax of the logits.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let mut probabilities = vec![0.0; logits.len()];
    softmax_f32(logits, &mut probabilities);
    probabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_keep_their_order_and_nan_is_last() {
        assert_eq!(ranked(&[-0.0, 2.0, 0.0, 2.0, -1.0]), [1, 3, 0, 2, 4]);
        let odd = [f32::NAN, f32::NEG_INFINITY, 1.0, -f32::NAN, f32::INFINITY];
        assert_eq!(ranked(&odd), [4, 2, 1, 0, 3]);
        assert!(ranked(&[]).is_empty());
    }

    #[test]
    fn probabilities_by_hand() {
        // 1 : 3 : 4 of 8, whatever is added to all logits.
        for offset in [0.0, 500.0] {
            let found = softmax(&[0.0_f32, 3.0_f32.ln(), 4.0_f32.ln()].map(|x| x + offset));
            // f32 logits near 500 are 3e-5 apart.
            assert!(found.iter().zip([0.125, 0.375, 0.5]).all(|(p, e)| (p - e).abs() < 4e-5), "{found:?}");
        }
    }
}
