const $ = selector => document.querySelector(selector);
const data = JSON.parse($("#data").textContent);
const networks = data.networks, count = networks.length, kept = data.kept;
const index = unpack(data.index, data.wide ? Uint32Array : Uint16Array);
const nodes = unpack(data.nodes, Int16Array), edges = unpack(data.edges, Int16Array);
const maps = unpack(data.layout, Int16Array);

function unpack(text, kind) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  return new kind(bytes.buffer);
}

// what a network is filtered and coloured by; a fact that no network has is left out
const KINDS = [["dataset", "Data"], ["network", "Architecture"], ["task", "Task"], ["community", "Community"]]
  .filter(([fact]) => networks.some(network => network[fact] !== undefined));
const valueOf = (network, fact) => network[fact] === undefined ? "not known" : String(network[fact]);
const values = Object.fromEntries(KINDS.map(([fact]) => {
  const counts = new Map();
  for (const network of networks) counts.set(valueOf(network, fact), (counts.get(valueOf(network, fact)) || 0) + 1);
  return [fact, [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))];
}));

const state = {share: data.share, k: data.k, colour: KINDS[0][0], hidden: {}, chosen: -1, hover: -1, zoom: 1, x: 0, y: 0};
for (const [fact] of KINDS) state.hidden[fact] = new Set();
const visible = new Uint8Array(count).fill(1);

function filter() {
  networks.forEach((network, i) => {
    visible[i] = KINDS.every(([fact]) => !state.hidden[fact].has(valueOf(network, fact))) ? 1 : 0;
  });
}

const similarity = at => ((1 - state.share) * nodes[at] + state.share * edges[at]) / 32767;

// the k most similar of the visible ones, best first; of equals the one that comes first: places in the lists
function nearest(i, k) {
  const best = [];
  for (let at = i * kept; at < (i + 1) * kept; at++) {
    if (!visible[index[at]]) continue;
    const value = Math.round(similarity(at) * 1e5);
    let place = best.length;
    while (place > 0 && (best[place - 1].value < value || (best[place - 1].value === value && index[best[place - 1].at] > index[at]))) place--;
    if (place >= k) continue;
    best.splice(place, 0, {at, value});
    if (best.length > k) best.pop();
  }
  return best.map(found => found.at);
}

// where networks are at the present share: between the maps of the two nearest stored ones
const positions = new Float32Array(2 * count);
function place() {
  const shares = data.shares;
  let right = shares.findIndex(share => share >= state.share);
  if (right < 0) right = shares.length - 1;
  const left = Math.max(0, right - 1), gap = shares[right] - shares[left];
  const part = gap > 0 ? (state.share - shares[left]) / gap : 0;
  for (let i = 0; i < 2 * count; i++) {
    positions[i] = ((1 - part) * maps[left * 2 * count + i] + part * maps[right * 2 * count + i]) / 32767 * data.reach;
  }
}

let links = [];
function link() {
  links = [];
  for (let i = 0; i < count; i++) if (visible[i]) links.push([i, nearest(i, state.k)]);
}
