//! Where tensors lie: buffers shared by tensors that are never alive together.
//!
//! Floats and bytes have buffers of their own (this crate has no `unsafe` that could view one as the other). Tensors
//! are placed largest first, each in the first buffer that is free for its whole lifetime, so a buffer's first tensor
//! sets its size. For the chains and short branches of CNNs that is within a few percent of the peak of live bytes.

/// Where a tensor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Whether among the u8 buffers; otherwise among the f32 buffers.
    pub(crate) bytes: bool,
    /// Index of the buffer among those of its type.
    pub(crate) index: usize,
    /// Number of elements, from the buffer's start.
    pub(crate) len: usize,
}

/// A tensor to place.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Index of the tensor.
    pub(super) tensor: usize,
    /// Number of elements.
    pub(super) len: usize,
    /// u8, otherwise f32.
    pub(super) bytes: bool,
    /// First and last step at which it holds a value, both inclusive.
    pub(super) alive: [usize; 2],
}

/// Buffers and who lies in them.
#[derive(Debug, Default)]
pub(crate) struct ArenaLayout {
    /// Lengths of the u8 buffers.
    pub(crate) bytes: Vec<usize>,
    /// Lengths of the f32 buffers, in elements.
    pub(crate) floats: Vec<usize>,
    /// Where each tensor lies; none for those that are never made.
    pub(crate) places: Vec<Option<Place>>,
}

impl ArenaLayout {
    /// Places tensors of lifetimes `requests` among `tensors` tensors.
    pub(super) fn new(tensors: usize, mut requests: Vec<Request>) -> Self {
        requests.sort_by_key(|r| (std::cmp::Reverse(r.len), r.tensor));
        let mut layout = Self { places: vec![None; tensors], ..Self::default() };
        let (mut bytes, mut floats) = (Vec::new(), Vec::new());
        for request in &requests {
            let (lens, taken) =
                if request.bytes { (&mut layout.bytes, &mut bytes) } else { (&mut layout.floats, &mut floats) };
            let index = first_free(taken, request.alive);
            if index == lens.len() {
                lens.push(request.len);
            }
            layout.places[request.tensor] = Some(Place { bytes: request.bytes, index, len: request.len });
        }
        layout
    }

    /// Bytes of all buffers.
    pub(crate) fn size(&self) -> usize {
        self.bytes.iter().sum::<usize>() + self.floats.iter().sum::<usize>() * size_of::<f32>()
    }
}

/// Takes the first buffer with no other lifetime overlapping `alive`, or one more.
fn first_free(taken: &mut Vec<Vec<[usize; 2]>>, alive: [usize; 2]) -> usize {
    let free = |lives: &Vec<[usize; 2]>| lives.iter().all(|l| l[1] < alive[0] || alive[1] < l[0]);
    let index = taken.iter().position(free).unwrap_or_else(|| {
        taken.push(Vec::new());
        taken.len() - 1
    });
    taken[index].push(alive);
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(tensor: usize, len: usize, alive: [usize; 2]) -> Request {
        Request { tensor, len, bytes: true, alive }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let requests = (0..6).map(|i| request(i, 10 + i, [i, i + 1])).collect();
        let layout = ArenaLayout::new(6, requests);
        // Largest first: 15 (alive 5..6) and 14 (4..5) overlap; all others fit one of the two.
        assert_eq!(layout.bytes, [15, 14]);
        assert_eq!(layout.size(), 29);
    }

    #[test]
    fn tensors_alive_together_never_share() {
        let lives = [[0, 5], [1, 2], [2, 3], [3, 5], [4, 4], [5, 6]];
        let layout = ArenaLayout::new(6, lives.iter().enumerate().map(|(i, &l)| request(i, 7 - i, l)).collect());
        let buffer = |i: usize| layout.places[i].map(|p| p.index);
        for (i, a) in lives.iter().enumerate() {
            for (j, b) in lives.iter().enumerate().skip(i + 1) {
                let together = a[0] <= b[1] && b[0] <= a[1];
                assert!(!together || buffer(i) != buffer(j), "{i} and {j} share {:?}", buffer(i));
            }
        }
    }

    #[test]
    fn floats_and_bytes_are_apart() {
        let float = Request { bytes: false, ..request(1, 3, [5, 6]) };
        let layout = ArenaLayout::new(3, vec![request(0, 4, [0, 1]), float]);
        let place = |bytes, len| Some(Place { bytes, index: 0, len });
        assert_eq!(layout.places, [place(true, 4), place(false, 3), None]);
        assert_eq!(layout.size(), 4 + 12);
    }
}
