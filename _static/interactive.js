// Figures that answer the pointer. A div.nsr-plot holds its views as JSON, written by nsr/figures/interactive.py; each
// says under which choices it is seen. Plotly lies in this folder; pages that have no such div do not load it.
(() => {
  const folder = document.currentScript.src;
  const config = { displayModeBar: false, responsive: true };

  const make = (name, attributes = {}) => Object.assign(document.createElement(name), attributes);

  // the page's own letters and colours, so that the plot is legible in both of its themes
  function dressed(layout, place) {
    const page = getComputedStyle(place), ground = getComputedStyle(document.body).backgroundColor;
    const font = { color: page.color, family: page.fontFamily };
    return { ...layout, font: { ...font, size: 13 }, hoverlabel: { font, bgcolor: ground, bordercolor: page.color } };
  }

  function fill(place) {
    const { controls, views } = JSON.parse(place.querySelector("script").textContent);
    const row = make("div", { className: "nsr-plot-controls" }), plot = make("div", { className: "nsr-plot-drawn" });
    const chosen = [...views[0].at];
    // what is left to choose at a control once those before it are set
    const left = (k) => [...new Set(views.filter((v) => chosen.slice(0, k).every((c, j) => v.at[j] === c)).map((v) => v.at[k]))];
    const inputs = controls.map((name, k) => {
      const last = k === controls.length - 1, label = make("label", { textContent: name + " " });
      const input = last ? make("input", { type: "range", min: 0, step: 1 }) : make("select");
      input.oninput = () => { chosen[k] = left(k)[last ? input.value : input.selectedIndex]; show(); };
      label.append(input, ...(last ? [make("output")] : []));
      row.append(label);
      return input;
    });
    function show() {
      inputs.forEach((input, k) => {
        const choices = left(k), at = Math.max(0, choices.indexOf(chosen[k]));
        chosen[k] = choices[at];
        input.disabled = choices.length < 2;
        if (input.type === "range") {
          Object.assign(input, { max: choices.length - 1, value: at }).setAttribute("aria-valuetext", chosen[k]);
          input.nextElementSibling.textContent = chosen[k];
        } else {
          input.replaceChildren(...choices.map((choice, j) => new Option(choice, choice, false, j === at)));
        }
      });
      const view = views.find((v) => v.at.every((choice, k) => choice === chosen[k]));
      plot.setAttribute("aria-label", `${place.getAttribute("aria-label")}: ${chosen.join(", ")}`);
      return Plotly.react(plot, view.data, dressed(view.layout, place), config);
    }
    plot.setAttribute("role", "img");
    place.prepend(row, plot);
    place.classList.add("nsr-plot-live");
    show();
    new MutationObserver(show).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  // plotly is large: it comes when the reader comes near the first figure
  const near = new IntersectionObserver((seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    near.disconnect();
    const onload = () => document.querySelectorAll("div.nsr-plot").forEach(fill);
    document.head.append(make("script", { src: new URL("plotly.min.js", folder), onload }));
  }, { rootMargin: "100%" });
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("div.nsr-plot").forEach((place) => near.observe(place));
  });
})();
