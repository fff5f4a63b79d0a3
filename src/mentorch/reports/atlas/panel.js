const LABELS = {network: "architecture", dataset: "data", task: "task", classes: "classes", input: "input", accuracy: "test accuracy",
  bytes: "weights", licence: "licence", parents: "teachers", tags: "tags", community: "community", blank: "probes without effect",
  hash: "hash", folder: "folder", url: "from"};
const percent = value => `${(100 * value).toFixed(1)}\u00a0%`;

function make(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  made.append(...children);
  return made;
}

function written(fact, value) {
  if (fact === "accuracy") return percent(value);
  if (fact === "bytes") return value < 1e6 ? `${Math.max(1, Math.round(value / 1e3))}\u00a0kB` : `${(value / 1e6).toFixed(1)}\u00a0MB`;
  if (fact === "hash") return String(value).slice(0, 12);
  return String(value);
}

function line(network) {
  const told = KINDS.slice(0, 3).filter(([fact]) => network[fact] !== undefined).map(([fact]) => valueOf(network, fact));
  if (network.accuracy !== undefined) told.push(percent(network.accuracy));
  return told.join(" · ");
}

function card() {
  const home = $("#card"), i = state.chosen;
  home.replaceChildren();
  if (i < 0) {
    home.append(make("h2", "Choose a network"), make("p", "Click one on the map, search for it, or go there with the arrow keys: here you find its card, and the networks that are most similar to it, which are the first to try as its teachers."));
    home.lastChild.className = "note";
    return;
  }
  const network = networks[i], facts = make("dl", "");
  facts.className = "facts";
  for (const [fact, label] of Object.entries(LABELS)) {
    if (network[fact] === undefined || (fact === "blank" && !network.blank)) continue;
    facts.append(make("dt", label), make("dd", written(fact, network[fact])));
  }
  const found = nearest(i, state.k), list = make("ol", "");
  for (const at of found) list.append(make("li", "", teacher(at)));
  const times = links.filter(([j, near]) => j !== i && near.some(at => index[at] === i)).length;
  home.append(make("h2", network.name), make("p", line(network)), make("h3", `Nearest ${found.length === 1 ? "teacher" : "teachers"}`), list);
  home.children[1].className = "note";
  home.append(make("p", `It is among the nearest ${state.k} of ${times} ${times === 1 ? "network" : "networks"}.`), make("h3", "Card"), facts);
  home.children[4].className = "note";
}

function teacher(at) {
  const network = networks[index[at]], bar = make("span", ""), button = make("button", "");
  bar.className = "bar";
  for (const [share, values] of [[1 - state.share, nodes], [state.share, edges]]) {
    const part = make("i", "");
    part.style.width = `${Math.max(0, 100 * share * values[at] / 32767)}%`;
    bar.append(part);
  }
  button.type = "button";
  button.title = `maps ${(nodes[at] / 32767).toFixed(3)}, relations ${(edges[at] / 32767).toFixed(3)}`;
  button.append(make("b", network.name), make("em", similarity(at).toFixed(3)), make("small", line(network)), bar);
  button.addEventListener("click", () => choose(index[at]));
  return button;
}

function tip(i, x, y) {
  const box = $("#tip");
  box.hidden = i < 0;
  if (i < 0) return;
  box.replaceChildren(make("b", networks[i].name), ...line(networks[i]).split(" · ").map(text => make("span", text)));
  const [w, h] = [box.offsetWidth, box.offsetHeight];
  box.style.left = `${Math.max(4, Math.min(width - w - 4, x + 14))}px`;
  box.style.top = `${y + h + 20 > height ? Math.max(4, y - h - 14) : y + 14}px`;
}
