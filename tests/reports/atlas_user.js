// Somebody who uses the page, in frames of a phone's and a desk's width; what is seen is handed to the test.
const pause = () => new Promise(resolve => setTimeout(resolve, 60));
async function use(frame) {
  const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement, seen = {};
  const one = selector => page.querySelector(selector), all = selector => [...page.querySelectorAll(selector)];
  const set = (field, value) => { field.value = value; field.dispatchEvent(new view.Event("input", {bubbles: true})); };
  const press = (field, key) => field.dispatchEvent(new view.KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
  const canvas = one("canvas");
  const point = (kind, x, y) => canvas.dispatchEvent(new view.PointerEvent(kind, {
    pointerId: 1, bubbles: true, clientX: canvas.getBoundingClientRect().left + x, clientY: canvas.getBoundingClientRect().top + y}));
  const teachers = () => all("#card ol b").map(name => name.textContent);
  const copy = page.createElement("canvas"), reader = copy.getContext("2d", {willReadFrequently: true});
  const colours = () => {
    Object.assign(copy, {width: canvas.width, height: canvas.height});
    reader.drawImage(canvas, 0, 0);
    const {data} = reader.getImageData(0, 0, copy.width, copy.height), found = new Set();
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) found.add((data[i] << 16) + (data[i + 1] << 8) + data[i + 2]);
    return found.size;
  };
  await pause();
  seen.width = root.clientWidth;
  seen.needed = root.scrollWidth;
  seen.outside = all("body *").filter(part => part.getBoundingClientRect().right > root.clientWidth + 1).map(part => part.outerHTML.slice(0, 80));
  seen.map = [canvas.getBoundingClientRect().width, canvas.getBoundingClientRect().height];
  seen.small = all("button, input, summary").filter(part => part.offsetParent && Math.max(part.offsetHeight, part.parentElement.offsetHeight) < 20).map(part => part.outerHTML);
  seen.colours = colours();
  seen.status = one("#shown").textContent;

  one("#search").focus();
  set(one("#search"), "digits resnet8");
  seen.found = all("#found li").length;
  press(one("#search"), "ArrowDown");
  press(one("#search"), "Enter");
  seen.searched = one("#card h2").textContent;
  seen.card = one("#card .facts").textContent;

  set(one("#search"), "network 0007");
  press(one("#search"), "Enter");
  for (const [share, k] of [[0.5, 3], [0, 3], [1, 3], [0.35, 8]]) {
    set(one("#share"), share);
    set(one("#k"), k);
    seen[`teachers ${share} ${k}`] = teachers();
  }
  seen.meaning = one("#meaning").textContent;
  set(one("#share"), 0.5);

  one('#filters input[value="cifar10"]').click();
  seen.filtered = [one("#shown").textContent, teachers()];
  all("#filters button")[0].click();
  seen.unfiltered = one("#shown").textContent;

  one("#card ol button").click();
  seen.followed = one("#card h2").textContent;
  const before = seen.followed;
  press(canvas, "ArrowLeft"); press(canvas, "ArrowUp"); press(canvas, "ArrowRight"); press(canvas, "ArrowRight");
  seen.walked = [before, one("#card h2").textContent];
  press(canvas, "Escape");
  seen.let_go = one("#card h2").textContent;

  hover: for (let x = 10; x < canvas.clientWidth; x += 12) for (let y = 10; y < canvas.clientHeight; y += 12) {
    point("pointermove", x, y);
    if (!one("#tip").hidden) { point("pointerdown", x, y); point("pointerup", x, y); break hover; }
  }
  seen.clicked = one("#card h2").textContent;
  point("pointerleave", 0, 0);
  one("[data-zoom]").click();
  seen.colour = all("#colour input").map(input => input.value);
  all("#colour input")[1].click();
  seen.marked = all("#filters .filter").filter(group => group.querySelector("i")).map(group => group.getAttribute("aria-label"));
  const ground = () => view.getComputedStyle(page.body).backgroundColor;
  const first = ground();
  one("#theme").click();
  seen.theme = [first, ground()];
  await pause();
  seen.repainted = colours();
  return seen;
}
addEventListener("load", async () => {
  const found = [];
  for (const frame of document.querySelectorAll("iframe")) {
    try { found.push(await use(frame)); } catch (error) { found.push({error: String(error.stack || error)}); }
  }
  document.querySelector("#found").textContent = JSON.stringify(found);
  console.info("used");
});
