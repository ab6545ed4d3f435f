// Attack it yourself: the paper's joint attack, run in the page with the gradients of a ReLU network written out.
// Images, steps and radii are JSON from nsr/figures/play.py, which also writes the networks, one script for each: a page
// that is opened from a folder may load scripts, but neither modules nor data.
(() => {
  const folder = document.currentScript.src;
  const ATTACKERS = ["input", "weights", "input and weights"];

  // ---------------------------------------------------------------- numbers

  const bytes = (letters) => Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));

  // a network: for each layer its matrix W, row after row
  function unpacked(layers) {
    return layers.map(({ shape: [rows, columns], scale, multiples }) => {
      const view = new DataView(bytes(multiples).buffer);
      const W = Float64Array.from({ length: rows * columns }, (_, k) => view.getInt16(2 * k, true) * scale);
      return { rows, columns, W };
    });
  }

  // x and the activations of every layer, the logits last
  function activations(network, x) {
    const z = [x];
    network.forEach(({ rows, columns, W }, m) => {
      const into = z[m], out = new Float64Array(rows), last = m === network.length - 1;
      for (let a = 0, at = 0; a < rows; a++, at += columns) {
        let sum = 0;
        for (let b = 0; b < columns; b++) sum += W[at + b] * into[b];
        out[a] = last || sum > 0 ? sum : 0;
      }
      z.push(out);
    });
    return z;
  }

  // the gradient of the cross-entropy with respect to the logits
  function slope(logits, y) {
    const top = Math.max(...logits), total = logits.reduce((sum, v) => sum + Math.exp(v - top), 0);
    return logits.map((v, k) => Math.exp(v - top - Math.log(total)) - (k === y ? 1 : 0));
  }

  const highest = (values) => values.indexOf(Math.max(...values));

  // As `joint_pgd` of nsr/attack/reference.py: x and all W^m step at once, by the signs of the gradients at one point.
  // The gradient of W^m is an outer product, the slope at its outputs times its inputs, and no input is negative: its
  // sign is the slope's where the input is not 0.
  function attacked(network, x, y, { eps_x, eps_w, step_x, step_w, steps }) {
    const x_hat = Float64Array.from(x), moved = network.map((layer) => ({ ...layer, W: Float64Array.from(layer.W) }));
    for (let t = 0; t < steps; t++) {
      const z = activations(moved, x_hat);
      let above = slope(z.at(-1), y);
      for (let m = moved.length - 1; m >= 0; m--) {
        const { rows, columns, W } = moved[m], centre = network[m].W, into = z[m], below = new Float64Array(columns);
        for (let a = 0, at = 0; a < rows; a++, at += columns) {
          const s = above[a];
          if (s === 0) continue;
          const step = Math.sign(s) * step_w;
          for (let b = 0; b < columns; b++) {
            const w = W[at + b];
            below[b] += w * s; // by the weight as it was before this step
            if (eps_w > 0 && into[b] > 0) {
              W[at + b] = Math.min(Math.max(w + step, centre[at + b] - eps_w), centre[at + b] + eps_w);
            }
          }
        }
        above = m > 0 ? below.map((s, b) => (into[b] > 0 ? s : 0)) : below;
      }
      for (let k = 0; k < x.length; k++) {
        const there = x_hat[k] + step_x * Math.sign(above[k]);
        x_hat[k] = Math.min(Math.max(there, x[k] - eps_x, 0), x[k] + eps_x, 1);
      }
    }
    return { x_hat, network: moved };
  }

  // what the attack did to W^1: for each row its distance in l_1, and the share of entries at the edge of the ball
  function distances({ rows, columns, W }, { W: centre }, eps) {
    const rowwise = new Float64Array(rows);
    let edge = 0;
    W.forEach((w, k) => {
      const d = Math.abs(w - centre[k]);
      rowwise[Math.floor(k / columns)] += d;
      if (d >= (1 - 1e-9) * eps) edge++;
    });
    return { rowwise, edge: edge / W.length, moved: rowwise.filter((d) => d > 0).length };
  }

  // ---------------------------------------------------------------- the page

  const make = (name, attributes = {}, ...inside) => {
    const element = Object.assign(document.createElement(name), attributes);
    element.append(...inside);
    return element;
  };
  const shown = (value, digits) => value.toFixed(digits).replace("-", "\u2212");

  // A square picture of numbers in [-1, 1]: with signs in violet and orange on the page's own ground, else black on white.
  function paint(canvas, values, signed = false) {
    const side = Math.round(Math.sqrt(values.length)), image = new ImageData(side, side);
    values.forEach((v, k) => {
      const grey = 255 * (1 - v), colour = v > 0 ? [224, 120, 0] : [122, 92, 200];
      image.data.set(signed ? [...colour, 255 * Math.abs(v)] : [grey, grey, grey, 255], 4 * k);
    });
    canvas.width = canvas.height = side;
    canvas.getContext("2d").putImageData(image, 0, 0);
  }
  function picture(words) {
    const canvas = make("canvas"), caption = make("figcaption", { textContent: words });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", words);
    return { canvas, caption, figure: make("figure", {}, canvas, caption) };
  }

  const networks = {}; // those that have come, by name
  function network(name) {
    return (networks[name] ??= new Promise((resolve, reject) => {
      const onload = () => resolve(unpacked(window.nsrNetworks[name]));
      document.head.append(make("script", { src: new URL(`networks/${name}.js`, folder), onload, onerror: reject }));
    }));
  }

  let groups = 0; // radio buttons of one group need a name that no other on the page has
  function choice(title, options, chosen) {
    const name = `nsr-play-${groups++}`;
    const inputs = options.map((_, k) => make("input", { type: "radio", name, checked: k === chosen }));
    const labels = options.map((option, k) => make("label", {}, inputs[k], option));
    const set = make("fieldset", { className: "nsr-play-choice" }, make("legend", { textContent: title }), ...labels);
    return { set, inputs, get at() { return inputs.findIndex((input) => input.checked); } };
  }
  function slider(name, said, attributes, digits) {
    const input = make("input", { type: "range", ...attributes }), value = make("output");
    input.value = attributes.value; // once more: before its limits were set it may have been cut
    input.setAttribute("aria-label", said);
    const write = () => { value.textContent = shown(input.valueAsNumber, digits); };
    input.addEventListener("input", write);
    write();
    return { input, label: make("label", {}, make("span", { innerHTML: name }), input, value) };
  }

  function fill(place) {
    const given = JSON.parse(place.querySelector("script").textContent), { start, reach } = given;
    const images = given.images.map((image) => ({ ...image, x: Float64Array.from(bytes(image.pixels), (v) => v / 255) }));
    const digits = choice("Test image", images.map(({ x, digit }) => {
      const { canvas } = picture(`a ${digit}`);
      paint(canvas, x);
      return canvas;
    }), start.digit);
    digits.inputs.forEach((input, k) => input.setAttribute("aria-label", `digit ${images[k].digit}`));
    const nets = choice("Network", given.networks.map(({ title }) => title), 0);
    const who = choice("Who attacks", ATTACKERS, 2);
    const radius = (key, name, said, places) => slider(name, said,
      { min: 0, max: reach[key][0], step: reach[key][1], value: start[key] }, places);
    const eps_x = radius("eps_x", "ε<sub>x</sub>", "input radius", 2), eps_w = radius("eps_w", "ε<sub>w</sub>", "weight radius", 4);
    const steps = slider("steps", "steps of the attack", { min: 0, max: given.steps, step: 1, value: given.steps }, 0);
    const sliders = make("fieldset", {}, make("legend", { textContent: "Radii and steps" }), eps_x.label, eps_w.label, steps.label);

    const pictures = [picture("image"), picture("attacked image"), picture("difference: orange up, violet down")];
    const rows = [0, 1, 2].map(() => picture("row of W\u00b9"));
    const told = make("p", { className: "nsr-play-words" }), weights = make("p"), took = make("p", { className: "nsr-play-took" });
    told.setAttribute("aria-live", "polite");
    const logits = make("div", { className: "nsr-play-logits" });
    logits.append(...["class", "logits, clean above attacked", "clean", "attacked"].map((word) => make("b", { textContent: word })));
    const classes = images.map((_, k) => {
      const inks = [make("span"), make("span")], values = [make("data"), make("data")];
      const track = make("span", { className: "nsr-play-track" }, ...inks);
      track.setAttribute("aria-hidden", "true");
      const name = make("span", { textContent: k });
      logits.append(name, track, ...values);
      return { name, inks, values };
    });

    function drawLogits(clean, after) {
      const all = [0, ...clean, ...after], low = Math.min(...all), width = Math.max(...all) - low || 1;
      classes.forEach(({ inks, values }, k) => [clean, after].forEach((z, which) => {
        const left = `${(100 * (Math.min(0, z[k]) - low)) / width}%`;
        Object.assign(inks[which].style, { left, width: `${(100 * Math.abs(z[k])) / width}%` });
        Object.assign(values[which], { value: z[k], textContent: shown(z[k], 2) });
        values[which].classList.toggle("nsr-play-highest", k === highest(z));
      }));
    }
    function drawWeights(there, clean, eps) {
      const { rowwise, edge, moved } = distances(there, clean, eps);
      const order = [...rowwise.keys()].sort((a, b) => rowwise[b] - rowwise[a]);
      rows.forEach(({ canvas, caption, figure }, k) => {
        const at = order[k] * clean.columns;
        figure.hidden = eps === 0 || rowwise[order[k]] === 0;
        paint(canvas, Array.from({ length: clean.columns }, (_, b) => (there.W[at + b] - clean.W[at + b]) / (eps || 1)), true);
        caption.textContent = `neuron ${order[k] + 1}`;
        canvas.setAttribute("aria-label", `what was added to the weights of neuron ${order[k] + 1}`);
      });
      weights.textContent = moved === 0 ? "W\u00b9 has not moved." : `${moved} of the ${clean.rows} rows of W\u00b9 have moved. ` +
        `${shown(100 * edge, 1)}\u00a0% of its entries lie at the edge of the ball. The rows that moved most:`;
    }

    function run(clean) {
      const { x, digit } = images[digits.at], attacker = ATTACKERS[who.at];
      const budget = { step_x: given.step_x, step_w: given.step_w, steps: steps.input.valueAsNumber };
      budget.eps_x = attacker === "weights" ? 0 : eps_x.input.valueAsNumber;
      budget.eps_w = attacker === "input" ? 0 : eps_w.input.valueAsNumber;
      const began = performance.now(), found = attacked(clean, x, digit, budget), ms = performance.now() - began;
      const before = Array.from(activations(clean, x).at(-1));
      const after = Array.from(activations(found.network, found.x_hat).at(-1));
      paint(pictures[0].canvas, x);
      paint(pictures[1].canvas, found.x_hat);
      paint(pictures[2].canvas, Array.from(x, (v, k) => (found.x_hat[k] - v) / (budget.eps_x || 1)), true);
      drawLogits(before, after);
      drawWeights(found.network[0], clean[0], budget.eps_w);
      const [was, is] = [highest(before), highest(after)];
      told.textContent = `The network reads the ${digit} as ${was}; after the attack on ${attacker} as ${is}. ` +
        `${is === digit ? "The attack has not broken it." : was === digit ? "The attack has broken it." : "It was wrong before."}`;
      took.textContent = `${budget.steps} steps took ${Math.round(ms)} ms in this browser.`;
      place.dataset.ms = ms;
    }

    let asked = 0; // at most one attack for each frame that the browser draws, and the last request counts
    async function show() {
      const request = ++asked;
      place.setAttribute("aria-busy", "true");
      try {
        const clean = await network(given.networks[nets.at].name);
        requestAnimationFrame(() => {
          if (request !== asked) return;
          run(clean);
          place.setAttribute("aria-busy", "false");
        });
      } catch {
        told.textContent = "The weights of this network could not be loaded.";
      }
    }
    const live = make("div", { className: "nsr-play-live", oninput: show }, digits.set, make("div", { className: "nsr-play-sets" },
      make("div", {}, nets.set, who.set), sliders), told,
      make("div", { className: "nsr-play-pictures" }, ...pictures.map(({ figure }) => figure)), logits, weights,
      make("div", { className: "nsr-play-pictures" }, ...rows.map(({ figure }) => figure)), took);
    place.prepend(live);
    place.classList.add("nsr-play-on");
    show();
  }

  // a network comes when the reader comes near
  const near = new IntersectionObserver((seen) => seen.filter((one) => one.isIntersecting).forEach(({ target }) => {
    near.unobserve(target);
    fill(target);
  }), { rootMargin: "100%" });
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll('div.nsr-play[data-play="attack"]').forEach((place) => near.observe(place));
  });
})();
