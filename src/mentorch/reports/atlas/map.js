const LIGHT = ["#2f6fde", "#e0642b", "#16976a", "#a24fd0", "#b98a06", "#d1447a", "#1797ab", "#8a5a3c", "#6a7686", "#7f9c1c"];
const DARK = ["#7aa7ff", "#ff9b66", "#4fd3a0", "#cf95f5", "#e9c04a", "#ff86b0", "#5fd3e6", "#cfa181", "#a6b3c2", "#b9d452"];
const canvas = $("canvas"), pen = canvas.getContext("2d");
const isDark = () => ({dark: true, light: false})[document.documentElement.dataset.theme] ?? matchMedia("(prefers-color-scheme: dark)").matches;
const order = fact => new Map(values[fact].map(([value], i) => [value, i]));
const orders = Object.fromEntries(KINDS.map(([fact]) => [fact, order(fact)]));
const rank = i => orders[state.colour].get(valueOf(networks[i], state.colour));
const paint = n => (isDark() ? DARK : LIGHT)[n] || (isDark() ? "#5b6570" : "#b4bcc5");
const radius = () => Math.max(1.8, Math.min(6, 80 / Math.sqrt(count)) * Math.min(1, 0.3 + Math.min(width, height) / 900)) * Math.min(1.6, Math.sqrt(state.zoom));

let width = 0, height = 0, waiting = false;
const extent = () => {
  const across = [0, 1].map(axis => {
    const found = Float64Array.from({length: maps.length / 2}, (_, i) => Math.abs(maps[2 * i + axis]) / 32767 * data.reach).sort();
    return found[Math.floor(found.length * 0.995)] || 1;
  });
  return {x: across[0] + 0.08, y: across[1] + 0.08};
};
const reach = extent();
// the map extends from left to right; on a screen that is taller than wide it is turned
const tall = () => height > 1.2 * width;
const unit = () => 0.94 * state.zoom * (tall() ? Math.min(width / 2 / reach.y, height / 2 / reach.x) : Math.min(width / 2 / reach.x, height / 2 / reach.y));
const spot = i => tall() ? [-positions[2 * i + 1], positions[2 * i]] : [positions[2 * i], positions[2 * i + 1]];
const screen = i => {
  const [x, y] = spot(i), scale = unit();
  return [width / 2 + (x - state.x) * scale, height / 2 + (y - state.y) * scale];
};

function resize() {
  const dense = Math.min(devicePixelRatio || 1, 2), box = canvas.getBoundingClientRect();
  [width, height] = [box.width, box.height];
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  draw();
}

function draw() {
  if (waiting || !width) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; paintAll(); });
}

function paintAll() {
  const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--ink"), ground = style.getPropertyValue("--map");
  const near = state.chosen < 0 ? [] : nearest(state.chosen, state.k).map(at => index[at]);
  const loud = new Set(state.chosen < 0 ? [] : [state.chosen, ...near]);
  pen.clearRect(0, 0, width, height);
  pen.lineWidth = 1;
  pen.strokeStyle = ink;
  pen.globalAlpha = (loud.size ? 0.05 : 0.14) * Math.min(1, Math.sqrt(1500 / (links.length * state.k + 1)) + 0.15);
  pen.beginPath();
  for (const [i, found] of links) {
    const [x, y] = screen(i);
    for (const at of found) { pen.moveTo(x, y); pen.lineTo(...screen(index[at])); }
  }
  pen.stroke();
  dots(loud, ground);
  if (state.chosen >= 0) spokes(near, ink, ground);
  if (state.hover >= 0) ring(state.hover, ink, 3);
}

function dots(loud, ground) {
  const stamps = new Map();
  for (const strong of [false, true]) {
    for (let i = 0; i < count; i++) {
      if (!visible[i] || (loud.size > 0 && !loud.has(i)) === strong) continue;
      const n = Math.min(rank(i), LIGHT.length), key = `${n} ${strong}`;
      if (!stamps.has(key)) stamps.set(key, stamp(paint(n), ground));
      const {image, half} = stamps.get(key), [x, y] = screen(i);
      pen.globalAlpha = loud.size && !strong ? 0.28 : 1;
      pen.drawImage(image, x - half, y - half, 2 * half, 2 * half);
    }
  }
  pen.globalAlpha = 1;
}

// a dot, drawn once
function stamp(colour, ground) {
  const size = radius(), half = size + 1.5, dense = canvas.width / width, image = document.createElement("canvas");
  image.width = image.height = Math.ceil(2 * half * dense);
  const brush = image.getContext("2d");
  brush.scale(image.width / (2 * half), image.width / (2 * half));
  brush.arc(half, half, size + 0.3, 0, 2 * Math.PI);
  brush.fillStyle = colour;
  brush.strokeStyle = ground;
  brush.lineWidth = 1;
  brush.fill();
  brush.stroke();
  return {image, half};
}

function spokes(near, ink, ground) {
  const [x, y] = screen(state.chosen);
  near.forEach((j, n) => {
    pen.globalAlpha = 0.9 - 0.5 * n / near.length;
    pen.lineWidth = 2;
    pen.strokeStyle = paint(rank(state.chosen));
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(...screen(j));
    pen.stroke();
  });
  pen.globalAlpha = 1;
  for (const j of near) { dot(j, ground); ring(j, ink, 1.5); }
  dot(state.chosen, ground);
  ring(state.chosen, ink, 5);
  label(networks[state.chosen].name, x, y - radius() - 10, ink, ground);
}

function dot(i, ground) {
  const [x, y] = screen(i);
  pen.fillStyle = paint(rank(i));
  pen.strokeStyle = ground;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.arc(x, y, radius() + 0.5, 0, 2 * Math.PI);
  pen.fill();
  pen.stroke();
}

function ring(i, ink, gap) {
  const [x, y] = screen(i);
  pen.strokeStyle = ink;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.arc(x, y, radius() + gap, 0, 2 * Math.PI);
  pen.stroke();
}

function label(text, x, y, ink, ground) {
  pen.font = "600 13px system-ui, sans-serif";
  pen.textAlign = "center";
  const half = pen.measureText(text).width / 2, at = Math.max(half + 6, Math.min(width - half - 6, x));
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeStyle = ground;
  pen.strokeText(text, at, Math.max(18, y));
  pen.fillStyle = ink;
  pen.fillText(text, at, Math.max(18, y));
}

// the visible network under a point of the screen, or -1
function under(x, y, slack) {
  let found = -1, best = (radius() + slack) ** 2;
  for (let i = 0; i < count; i++) {
    if (!visible[i]) continue;
    const [a, b] = screen(i), gap = (a - x) ** 2 + (b - y) ** 2;
    if (gap < best) [found, best] = [i, gap];
  }
  return found;
}

// the nearest visible network in a direction, within 45 degrees of it
function towards(from, dx, dy) {
  if (from < 0) return under(width / 2, height / 2, 1e9);
  const [x, y] = screen(from);
  let found = from, best = Infinity;
  for (let i = 0; i < count; i++) {
    if (i === from || !visible[i]) continue;
    const [a, b] = screen(i), along = (a - x) * dx + (b - y) * dy, aside = Math.abs((a - x) * dy) + Math.abs((b - y) * dx);
    if (along > 0 && aside <= along && along + 2 * aside < best) [found, best] = [i, along + 2 * aside];
  }
  return found;
}

// zoom so that a point of the screen stays where it is
function zoomBy(factor, x = width / 2, y = height / 2) {
  const before = unit();
  state.zoom = factor ? Math.max(1, Math.min(40, state.zoom * factor)) : 1;
  const change = 1 / before - 1 / unit();
  state.x += (x - width / 2) * change;
  state.y += (y - height / 2) * change;
  if (state.zoom === 1) state.x = state.y = 0;
  draw();
}

// bring a network into view
function show(i) {
  const [x, y] = screen(i), edge = 24;
  if (x < edge || y < edge || x > width - edge || y > height - edge) [state.x, state.y] = spot(i);
}
