// Break the theorem: a small net whose weights and input the reader moves inside their radii. The numbers of the net,
// its radii and both bounds are JSON from nsr/figures/play.py; computed here is the margin alone.
// A classic script: browsers refuse to load modules of a page that is opened from a folder.
(() => {
  const make = (name, attributes = {}, ...inside) => {
    const element = Object.assign(document.createElement(name), attributes);
    element.append(...inside);
    return element;
  };
  const shown = (value) => String(Number(value.toFixed(4))).replace("-", "\u2212");
  const times = (M, z) => M.map((row) => row.reduce((sum, w, k) => sum + w * z[k], 0));

  // f_W^{ij}(x) of the ReLU network
  function margin({ x, W }, [i, j]) {
    let z = x;
    W.forEach((M, m) => { z = times(M, z).map((v) => (m < W.length - 1 ? Math.max(v, 0) : v)); });
    return z[i] - z[j];
  }

  function fill(place) {
    const { cases } = JSON.parse(place.querySelector("script").textContent);
    const [still, joint] = cases;
    const sliders = []; // each one free number: where it is read, where it is written, its input
    const at = { x: [...still.x], W: still.W.map((M) => M.map((row) => [...row])) };

    function slider(name, said, row, k, centre, radius) {
      const input = make("input", { type: "range", min: centre - radius, max: centre + radius, step: radius / 20 });
      const value = make("output"), label = make("label", {}, make("span", { innerHTML: name }), input, value);
      input.setAttribute("aria-label", said);
      const put = (v) => { input.value = v; row[k] = Number(input.value); value.textContent = shown(row[k]); };
      input.oninput = () => { put(input.value); show(); };
      sliders.push({ put, input, of: row, k });
      put(centre);
      return label;
    }

    const moving = make("input", { type: "checkbox" });
    const inputs = make("fieldset", {}, make("legend", { innerHTML: `Input x, radius ${shown(joint.eps_x)}` }),
      make("label", {}, moving, "the input moves, too"),
      ...joint.x.map((v, k) => slider("x&#770;", `input ${k + 1}`, at.x, k, v, joint.eps_x)));
    const matrices = still.W.map((M, m) => make("fieldset", {},
      make("legend", { innerHTML: `W<sup>${m + 1}</sup>, radius ${shown(still.eps[m])}` }),
      ...M.flatMap((row, a) => row.map((v, b) => slider(`Ŵ<sup>${m + 1}</sup><sub>${a + 1}${b + 1}</sub>`,
        `layer ${m + 1}, row ${a + 1}, column ${b + 1}`, at.W[m][a], b, v, still.eps[m])))));

    // one scale for both cases, with room for every margin that the sliders reach
    const low = Math.min(0, ...cases.map((c) => c.range[0])), high = Math.max(...cases.map((c) => c.repaired));
    const percent = (value) => `${(100 * (value - low)) / (high - low)}%`;
    const bars = make("div", { className: "nsr-play-bars" });
    const bar = Object.fromEntries(["margin", "printed bound", "repaired bound"].map((name) => {
      const ink = make("span"), value = make("data");
      const track = make("span", { className: "nsr-play-track" }, ink);
      track.setAttribute("aria-hidden", "true");
      bars.append(make("span", { textContent: name }), track, value);
      return [name, { ink, value }];
    }));
    function draw({ ink, value }, v) {
      Object.assign(ink.style, { left: percent(Math.min(0, v)), width: `${(100 * Math.abs(v)) / (high - low)}%` });
      Object.assign(value, { value: v, textContent: shown(v) });
    }

    const words = make("p", { className: "nsr-play-words" });
    words.setAttribute("aria-live", "polite");
    function show() {
      const now = moving.checked ? joint : still, found = margin(at, now.pair), over = found - now.printed;
      const beyond = over > 1e-9; // rounding of the sliders' decimals is no counterexample
      draw(bar.margin, found);
      draw(bar["printed bound"], now.printed);
      draw(bar["repaired bound"], now.repaired);
      bars.classList.toggle("nsr-play-broken", beyond);
      words.textContent = beyond
        ? `The margin ${shown(found)} exceeds the printed bound ${shown(now.printed)} by ${shown(over)}: the theorem is false. ` +
          `The repaired bound is ${shown(now.repaired)}.`
        : `The margin ${shown(found)} is below the printed bound ${shown(now.printed)}` + (over > -1e-9 ? " or equal to it." : ".");
    }
    function go(point) {
      const values = [...point.x, ...point.W.flat(2)];
      sliders.forEach(({ put }, n) => put(values[n]));
      show();
    }
    moving.onchange = () => {
      sliders.filter(({ of }) => of === at.x).forEach(({ put, input, k }) => {
        input.disabled = !moving.checked;
        put(still.x[k]);
      });
      show();
    };
    const button = (textContent, onclick) => make("button", { type: "button", textContent, onclick });
    const buttons = make("p", { className: "nsr-play-buttons" }, button("Back to the clean weights", () => go(still)),
      button("Show the worst corner", () => go((moving.checked ? joint : still).worst)));
    place.prepend(make("div", { className: "nsr-play-live" },
      make("div", { className: "nsr-play-sets" }, inputs, ...matrices), buttons, bars, words));
    place.classList.add("nsr-play-on");
    moving.onchange();
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll('div.nsr-play[data-play="theorem"]').forEach(fill);
  });
})();
