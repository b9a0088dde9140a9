//! The numbers of Rogers, De La Iglesia, Zebin: Evaluating the Use of Interpretable Quantized Convolutional Neural
//! Networks for Resource-Constrained Deployment (KDIR 2023), tables 1 to 11 and figure 2.

use crate::manifest::PairSettings;

/// The paper's numbers for a network. Shares and areas in percent, times in milliseconds.
#[derive(Debug, PartialEq)]
pub(super) struct Paper {
    /// torchvision's name and number of parameters with 1000 classes: with both, a network is the paper's.
    network: &'static str,
    parameters: u64,
    /// Table 1: top-1, top-5, size in MB.
    pub f32: [f64; 3],
    /// Table 2.
    pub int8: [f64; 3],
    /// Table 3: mean, mean of the top 5 %.
    pub rmse: [f64; 2],
    /// Table 4: entropy, sigma, sparsity.
    pub int8_activation: [f64; 3],
    /// Table 5.
    pub f32_activation: [f64; 3],
    /// Figure 2, percent.
    pub dice: f64,
    /// Table 6: top-1, top-5.
    pub int8_subset: [f64; 2],
    /// Table 7.
    pub f32_subset: [f64; 2],
    /// Table 8: inference, CAM, total.
    pub int8_ms: [f64; 3],
    /// Table 9.
    pub f32_ms: [f64; 3],
    /// Table 10: deletion, insertion, WSOL.
    pub int8_cam: [f64; 3],
    /// Table 11.
    pub f32_cam: [f64; 3],
}

/// The paper's numbers for a pair, where it is one of the paper's four.
pub(super) fn paper(settings: &PairSettings) -> Option<&'static Paper> {
    PAPER.iter().find(|p| p.network == settings.float.network && p.parameters == settings.float.parameters)
}

const PAPER: [Paper; 4] = [
    Paper {
        network: "mobilenet_v2",
        parameters: 3_504_872,
        f32: [71.878, 90.286, 13.598],
        int8: [71.658, 90.150, 3.423],
        rmse: [79.541, 144.449],
        int8_activation: [0.203, 18.259, 70.417],
        f32_activation: [8.931, 0.946, 55.791],
        dice: 98.126,
        int8_subset: [68.932, 88.724],
        f32_subset: [69.212, 88.724],
        int8_ms: [13.0, 10.0, 23.0],
        f32_ms: [35.0, 17.0, 52.0],
        int8_cam: [0.984, 10.589, 30.717],
        f32_cam: [0.450, 12.658, 30.701],
    },
    Paper {
        network: "mobilenet_v3_large",
        parameters: 5_483_032,
        f32: [74.042, 91.340, 21.114],
        int8: [73.004, 90.858, 21.554],
        rmse: [96.926, 167.484],
        int8_activation: [0.30, 12.189, 10.425],
        f32_activation: [5.596, 1.351, 16.686],
        dice: 95.689,
        int8_subset: [64.680, 86.840],
        f32_subset: [66.920, 87.840],
        int8_ms: [65.0, 7.0, 72.0],
        f32_ms: [101.0, 16.0, 117.0],
        int8_cam: [1.529, 32.032, 26.896],
        f32_cam: [7.560, 44.659, 26.790],
    },
    Paper {
        network: "resnet18",
        parameters: 11_689_512,
        f32: [69.758, 89.078, 44.661],
        int8: [69.494, 88.882, 11.238],
        rmse: [29.220, 148.001],
        int8_activation: [0.38, 8.362, 48.589],
        f32_activation: [4.484, 1.478, 45.339],
        dice: 99.521,
        int8_subset: [63.640, 85.760],
        f32_subset: [64.440, 86.120],
        int8_ms: [23.0, 7.0, 30.0],
        f32_ms: [37.0, 20.0, 57.0],
        int8_cam: [0.496, 9.244, 27.942],
        f32_cam: [0.531, 10.464, 27.840],
    },
    Paper {
        network: "shufflenet_v2_x0_5",
        parameters: 1_366_792,
        f32: [60.552, 81.746, 5.282],
        int8: [57.972, 79.780, 1.501],
        rmse: [90.742, 148.725],
        int8_activation: [1.029, 4.898, 91.914],
        f32_activation: [9.991, 0.087, 91.877],
        dice: 98.466,
        int8_subset: [53.263, 75.881],
        f32_subset: [55.938, 78.435],
        int8_ms: [73.0, 6.0, 79.0],
        f32_ms: [88.0, 9.0, 97.0],
        int8_cam: [0.289, 2.613, 28.845],
        f32_cam: [0.117, 0.127, 28.740],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::settings;

    #[test]
    fn only_the_papers_networks_have_its_numbers() {
        let mut pair = settings(1, 1).pairs.swap_remove(0);
        assert_eq!(paper(&pair), None);
        pair.float.network = "resnet18".into();
        // 10 classes instead of 1000.
        pair.float.parameters = 11_181_642;
        assert_eq!(paper(&pair), None);
        pair.float.parameters = 11_689_512;
        assert_eq!(paper(&pair).map(|p| p.f32[0]), Some(69.758));
    }

    /// Sums that the paper states beside its tables.
    #[test]
    fn the_papers_own_sums() {
        for p in &PAPER {
            for ms in [p.int8_ms, p.f32_ms] {
                assert_eq!(ms[0] + ms[1], ms[2], "{}", p.network);
            }
        }
        let drop = PAPER.iter().map(|p| p.f32[0] - p.int8[0]);
        for (found, stated) in drop.zip([0.220, 1.038, 0.264, 2.58]) {
            assert!((found - stated).abs() < 1e-9, "{found} {stated}");
        }
        let gain = PAPER.iter().map(|p| p.int8_cam[2] - p.f32_cam[2]);
        for (found, stated) in gain.zip([0.016, 0.106, 0.102, 0.105]) {
            assert!((found - stated).abs() < 1e-9, "{found} {stated}");
        }
    }
}
