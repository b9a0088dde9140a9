"use strict";
// The gallery: cards of pairs that are filtered, sorted, and drawn when they come into view or a control moves.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [H, W] = data.size;
  // JSON has the shortest digits of each f32: back to exactly that.
  for (const side of data.entries.flatMap((entry) => entry.sides)) side.p = Float32Array.from(side.p);
  const control = (id) => document.getElementById(id);
  const LINES = { right: ["#56b4e9", []], wrong: ["#f0821e", [7, 4]], plain: ["#ffffff", []] };
  const outcomes = {
    both: "both right", f32: "f32 alone right", int8: "int8 alone right", neither: "both wrong", unlabelled: "no label",
  };
  const state = {};
  const palettes = {};
  const loading = new Map();
  const pictures = new Map();
  const visible = new Set();

  // A picture on its way; cards that wait for it are drawn again when it is there.
  function load(index) {
    if (!loading.has(index)) {
      const picture = new Image();
      picture.onload = () => schedule();
      picture.src = `data:image/jpeg;base64,${data.images[index]}`;
      loading.set(index, picture);
    }
    return loading.get(index);
  }

  // A picture's pixels; null while there are none.
  function pixels(index) {
    if (index === null) return null;
    if (!pictures.has(index) && load(index).naturalWidth > 0) {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [W, H];
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(load(index), 0, 0, W, H);
      pictures.set(index, context.getImageData(0, 0, W, H).data);
    }
    return pictures.get(index) ?? null;
  }

  function element(name, text, className) {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    return node;
  }

  const percent = (x) => `${(100 * x).toFixed(1)} %`;

  // The two projections with the chosen signs.
  function signed(entry) {
    const policy = state.signs;
    const turned = entry.sides.map((side) => side.turned[policy]);
    if (turned.some((t) => t === null)) return null;
    const flip = (p) => p.map((x) => 0 - x);
    const [a, b] = entry.sides.map((side, i) => (turned[i] ? flip(side.p) : side.p));
    return [a, state.align && Maps.covariance(a, b) < 0 ? flip(b) : b];
  }

  // Grey maps of an entry under the chosen signs; kept until these change.
  function greys(card) {
    const key = `${state.signs} ${state.align}`;
    if (card.key !== key) {
      const both = signed(card.entry);
      card.key = key;
      card.greys = both && both.map((p, i) => Maps.grey(Maps.camMap(p, ...card.entry.sides[i].map, H, W)));
      card.rmse = card.greys && Maps.rmse(...card.greys);
    }
    return card.greys;
  }

  function level(grey) {
    return state.otsu ? Maps.otsu(grey) : Maps.level(state.threshold, grey);
  }

  function outline(context, [x0, y0, x1, y1], [colour, dash]) {
    for (const [width, style, pattern] of [[4, "#000000", []], [2, colour, dash]]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.setLineDash(pattern);
      context.strokeRect(x0 + 1, y0 + 1, Math.max(0, x1 - x0 - 2), Math.max(0, y1 - y0 - 2));
    }
  }

  // The picture, covered by a grey map's colours where one is given.
  function paint(context, rgba, grey) {
    const out = context.createImageData(W, H);
    const to = out.data;
    const [over, share] = [palettes[state.colours], state.blend / 100];
    for (let i = 0, at = 0; i < W * H; i++, at += 4) {
      const g = grey ? 3 * grey[i] : 0;
      for (let c = 0; c < 3; c++) {
        const under = rgba ? rgba[at + c] : 128;
        to[at + c] = grey ? under * (1 - share) + over[g + c] * share : under;
      }
      to[at + 3] = 255;
    }
    context.putImageData(out, 0, 0);
  }

  function describe(side, iou) {
    const mark = side.right === null ? "" : side.right ? "✓ " : "✗ ";
    const overlap = iou === null ? "" : `, IoU ${iou.toFixed(2)}`;
    return `${mark}${side.class ?? "no class"}, ${percent(side.probability)}${overlap}`;
  }

  function draw(card) {
    const { entry, canvases, texts } = card;
    const rgba = pixels(entry.image);
    const maps = greys(card);
    const contexts = canvases.map((canvas) => canvas.getContext("2d"));
    paint(contexts[0], rgba, null);
    if (state.boxes) entry.boxes.forEach((b) => outline(contexts[0], b, LINES.plain));
    card.found = entry.sides.map((side, i) => {
      const context = contexts[i + 1];
      paint(context, rgba, maps && maps[i]);
      const found = maps && Maps.box(maps[i], W, H, level(maps[i]), data.rule);
      if (found && state.boxes) outline(context, found, LINES[side.right === null ? "plain" : side.right ? "right" : "wrong"]);
      texts[i].textContent = describe(side, maps && Maps.bestIou(found, entry.boxes));
      return found;
    });
    const now = maps ? `RMSE shown ${card.rmse.toFixed(1)}` : `signs ${state.signs} do not apply to this layer`;
    card.facts.textContent = `${now}; in the study ${entry.rmse.toFixed(1)}, aligned ${entry.aligned.toFixed(1)}${entry.flipped ? ", flipped" : ""}`;
    card.node.dataset.drawn = "true";
  }

  let waiting = false;
  function schedule() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      visible.forEach(draw);
    });
  }

  function makeCard(entry) {
    const node = element("li", undefined, "pair");
    node.append(element("h3", entry.id));
    const truth = entry.truth === null ? "" : ` · true class ${entry.truth}`;
    node.append(element("p", `${data.networks[entry.network]}${truth} · ${outcomes[entry.outcome]}`, "meta"));
    const three = element("div", undefined, "three");
    const card = { entry, node, canvases: [], texts: [], key: null };
    for (const name of ["image", "f32", "int8"]) {
      const panel = element("div");
      const canvas = element("canvas");
      [canvas.width, canvas.height] = [W, H];
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", name === "image" ? "input with true boxes" : `${name} map and box`);
      const text = element("p");
      text.append(element("strong", name), " ");
      const rest = element("span");
      text.append(rest);
      panel.append(canvas, text);
      three.append(panel);
      card.canvases.push(canvas);
      if (name !== "image") card.texts.push(rest);
    }
    card.facts = element("p", "", "facts");
    node.append(three, card.facts);
    return card;
  }

  // IoU of side a less that of side b; pairs without a true box come last.
  const gained = (e, a, b) => (e.sides.some((s) => s.iou === null) ? -Infinity : e.sides[a].iou - e.sides[b].iou);
  const change = (e) => Math.abs(e.sides[1].probability - e.sides[0].probability);
  const text = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const orders = {
    rmse: (a, b) => b.rmse - a.rmse,
    "rmse-up": (a, b) => a.rmse - b.rmse,
    aligned: (a, b) => b.aligned - a.aligned,
    iou: (a, b) => number(gained(b, 0, 1), gained(a, 0, 1)),
    "iou-up": (a, b) => number(gained(b, 1, 0), gained(a, 1, 0)),
    probability: (a, b) => change(b) - change(a),
    class: (a, b) => text(a.truth ?? a.sides[0].class ?? "", b.truth ?? b.sides[0].class ?? ""),
    file: (a, b) => text(a.id, b.id),
  };

  // Differences of numbers that may both be infinite.
  function number(a, b) {
    return a === b ? 0 : a - b;
  }

  function chosen(entry) {
    const words = [entry.id, entry.truth, ...entry.sides.map((s) => s.class)].filter((t) => t !== null);
    const wanted = state.class.trim().toLowerCase();
    return (
      (state.network === "" || entry.network === Number(state.network)) &&
      (state.outcome === "" || entry.outcome === state.outcome) &&
      (wanted === "" || words.some((t) => t.toLowerCase().includes(wanted))) &&
      (state.least === "" || entry.rmse >= Number(state.least)) &&
      (state.most === "" || entry.rmse <= Number(state.most))
    );
  }

  const cards = data.entries.map(makeCard);
  const list = control("pairs");
  const seen = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      const card = cards.find((c) => c.node === target);
      if (isIntersecting) visible.add(card);
      else visible.delete(card);
    }
    schedule();
  }, { rootMargin: "300px" });

  function arrange() {
    const shown = cards.filter((card) => chosen(card.entry)).sort((a, b) => orders[state.order](a.entry, b.entry));
    list.replaceChildren(...shown.map((card) => card.node));
    control("count").textContent = `${shown.length} of ${cards.length} pairs`;
    visible.clear();
    seen.disconnect();
    shown.forEach((card) => seen.observe(card.node));
  }

  const fields = ["network", "outcome", "class", "least", "most", "order", "threshold", "blend", "signs", "colours"];
  const arranging = new Set(["network", "outcome", "class", "least", "most", "order"]);

  function read() {
    for (const id of fields) state[id] = control(id).value;
    for (const id of ["otsu", "align", "boxes"]) state[id] = control(id).checked;
    state.threshold = Number(state.threshold);
    // The study's own threshold may lie between two steps of the slider.
    if (!state.moved && data.threshold !== "otsu") state.threshold = Number(data.threshold);
    control("threshold-value").textContent = state.otsu ? "(Otsu)" : state.threshold.toFixed(2);
    control("blend-value").textContent = `${state.blend} %`;
    control("threshold").disabled = state.otsu;
  }

  function reset() {
    control("threshold").value = data.threshold === "otsu" ? "0.2" : data.threshold;
    control("blend").value = "50";
    control("otsu").checked = data.threshold === "otsu";
    control("align").checked = false;
    control("boxes").checked = true;
    state.moved = false;
    read();
    arrange();
  }

  for (const [name, colours] of Object.entries(data.colours)) palettes[name] = Maps.palette(colours);
  const all = element("option", "all");
  all.value = "";
  control("network").append(all, ...data.networks.map((name, i) => {
    const option = element("option", name);
    option.value = String(i);
    return option;
  }));
  control("signs").options[0].textContent = `study's: ${data.signs}`;
  // The sliders stand outside the form, so that they can stay in view.
  control("gallery").addEventListener("input", (event) => {
    if (event.target.id === "threshold") state.moved = true;
    read();
    if (arranging.has(event.target.id)) arrange();
    schedule();
  });
  control("controls").addEventListener("reset", () => setTimeout(reset));
  control("controls").addEventListener("submit", (event) => event.preventDefault());
  // On paper nothing scrolls into view or opens: pictures are loaded ahead of it, one after the other.
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("#settings details").forEach((details) => { details.open = true; });
    cards.filter((card) => card.node.isConnected).forEach(draw);
  });
  const ahead = (index) => {
    if (index < data.images.length) load(index).decode().catch(() => {}).then(() => setTimeout(ahead, 5, index + 1));
  };
  window.addEventListener("load", () => ahead(0));
  reset();

  // For the test: what the page computed, and what the study had recorded.
  window.quantlensGallery = { data, cards, loading, pictures, draw };
})();
