// On paper: the light colours whatever the screen shows, and everything folded opened. Afterwards all is as it was.
const onPaper = window.matchMedia("print");
const before = { theme: null, closed: [] };

function toPaper() {
  const page = document.documentElement;
  before.theme ??= page.dataset.theme;
  page.dataset.theme = "light";
  for (const box of document.querySelectorAll("details:not([open])")) {
    before.closed.push(box);
    box.open = true;
  }
}

function toScreen() {
  document.documentElement.dataset.theme = before.theme ?? "light";
  before.theme = null;
  for (const box of before.closed.splice(0)) box.open = false;
}

onPaper.addEventListener("change", (now) => (now.matches ? toPaper() : toScreen()));
