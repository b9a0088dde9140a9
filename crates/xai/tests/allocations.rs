//! A workspace that has seen an activation of a size allocates nothing for the next.

use quantlens_kernels::testing::CountingAllocator;
use quantlens_tensor::{Values, View};
use quantlens_xai::{CamWorkspace, EigenCam};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn a_second_map_allocates_nothing() {
    // Wide and narrow layers take different ways.
    for channels in [5, 60] {
        let floats: Vec<f32> = (0..12 * channels).map(|i| (i * i % 17) as f32).collect();
        let bytes: Vec<u8> = (0..12 * channels).map(|i| (i * i % 251) as u8).collect();
        let (mut cams, mut cam, mut map) = (CamWorkspace::default(), EigenCam::default(), Vec::new());
        for values in [Values::F32(&floats), Values::U8(&bytes)] {
            let mut explain = || {
                let before = CountingAllocator::allocations();
                let activation = View { values, shape: [3, 4, channels], scale: 0.5, zero_point: 3 };
                cams.eigen_cam_into(activation, &mut cam).expect("finite values");
                cams.map(&cam.p, [3, 4], [33, 40], &mut map);
                CountingAllocator::allocations() - before
            };
            explain();
            assert_eq!(explain(), 0, "{values:?}");
            assert!(map.iter().any(|x| *x > 0.99), "the map has a peak");
        }
        let before = CountingAllocator::allocations();
        let fresh = EigenCam { p: cam.p.clone(), ..EigenCam::default() };
        assert!(CountingAllocator::allocations() > before && fresh.p == cam.p, "the counter counts");
    }
}
