//! The facade on the demo pair: load, classify, explain.

use std::path::{Path, PathBuf};

use quantlens::data::demo_image;
use quantlens::{Error, Isa, Model, Options, PairDifference, Precision, SignPolicy};

fn demo(precision: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("weights/demo/mobilenet_v2-{precision}.safetensors"))
}

#[test]
fn classify_ranks_the_logits() {
    let model = Model::load(demo("int8")).unwrap();
    assert_eq!((model.network().precision, model.layer()), (Precision::Int8, "features.18"));
    let image = demo_image();
    let logits = model.run(&model.input(&image), |session| session.logits().to_vec()).unwrap();
    let all = model.classify(&image, usize::MAX).unwrap();
    assert_eq!(all.len(), logits.len());
    assert!(all.windows(2).all(|p| p[0].logit >= p[1].logit && p[0].probability >= p[1].probability));
    // Ten probabilities rounded to f32 each.
    assert!((all.iter().map(|p| f64::from(p.probability)).sum::<f64>() - 1.0).abs() < 1e-6);
    for p in &all {
        assert_eq!((p.logit, p.class.as_deref()), (logits[p.index], Some(model.network().classes[p.index].as_str())));
    }
    assert_eq!(model.classify(&image, 3).unwrap(), all[..3]);
}

#[test]
fn equal_and_absent_logits_are_ranked_too() {
    let model = Model::load(demo("f32")).unwrap();
    let ranked = model.predictions(&[1.0, 2.0, 2.0, 0.5], 3);
    assert_eq!(ranked.iter().map(|p| p.index).collect::<Vec<_>>(), [1, 2, 0]);
    assert!(model.predictions(&[], 3).is_empty());
}

#[test]
fn both_maps_have_the_inputs_size() {
    let options = Options { input_size: Some([64, 96]), ..Options::default() };
    let [float, int8] = ["f32", "int8"].map(|p| options.load(demo(p)).unwrap().cam(&demo_image()).unwrap());
    for cam in [&float, &int8] {
        assert_eq!((cam.size, cam.map.len(), [cam.eigen.h, cam.eigen.w]), ([64, 96], 64 * 96, [2, 3]));
        assert!(cam.map.iter().all(|x| (0.0..=1.0).contains(x)));
    }
    let [p, q] = [&float, &int8].map(|c| c.eigen.signed(SignPolicy::Mean, "").unwrap());
    let difference = PairDifference::compute(&p, &q, 2, 3, [64, 96]);
    assert!((0.0..=255.0).contains(&difference.rmse));
}

#[test]
fn threads_may_share_a_model_and_settings_leave_int8_as_it_is() {
    let model = Model::load(demo("int8")).unwrap();
    let image = demo_image();
    let expected = model.classify(&image, 2).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(model.classify(&image, 2).unwrap(), expected));
        }
    });
    let other = Options { threads: 3, isa: Some(Isa::Scalar), taps: vec!["features.3".into()], ..Options::default() };
    let other = other.load(demo("int8")).unwrap();
    assert_eq!(other.classify(&image, 2).unwrap(), expected);
    let tapped = other.run(&other.input(&image), |session| session.tap("features.3").map(|t| t.chw())).unwrap();
    assert_eq!(tapped.unwrap().unwrap(), [8, 56, 56]);
}

#[test]
fn errors_say_what_is_wrong() {
    let absent = Model::load("no/such/file.safetensors").unwrap_err();
    assert!(matches!(absent, Error::Network(_)) && absent.to_string().contains("no/such/file.safetensors"), "{absent}");
    let layer = Options { layer: Some("features.81".into()), ..Options::default() }.load(demo("f32")).unwrap_err();
    assert!(matches!(layer, Error::Engine(_)) && layer.to_string().contains("features.81"), "{layer}");
    let model = Model::load(demo("f32")).unwrap();
    let small = Options { input_size: Some([32, 32]), ..Options::default() }.load(demo("f32")).unwrap();
    let wrong = model.run(&small.input(&demo_image()), |_| ()).unwrap_err();
    assert!(wrong.to_string().contains("224"), "{wrong}");
}
