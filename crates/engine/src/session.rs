//! Runs a plan: one arena, one thread team, nothing allocated by a run.

use std::fmt;
use std::sync::Arc;

use quantlens_kernels::Team;
use quantlens_tensor::{DType, Data, Layout, Quant, Tensor, Values, View};

use crate::buffers::Buffers;
use crate::graph::TensorId;
use crate::plan::{Place, Plan, PlanInner};
use crate::profile::{Profile, Recorder};
use crate::{Error, QParams};

/// Runs a [`Plan`]. A session owns its activations and threads; the packed weights are shared with all sessions of the
/// plan. Running allocates nothing; [`Session::tap`] and errors do.
pub struct Session {
    plan: Arc<PlanInner>,
    team: Arc<Team>,
    buffers: Buffers,
    /// By tensor: set by the caller of this run.
    given: Vec<bool>,
    /// By tensor: asked for, or read by a step that runs.
    needed: Vec<bool>,
    /// By tensor: holds a value of the last run.
    computed: Vec<bool>,
    /// By step: runs in this run.
    active: Vec<bool>,
    recorder: Recorder,
}

impl Session {
    pub(crate) fn new(plan: Arc<PlanInner>) -> Self {
        let (tensors, steps) = (plan.tensors.len(), plan.steps.len());
        Self {
            team: Team::new(plan.threads).into(),
            buffers: Buffers::new(&plan.arena, plan.scratch_bytes, plan.scratch_floats),
            given: vec![false; tensors],
            needed: vec![false; tensors],
            computed: vec![false; tensors],
            active: vec![false; steps],
            recorder: Recorder::new(steps),
            plan,
        }
    }

    /// The plan that this session runs.
    pub fn plan(&self) -> Plan {
        Plan { inner: Arc::clone(&self.plan) }
    }

    /// Runs the whole network on one image: f32 `[1, 3, h, w]` NCHW or `[1, h, w, 3]` NHWC, normalized; or the same in
    /// u8, already quantized with the scale and zero point of the graph's input stub (its steps start after it).
    ///
    /// # Errors
    /// [`Error::InputShape`] or [`Error::InputType`] where the input is not the one the plan was made for.
    pub fn run(&mut self, input: &Tensor) -> Result<(), Error> {
        // One parallel region a run: workers wake while the input is copied, and spin between the steps.
        let team = Arc::clone(&self.team);
        let _region = team.region();
        self.begin();
        let id = match (input.dtype(), self.plan.quantized_input) {
            (DType::U8, Some(quantized)) => quantized,
            _ => TensorId::INPUT,
        };
        if id != TensorId::INPUT || !self.quantize_input(input)? {
            self.give(id, input)?;
        }
        let plan = Arc::clone(&self.plan);
        for (needed, tapped) in self.needed.iter_mut().zip(&plan.taps) {
            *needed = *tapped;
        }
        self.needed[plan.output.index()] = true;
        self.mark_steps(&plan);
        self.execute(&plan);
        Ok(())
    }

    /// Sets entry tensors (declared with [`entry`](crate::PlanBuilder::entry); layouts as in [`Session::run`], a 1x1
    /// map also as row-major `[c]` or `[1, c]`) and runs just the steps that `outputs` need: taps or the graph's
    /// output, which is meant by an empty list. Only tensors that this run set or computed can be read after it.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::NotAnEntry`], [`Error::NotTapped`] for names; [`Error::InputShape`],
    /// [`Error::InputType`] for tensors; [`Error::Unreachable`] where an output needs more than the entries.
    pub fn run_from(&mut self, entries: &[(&str, &Tensor)], outputs: &[&str]) -> Result<(), Error> {
        let team = Arc::clone(&self.team);
        let _region = team.region();
        self.begin();
        let result = self.prepare_from(entries, outputs);
        if result.is_err() {
            self.computed.fill(false);
            return result;
        }
        let plan = Arc::clone(&self.plan);
        self.execute(&plan);
        Ok(())
    }

    /// Takes the entries and marks the steps of a [`Session::run_from`].
    fn prepare_from(&mut self, entries: &[(&str, &Tensor)], outputs: &[&str]) -> Result<(), Error> {
        let plan = Arc::clone(&self.plan);
        for (name, tensor) in entries {
            let id = plan.find(name)?;
            if !plan.entries[id.index()] {
                return Err(Error::NotAnEntry { tensor: plan.name(id).into() });
            }
            self.give(id, tensor)?;
        }
        for name in outputs {
            let id = plan.find(name)?;
            if !plan.is_wanted(id) {
                return Err(Error::NotTapped { tensor: plan.name(id).into() });
            }
            self.needed[id.index()] = true;
        }
        if outputs.is_empty() {
            self.needed[plan.output.index()] = true;
        }
        self.mark_steps(&plan);
        let input = TensorId::INPUT.index();
        if self.needed[input] && !self.given[input] {
            return Err(self.unreachable(&plan, outputs));
        }
        Ok(())
    }

    /// The graph's output after a run, one logit a class; empty where the last run did not compute it.
    pub fn logits(&self) -> &[f32] {
        match self.place(self.plan.output) {
            Some(place) if self.computed[self.plan.output.index()] => self.buffers.f32(place),
            _ => &[],
        }
    }

    /// A tapped tensor after a run, in the session's own memory.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`]; [`Error::NotTapped`] for a tensor that the plan does not keep;
    /// [`Error::NotComputed`] where the last run did not make it.
    pub fn view(&self, name: &str) -> Result<View<'_>, Error> {
        let id = self.plan.find(name)?;
        if !self.plan.is_wanted(id) {
            return Err(Error::NotTapped { tensor: self.plan.name(id).into() });
        }
        let place = self.place(id).filter(|_| self.computed[id.index()]);
        let Some(place) = place else { return Err(Error::NotComputed { tensor: self.plan.name(id).into() }) };
        let values =
            if place.bytes { Values::U8(self.buffers.u8(place)) } else { Values::F32(self.buffers.f32(place)) };
        let (scale, zero_point) =
            self.plan.tensors[id.index()].quant.map_or((1.0, 0), |q| (q.scale, i32::from(q.zero_point)));
        Ok(View { values, shape: self.plan.shape(id), scale, zero_point })
    }

    /// A copy of a tapped tensor after a run: NHWC `[1, h, w, c]`, u8 with its quantization or f32.
    ///
    /// # Errors
    /// As [`Session::view`].
    pub fn tap(&self, name: &str) -> Result<Tensor, Error> {
        let View { values, shape: [h, w, c], scale, zero_point } = self.view(name)?;
        let shape = [1, h, w, c];
        let tensor = match values {
            Values::U8(values) => Tensor::new(values.to_vec(), shape, Layout::Nhwc)
                .and_then(|t| t.with_quant(Quant::PerTensor { scale, zero_point })),
            Values::F32(values) => Tensor::new(values.to_vec(), shape, Layout::Nhwc),
        };
        tensor.map_err(|source| Error::Tensor { tensor: name.into(), source })
    }

    /// Switches the timing of steps on or off; off at first.
    pub fn profile(&mut self, on: bool) {
        self.recorder.switch(on);
    }

    /// Times of the last run that was timed; none before the first.
    pub fn last_profile(&self) -> Option<Profile> {
        self.recorder.profile(&self.plan.infos)
    }

    /// Forgets the last run.
    fn begin(&mut self) {
        self.recorder.start();
        self.given.fill(false);
        self.needed.fill(false);
        self.computed.fill(false);
    }

    fn place(&self, id: TensorId) -> Option<Place> {
        self.plan.arena.places[id.index()]
    }

    /// Copies a tensor of the caller's into its place.
    fn give(&mut self, id: TensorId, tensor: &Tensor) -> Result<(), Error> {
        let plan = &self.plan;
        let order = check_shape(plan, id, tensor)?;
        check_type(plan, id, tensor)?;
        let Some(place) = plan.arena.places[id.index()] else { return Ok(()) };
        let (frame, ops, team) = (plan.frame(id), plan.ops, &self.team);
        match tensor.data() {
            Data::U8(values) if order == Order::ChannelsFirst => {
                ops.interleave(values, &frame, 0, self.buffers.u8_mut(place), team);
            }
            Data::U8(values) => ops.frame(values, &frame, 0, self.buffers.u8_mut(place), team),
            Data::F32(values) if order == Order::ChannelsFirst => {
                ops.interleave(values, &frame, 0.0, self.buffers.f32_mut(place), team);
            }
            Data::F32(values) => ops.frame(values, &frame, 0.0, self.buffers.f32_mut(place), team),
            // check_type lets no other through.
            _ => {}
        }
        self.given[id.index()] = true;
        self.computed[id.index()] = true;
        Ok(())
    }

    /// Quantizes an f32 input on its way in, where it is planes, and the graph's first step would do the same: one pass
    /// less over the image. The time counts as that step's. False where the input must be given as it is.
    fn quantize_input(&mut self, input: &Tensor) -> Result<bool, Error> {
        let plan = Arc::clone(&self.plan);
        let (Some(id), Data::F32(values)) = (plan.quantized_input, input.data()) else { return Ok(false) };
        if plan.taps[TensorId::INPUT.index()] || check_shape(&plan, TensorId::INPUT, input)? != Order::ChannelsFirst {
            return Ok(false);
        }
        let step = plan.steps.iter().position(|step| step.output == id);
        let (Some(step), Some(place), Some(q)) = (step, plan.arena.places[id.index()], plan.tensors[id.index()].quant)
        else {
            return Ok(false);
        };
        let (out, channels) = (self.buffers.u8_mut(place), plan.shape(id)[2]);
        self.recorder.step(step, || plan.ops.quantize_planes_u8(values, channels, q, out, &self.team));
        self.given[id.index()] = true;
        self.computed[id.index()] = true;
        Ok(true)
    }

    /// From the needed tensors back to the given ones: which steps run.
    fn mark_steps(&mut self, plan: &PlanInner) {
        for (i, step) in plan.steps.iter().enumerate().rev() {
            let output = step.output.index();
            self.active[i] = self.needed[output] && !self.given[output];
            if self.active[i] {
                for id in &step.inputs {
                    self.needed[id.index()] = true;
                }
            }
        }
    }

    fn execute(&mut self, plan: &PlanInner) {
        for (i, step) in plan.steps.iter().enumerate() {
            if self.active[i] {
                let (buffers, team) = (&mut self.buffers, &self.team);
                self.recorder.step(i, || step.run(plan, buffers, team));
                self.computed[step.output.index()] = true;
            }
        }
        self.recorder.finish();
    }

    /// Says which tensor to give: one that meets the given ones at a step, or the input where none does.
    fn unreachable(&self, plan: &PlanInner, outputs: &[&str]) -> Error {
        let mut derived = self.given.clone();
        let mut missing = TensorId::INPUT;
        for (i, step) in plan.steps.iter().enumerate() {
            let known = step.inputs.iter().filter(|id| derived[id.index()]).count();
            if self.active[i] && known > 0 && known < step.inputs.len() {
                missing = step.inputs.iter().copied().find(|id| !derived[id.index()]).unwrap_or(missing);
                break;
            }
            derived[step.output.index()] |= self.active[i] && known > 0;
        }
        let output = outputs.first().map_or_else(|| plan.name(plan.output).to_string(), |name| name.to_string());
        Error::Unreachable { needed: plan.name(missing).into(), output }
    }
}

/// Order of a caller's elements.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    ChannelsFirst,
    ChannelsLast,
}

fn check_shape(plan: &PlanInner, id: TensorId, tensor: &Tensor) -> Result<Order, Error> {
    let [h, w, c] = plan.shape(id);
    let dims = tensor.shape().dims();
    match tensor.layout() {
        Layout::Nchw if dims == [1, c, h, w] => Ok(Order::ChannelsFirst),
        Layout::Nhwc if dims == [1, h, w, c] => Ok(Order::ChannelsLast),
        Layout::RowMajor if h == 1 && w == 1 && (dims == [c] || dims == [1, c]) => Ok(Order::ChannelsLast),
        layout => Err(Error::InputShape {
            tensor: plan.name(id).into(),
            expected: [h, w, c],
            found: format!("{} {layout}", tensor.shape()),
        }),
    }
}

fn check_type(plan: &PlanInner, id: TensorId, tensor: &Tensor) -> Result<(), Error> {
    let wanted = plan.tensors[id.index()].quant;
    let fits = match (wanted, tensor.dtype(), tensor.quant()) {
        (None, DType::F32, _) | (Some(_), DType::U8, None) => true,
        (Some(q), DType::U8, Some(Quant::PerTensor { scale, zero_point })) => {
            q.scale == *scale && i32::from(q.zero_point) == *zero_point
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let expected = match wanted {
        Some(QParams { scale, zero_point }) => format!("u8 with scale {scale} and zero point {zero_point}"),
        None => "f32".into(),
    };
    let found = match tensor.quant() {
        Some(Quant::PerTensor { scale, zero_point }) => {
            format!("{} with scale {scale} and zero point {zero_point}", tensor.dtype())
        }
        Some(_) => format!("{} quantized per channel", tensor.dtype()),
        None => tensor.dtype().to_string(),
    };
    Err(Error::InputType { tensor: plan.name(id).into(), expected, found })
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("plan", &self.plan()).finish_non_exhaustive()
    }
}
