function choose(i) {
  state.chosen = i;
  if (i >= 0) show(i);
  card();
  remember();
  draw();
}

function remember() {
  const told = new URLSearchParams({share: state.share.toFixed(2), k: state.k});
  if (state.chosen >= 0) told.set("network", networks[state.chosen].name);
  try { history.replaceState(null, "", `#${told}`); } catch { /* a page inside another may not */ }
}

function recall() {
  const told = new URLSearchParams(location.hash.slice(1)), share = parseFloat(told.get("share")), k = parseInt(told.get("k"), 10);
  if (share >= 0 && share <= 1) state.share = share;
  if (k >= 1) state.k = Math.min(k, data.most);
  state.chosen = networks.findIndex(network => network.name === told.get("network"));
}

function refresh() {
  const weight = state.share / (1 - state.share);
  $("#meaning").textContent = state.share === 1 ? "relations alone" : state.share === 0 ? "maps alone (λ = 0)" : `both, λ = ${weight.toPrecision(2)}`;
  $("#share").setAttribute("aria-valuetext", $("#meaning").textContent);
  filter();
  if (state.chosen >= 0 && !visible[state.chosen]) state.chosen = -1;
  place();
  link();
  const shown = visible.reduce((sum, one) => sum + one, 0);
  $("#shown").textContent = shown === count ? `All ${count} networks are shown.` : `${shown} of ${count} networks are shown.`;
  card();
  remember();
  draw();
}

function chip(kind, name, text, detail) {
  const box = make("label", ""), input = make("input", ""), face = make("span", "");
  box.className = "chip";
  Object.assign(input, {type: kind, name, checked: kind === "checkbox", value: text});
  face.append(make("span", text === "" ? "none" : text).textContent);
  if (detail !== undefined) face.append(make("small", String(detail)));
  box.append(input, face);
  return box;
}

function buildColour() {
  const chips = make("div", "");
  chips.className = "chips";
  for (const [fact, label] of KINDS) {
    const one = chip("radio", "colour", label);
    one.firstChild.checked = fact === state.colour;
    one.firstChild.addEventListener("change", () => { state.colour = fact; buildFilters(); draw(); });
    chips.append(one);
  }
  $("#colour").append(chips);
}

function buildFilters() {
  const home = $("#filters");
  home.replaceChildren();
  for (const [fact, label] of KINDS) {
    if (fact === "community" && state.colour !== "community") continue;
    const group = make("div", ""), head = make("div", label), chips = make("div", ""), all = make("button", "all");
    group.className = "filter";
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", label);
    head.className = "head";
    all.type = "button";
    all.addEventListener("click", () => { state.hidden[fact].clear(); buildFilters(); refresh(); });
    head.append(all);
    chips.className = "chips";
    values[fact].slice(0, 24).forEach(([value, members], n) => {
      const one = chip("checkbox", fact, value, members), input = one.firstChild;
      input.checked = !state.hidden[fact].has(value);
      if (fact === state.colour) { const mark = make("i", ""); mark.style.background = paint(n); one.lastChild.prepend(mark); }
      input.addEventListener("change", () => { state.hidden[fact][input.checked ? "delete" : "add"](value); refresh(); });
      one.addEventListener("dblclick", event => {
        event.preventDefault();
        state.hidden[fact] = new Set(values[fact].map(([other]) => other).filter(other => other !== value));
        buildFilters();
        refresh();
      });
      chips.append(one);
    });
    if (values[fact].length > 24) chips.append(make("small", `and ${values[fact].length - 24} more`));
    group.append(head, chips);
    home.append(group);
  }
}

const search = $("#search"), found = $("#found");
const texts = networks.map(network => [network.name, ...KINDS.map(([fact]) => valueOf(network, fact)), network.tags || ""].join(" ").toLowerCase());
function look() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = words.length ? texts.flatMap((text, i) => words.every(word => text.includes(word)) ? [i] : []) : [];
  found.replaceChildren(...hits.slice(0, 60).map((i, n) => {
    const item = make("li", networks[i].name, make("small", line(networks[i])));
    item.id = `found-${n}`;
    item.dataset.network = i;
    item.setAttribute("role", "option");
    item.addEventListener("pointerdown", event => { event.preventDefault(); take(i); });
    return item;
  }));
  if (words.length && !hits.length) found.append(make("li", "No network has all these words."));
  found.hidden = !words.length;
  search.setAttribute("aria-expanded", String(!found.hidden));
  mark(hits.length ? 0 : -1);
}
function mark(n) {
  [...found.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === n)));
  if (n >= 0) { search.setAttribute("aria-activedescendant", `found-${n}`); found.children[n].scrollIntoView({block: "nearest"}); }
  else search.removeAttribute("aria-activedescendant");
}
function take(i) {
  found.hidden = true;
  search.setAttribute("aria-expanded", "false");
  if (!visible[i]) { for (const [fact] of KINDS) state.hidden[fact].clear(); buildFilters(); refresh(); }
  choose(i);
}
search.addEventListener("input", look);
search.addEventListener("focus", look);
search.addEventListener("blur", () => { found.hidden = true; search.setAttribute("aria-expanded", "false"); });
search.addEventListener("keydown", event => {
  const items = [...found.querySelectorAll("[data-network]")], n = items.findIndex(item => item.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    if (items.length) mark((n + (event.key === "ArrowDown" ? 1 : items.length - 1)) % items.length);
  } else if (event.key === "Enter" && n >= 0) take(Number(items[n].dataset.network));
  else if (event.key === "Escape") { search.value = ""; look(); }
});

$("#share").addEventListener("input", event => { state.share = Number(event.target.value); refresh(); });
$("#k").addEventListener("input", event => {
  const k = Math.round(Number(event.target.value));
  if (k >= 1) { state.k = Math.min(k, data.most); refresh(); }
});
$("#k").addEventListener("change", event => { event.target.value = state.k; });
$("#theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  buildFilters();
  draw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { buildFilters(); draw(); });
for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => zoomBy(Number(button.dataset.zoom)));

// one finger or the mouse moves the map, two fingers zoom it
const fingers = new Map();
let moved = 0;
canvas.addEventListener("pointerdown", event => {
  fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  moved = fingers.size > 1 ? 99 : 0;
  try { canvas.setPointerCapture(event.pointerId); } catch { /* a pointer that a script made */ }
});
canvas.addEventListener("pointermove", event => {
  const before = fingers.get(event.pointerId), now = [event.offsetX, event.offsetY];
  if (!before) {
    state.hover = under(...now, 8);
    canvas.style.cursor = state.hover < 0 ? "grab" : "pointer";
    tip(state.hover, ...now);
    draw();
    return;
  }
  const others = [...fingers].filter(([id]) => id !== event.pointerId);
  if (others.length) {
    const [, fixed] = others[0], span = ([x, y]) => Math.hypot(x - fixed[0], y - fixed[1]);
    zoomBy(span(now) / Math.max(1, span(before)), ...fixed);
  } else {
    moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
    state.x -= (now[0] - before[0]) / unit();
    state.y -= (now[1] - before[1]) / unit();
    draw();
  }
  fingers.set(event.pointerId, now);
});
canvas.addEventListener("pointerup", event => {
  if (fingers.has(event.pointerId) && moved < 6) {
    choose(under(event.offsetX, event.offsetY, event.pointerType === "touch" ? 18 : 8));
    tip(-1);
  }
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, event => fingers.delete(event.pointerId));
canvas.addEventListener("pointerleave", () => { state.hover = -1; tip(-1); draw(); });
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.03 : 0.0015)), event.offsetX, event.offsetY);
}, {passive: false});
canvas.addEventListener("keydown", event => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (step) choose(towards(state.chosen, ...step));
  else if (event.key === "+" || event.key === "=") zoomBy(1.4);
  else if (event.key === "-") zoomBy(1 / 1.4);
  else if (event.key === "0") zoomBy(0);
  else if (event.key === "Escape") choose(-1);
  else return;
  event.preventDefault();
});

recall();
$("#share").value = state.share;
Object.assign($("#k"), {value: state.k, max: data.most});
buildColour();
buildFilters();
refresh();
new ResizeObserver(resize).observe($("#map"));
