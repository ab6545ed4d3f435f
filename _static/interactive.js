// Figures that answer the pointer. A div.nsr-plot holds JSON, written by nsr/figures/interactive.py: either views, each
// with the choices under which it is seen, or contours of which two are compared. Plotly lies in this folder; pages that
// have no such div do not load it.
(() => {
  const folder = document.currentScript.src;
  const config = { displayModeBar: false, responsive: true };

  const make = (name, attributes = {}) => Object.assign(document.createElement(name), attributes);
  const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  // the page's own letters and colours, so that the plot is legible in both of its themes
  function dressed(layout, place) {
    const page = getComputedStyle(place), ground = getComputedStyle(document.body).backgroundColor;
    const font = { color: page.color, family: page.fontFamily };
    return { ...layout, font: { ...font, size: 13 }, hoverlabel: { font, bgcolor: ground, bordercolor: page.color } };
  }

  // What a figure offers and shows: `offered`, what is left to choose at control k once those before it are set, and
  // `shown`, the plots under a choice.
  function oneOf({ views }) {
    const fits = (view, chosen) => chosen.every((choice, j) => view.at[j] === choice);
    return {
      start: views[0].at,
      slider: true,
      offered: (k, chosen) => [...new Set(views.filter((v) => fits(v, chosen.slice(0, k))).map((v) => v.at[k]))],
      shown: (chosen) => ({ plots: [{ ...views.find((v) => fits(v, chosen)), said: chosen.join(", ") }] }),
    };
  }

  // two methods under one kind of contour: the means over the seeds that both have, and the second minus the first
  function twoOf({ kinds, start }) {
    const called = (name) => kinds.find((kind) => kind.name === name);
    const shared = ({ found }, a, b) => Object.keys(found[a]).filter((seed) => seed in found[b]);
    function offered(k, [name, left]) {
      if (k === 0) return kinds.map((kind) => kind.name);
      const kind = called(name), methods = Object.keys(kind.found);
      return k === 1 ? methods : methods.filter((right) => shared(kind, left, right).length);
    }
    function shown([name, left, right]) {
      const kind = called(name), seeds = shared(kind, left, right), { x, y } = kind.plane.data[0];
      const cells = (number) => y.map((_, j) => x.map((_, i) => number(j, i)));
      const mean = (method) => cells((j, i) => average(seeds.map((seed) => kind.found[method][seed][j][i])));
      const before = mean(left), after = mean(right), change = cells((j, i) => after[j][i] - before[j][i]);
      const most = Math.max(10, 10 * Math.ceil(Math.max(...change.flat().map(Math.abs)) / 10));
      const centred = ({ colorbar }) => ({
        zmin: -most, zmax: most, colorbar: { ...colorbar, tickvals: [-1, -0.5, 0, 0.5, 1].map((share) => share * most) },
      });
      const aucs = [before, after].map((z) => integral(z.map((row) => integral(row, x)), y) / 100);
      const plot = (figure, z, meta, scale) => ({
        data: figure.data.map((part) => ({ ...part, meta, ...(part.type === "contour" && { z, ...scale?.(part) }) })),
        layout: { ...figure.layout, meta },
        said: meta.join(", "),
      });
      const seen = [left, right].map((method, k) => [`${method}, n = ${seeds.length}`, `AUC ${aucs[k].toFixed(3)}`]);
      const gain = aucs[1] - aucs[0], sign = gain < 0 ? "\u2212" : "+";
      return {
        plots: [
          plot(kind.plane, before, seen[0]),
          plot(kind.plane, after, seen[1]),
          plot(kind.difference, change, [`${right} minus ${left}`, `AUC ${sign}${Math.abs(gain).toFixed(3)}`], centred),
        ],
        words: `${kind.name}. Means over the seeds that both have: ${seeds.join(", ")}. ` + (left === right ? "Twice the same method."
          : `${right} is ahead ${farthest(change, 1, x, y)} and behind ${farthest(change, -1, x, y)}.`),
      };
    }
    return { start: [kinds[0].name, ...start], offered, shown };
  }
  // how far the difference reaches on one side of zero, and at which radii
  function farthest(change, sign, x, y) {
    const values = change.flat().map((v) => sign * v), most = Math.max(...values), at = values.indexOf(most);
    const radii = `${x[at % x.length]} and ${y[Math.floor(at / x.length)]}`;
    return most > 1e-9 ? `by up to ${most.toFixed(1)} points (at the radii ${radii})` : "nowhere";
  }

  // by the trapezoid rule, divided by the length of the grid
  function integral(values, grid) {
    const parts = values.slice(1).map((v, k) => ((grid[k + 1] - grid[k]) * (v + values[k])) / 2);
    return parts.reduce((sum, part) => sum + part, 0) / (grid[grid.length - 1] - grid[0]);
  }

  function fill(place) {
    const found = JSON.parse(place.querySelector("script").textContent);
    const { start, offered, shown, slider } = found.views ? oneOf(found) : twoOf(found);
    const row = make("div", { className: "nsr-plot-controls" }), planes = make("div", { className: "nsr-plot-planes" });
    const words = make("p", { className: "nsr-plot-words" }), drawn = [], chosen = [...start];
    const inputs = found.controls.map((name, k) => {
      const slides = slider && k === found.controls.length - 1, label = make("label", { textContent: name + " " });
      const input = slides ? make("input", { type: "range", min: 0, step: 1 }) : make("select");
      input.oninput = () => { chosen[k] = offered(k, chosen)[slides ? input.value : input.selectedIndex]; show(); };
      label.append(input, ...(slides ? [make("output")] : []));
      row.append(label);
      return input;
    });
    function show() {
      inputs.forEach((input, k) => {
        const choices = offered(k, chosen), at = Math.max(0, choices.indexOf(chosen[k]));
        chosen[k] = choices[at];
        input.disabled = choices.length < 2;
        if (input.type === "range") {
          Object.assign(input, { max: choices.length - 1, value: at }).setAttribute("aria-valuetext", chosen[k]);
          input.nextElementSibling.textContent = chosen[k];
        } else {
          input.replaceChildren(...choices.map((choice, j) => new Option(choice, choice, false, j === at)));
        }
      });
      const { plots, words: told = "" } = shown(chosen);
      if (!drawn.length) { // every plot has its place before the first is drawn, which takes the width that is left
        drawn.push(...plots.map(() => make("div", { className: "nsr-plot-drawn", role: "img" })));
        planes.append(...drawn, ...(told ? [words] : []));
      }
      words.textContent = told;
      plots.forEach((plot, k) => {
        drawn[k].setAttribute("aria-label", `${place.getAttribute("aria-label")}: ${plot.said}`);
        Plotly.react(drawn[k], plot.data, dressed(plot.layout, place), config);
      });
    }
    words.setAttribute("aria-live", "polite");
    place.prepend(row, planes);
    place.classList.add("nsr-plot-live");
    show();
    new MutationObserver(show).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  // plotly is large: it comes when the reader comes near the first figure
  const near = new IntersectionObserver((seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    near.disconnect();
    const onload = () => document.querySelectorAll("div.nsr-plot").forEach(fill);
    document.head.append(make("script", { src: new URL("../plotly/plotly-cartesian.min.js", folder), onload }));
  }, { rootMargin: "100%" });
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("div.nsr-plot").forEach((place) => near.observe(place));
  });
})();
