//! rten; its threads are those of the environment's RTEN_NUM_THREADS.

use quantlens_peers::{Arguments, Failure, serve};
use rten::{Model, Value, ValueView};
use rten_tensor::AsView;

fn main() -> Result<(), Failure> {
    let Arguments { model, image, .. } = Arguments::read()?;
    let image = Value::from_shape(&[1, 3, 224, 224], image)?;
    serve(|| {
        let model = Model::load_file(&model)?;
        Ok(move |wanted| {
            let out = model.run_one(ValueView::from(&image).into(), None)?;
            let logits: rten_tensor::Tensor<f32> = out.try_into()?;
            Ok(if wanted { logits.to_vec() } else { Vec::new() })
        })
    })
}
