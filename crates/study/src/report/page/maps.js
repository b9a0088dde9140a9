"use strict";
// Maps, boxes and their measures as crates/xai computes them, operation by operation: Math.fround keeps each step in
// f32, so that the page's numbers are the study's.
const Maps = (() => {
  const f = Math.fround;

  // Where an output pixel comes from: source index, neighbour, the neighbour's weight. Half-pixel centres, edges held.
  function tap(i, from, to) {
    const centre = f((i + 0.5) * (from / to) - 0.5);
    const left = Math.floor(centre);
    if (left < 0) return [0, 0, 0];
    if (left >= from - 1) return [from - 1, from - 1, 0];
    return [left, left + 1, f(centre - left)];
  }

  function mix(a, b, t) {
    return f(f(a * f(1 - t)) + f(b * t));
  }

  // (x - min) / (1e-7 + (max - min)), in place.
  function normalize(map) {
    let low = Infinity;
    let high = -Infinity;
    for (const x of map) {
      if (x < low) low = x;
      if (x > high) high = x;
    }
    const range = f(f(1e-7) + f(high - low));
    for (let i = 0; i < map.length; i++) map[i] = f(f(map[i] - low) / range);
  }

  // The map of a signed projection of h by w positions at H by W pixels, 0 to 1.
  function camMap(p, h, w, H, W) {
    const small = Float32Array.from(p, (x) => (x > 0 ? x : 0));
    normalize(small);
    const columns = Array.from({ length: W }, (_, x) => tap(x, w, W));
    const wide = new Float32Array(h * W);
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < W; x++) {
        const [a, b, t] = columns[x];
        wide[y * W + x] = mix(small[y * w + a], small[y * w + b], t);
      }
    }
    const map = new Float32Array(H * W);
    for (let y = 0; y < H; y++) {
      const [a, b, t] = tap(y, h, H);
      for (let x = 0; x < W; x++) map[y * W + x] = mix(wide[a * W + x], wide[b * W + x], t);
    }
    normalize(map);
    return map;
  }

  // 8-bit grey: floor(255 x).
  function grey(map) {
    const out = new Uint8Array(map.length);
    for (let i = 0; i < map.length; i++) out[i] = Math.min(255, Math.max(0, Math.floor(f(255 * map[i]))));
    return out;
  }

  function rmse(a, b) {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
    return Math.sqrt(sum / a.length);
  }

  // The sign of the covariance says whether two projections agree.
  function covariance(a, b) {
    const mean = (v) => v.reduce((sum, x) => sum + x, 0) / v.length;
    const [ma, mb] = [mean(a), mean(b)];
    return a.reduce((sum, x, i) => sum + (x - ma) * (b[i] - mb), 0);
  }

  // The grey level above which lies the foreground: floor(t * largest).
  function level(t, values) {
    return Math.floor(t * values.reduce((most, x) => (x > most ? x : most), 0));
  }

  // Otsu's threshold in the order of operations of cv2.threshold.
  function otsu(values) {
    const counts = new Array(256).fill(0);
    for (const g of values) counts[g] += 1;
    const scale = 1 / values.length;
    const least = 2 ** -23;
    let mean = 0;
    for (let i = 0; i < 256; i++) mean += i * counts[i];
    mean *= scale;
    let [below, meanBelow, best, largest] = [0, 0, 0, 0];
    for (let i = 0; i < 256; i++) {
      const share = counts[i] * scale;
      const moment = meanBelow * below;
      below += share;
      const above = 1 - below;
      if (Math.min(below, above) < least || Math.max(below, above) > 1 - least) {
        meanBelow = moment;
        continue;
      }
      meanBelow = (moment + i * share) / below;
      const meanAbove = (mean - below * meanBelow) / above;
      const variance = below * above * (meanBelow - meanAbove) * (meanBelow - meanAbove);
      if (variance > largest) [best, largest] = [i, variance];
    }
    return best;
  }

  // Components are found on a grid with a margin of one background pixel, so that every pixel has its neighbours.

  // Marks the background that the outside reaches over edges as 2: what is not 2 is the foreground with its holes filled.
  function markOutside(grid, stride, stack) {
    const steps = [1, -1, stride, -stride];
    let top = 0;
    grid[0] = 2;
    stack[top++] = 0;
    while (top > 0) {
      const i = stack[--top];
      for (let k = 0; k < 4; k++) {
        const j = i + steps[k];
        if (grid[j] === 0) {
          grid[j] = 2;
          stack[top++] = j;
        }
      }
    }
  }

  // The 8-connected component of 1s around `start`, whose pixels become 3: bounds and number of pixels.
  function component(grid, stride, stack, start) {
    const steps = [1, -1, stride, -stride, stride + 1, stride - 1, 1 - stride, -1 - stride];
    const found = { x0: stride, y0: grid.length, x1: 0, y1: 0, pixels: 0 };
    let top = 0;
    grid[start] = 3;
    stack[top++] = start;
    while (top > 0) {
      const i = stack[--top];
      const y = (i / stride) | 0;
      const x = i - y * stride;
      found.pixels++;
      if (x < found.x0) found.x0 = x;
      if (x > found.x1) found.x1 = x;
      if (y < found.y0) found.y0 = y;
      if (y > found.y1) found.y1 = y;
      for (let k = 0; k < 8; k++) {
        const j = i + steps[k];
        if (grid[j] === 1) {
          grid[j] = 3;
          stack[top++] = j;
        }
      }
    }
    return found;
  }

  // Twice the area inside the outer contour of the component of 3s, which runs through pixel centres: of the square
  // between four centres all of it where the four belong to the component, half of it where three do. The 3s become 4.
  function contourArea(grid, stride, part) {
    let area = 0;
    for (let y = part.y0; y <= part.y1; y++) {
      for (let x = part.x0; x <= part.x1; x++) {
        const i = y * stride + x;
        const count = (grid[i] === 3) + (grid[i + 1] === 3) + (grid[i + stride] === 3) + (grid[i + stride + 1] === 3);
        if (count > 2) area += count - 2;
      }
    }
    for (let i = part.y0 * stride; i < (part.y1 + 1) * stride; i++) if (grid[i] === 3) grid[i] = 4;
    return area;
  }

  // The box of the pixels above a level, x0, y0, x1, y1 (one past the last pixel, within the picture); null without any.
  // Rule `contour`: the largest outer contour, of equals the last; `pixels`: the most pixels, of equals the first.
  function box(values, w, h, level, rule) {
    const contour = rule === "contour";
    const stride = w + 2;
    const grid = new Uint8Array(stride * (h + 2));
    const stack = new Int32Array(grid.length);
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) if (values[y * w + x] > level) grid[(y + 1) * stride + x + 1] = 1;
    }
    if (contour) {
      markOutside(grid, stride, stack);
      for (let i = 0; i < grid.length; i++) if (grid[i] === 0) grid[i] = 1;
    }
    let [best, most] = [null, -1];
    for (let start = 0; start < grid.length; start++) {
      if (grid[start] !== 1) continue;
      const part = component(grid, stride, stack, start);
      const size = contour ? contourArea(grid, stride, part) : part.pixels;
      if (contour ? size >= most : size > most) [best, most] = [part, size];
    }
    return best && [best.x0 - 1, best.y0 - 1, Math.min(best.x1, w - 1), Math.min(best.y1, h - 1)];
  }

  // Intersection over union of boxes whose last pixels belong to them.
  function iou(a, b) {
    const area = ([x0, y0, x1, y1]) => Math.max(0, x1 - x0 + 1) * Math.max(0, y1 - y0 + 1);
    const common = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
    const union = area(a) + area(b) - common;
    return union > 0 ? common / union : 0;
  }

  // IoU with the best of the true boxes; null where there are none.
  function bestIou(found, truths) {
    if (!truths.length) return null;
    return found ? Math.max(...truths.map((t) => iou(found, t))) : 0;
  }

  // 256 colours from evenly spaced ones.
  function palette(colours) {
    const out = new Uint8Array(3 * 256);
    for (let i = 0; i < 256; i++) {
      const place = (i / 255) * (colours.length - 1);
      const below = Math.min(Math.floor(place), colours.length - 2);
      const t = place - below;
      for (let c = 0; c < 3; c++) out[3 * i + c] = Math.round(colours[below][c] * (1 - t) + colours[below + 1][c] * t);
    }
    return out;
  }

  return { camMap, grey, rmse, covariance, level, otsu, box, bestIou, palette };
})();
